// Runs all unit tests. The seed of the properties is fixed, so that a run can be repeated, and printed; the environment
// variable RC_PARAMS takes precedence (RC_PARAMS="seed=7 max_success=10000").
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>

int main(int argc, char** argv) {
    testing::InitGoogleTest(&argc, argv);
    // Before the first property runs: rapidcheck reads the variable once.
    setenv("RC_PARAMS", "seed=20240229", 0);
    std::printf("properties run with RC_PARAMS=\"%s\"\n", std::getenv("RC_PARAMS"));
    return RUN_ALL_TESTS();
}
