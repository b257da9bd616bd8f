// The Zipf generator against exact probabilities: a chi-square test per catalogue and exponent, seeds fixed, so it cannot
// fail by chance on another day.
#include "zipf.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace topkd {
namespace {

std::vector<double> exact_probabilities(std::uint64_t count, double exponent) {
    std::vector<double> probability(count);
    double sum = 0;
    for (std::uint64_t k = 1; k <= count; ++k) {
        sum += probability[k - 1] = std::pow(static_cast<double>(k), -exponent);
    }
    for (double& p : probability) {
        p /= sum;
    }
    return probability;
}

/// Chi-square as a standard normal deviate (Wilson and Hilferty), ranks pooled until each cell expects 20 draws.
double deviate(std::uint64_t count, double exponent, std::uint64_t seed, int draws) {
    const Zipf zipf(count, exponent);
    Random random(seed);
    std::vector<int> seen(count);
    for (int i = 0; i < draws; ++i) {
        ++seen.at(zipf(random) - 1);  // throws on a rank out of range
    }
    double chi_square = 0, expected = 0, observed = 0;
    int cells = 0;
    for (std::uint64_t k = 0; const double p : exact_probabilities(count, exponent)) {
        expected += p * draws;
        observed += seen[k++];
        if (expected >= 20) {
            chi_square += (observed - expected) * (observed - expected) / expected;
            expected = observed = 0;
            ++cells;
        }
    }
    const double freedom = cells - 1;
    const double spread = 2 / (9 * freedom);
    return (std::cbrt(chi_square / freedom) - (1 - spread)) / std::sqrt(spread);
}

class ZipfFrequencies : public testing::TestWithParam<std::tuple<std::uint64_t, double>> {};

TEST_P(ZipfFrequencies, AreTheExactOnes) {
    const auto [count, exponent] = GetParam();
    EXPECT_LT(deviate(count, exponent, 20'260'301, 400'000), 3.5);
}

INSTANTIATE_TEST_SUITE_P(CataloguesAndExponents, ZipfFrequencies,
                         testing::Combine(testing::Values(2, 10, 1000, 100'000),
                                          testing::Values(0.0, 0.5, 0.999999999, 1.0, 1.000000001, 1.3, 3.0)));

TEST(ZipfFrequencies, AWrongExponentIsNoticed) {
    // What keeps the test above honest: the same statistic rejects a distribution that is off by 2 %.
    const Zipf skewed(1000, 1.02);
    Random random(1);
    const auto exact = exact_probabilities(1000, 1.0);
    double chi_square = 0;
    std::vector<int> seen(1000);
    for (int i = 0; i < 400'000; ++i) {
        ++seen[skewed(random) - 1];
    }
    for (std::size_t k = 0; k < exact.size(); ++k) {
        chi_square += std::pow(seen[k] - exact[k] * 400'000, 2) / (exact[k] * 400'000);
    }
    EXPECT_GT(chi_square, 1200);
}

TEST(Zipf, OneVideoAndHugeCatalogues) {
    Random random(7);
    const Zipf only(1, 1.0);
    const Zipf huge(std::uint64_t{1} << 50, 1.0);
    for (int i = 0; i < 10'000; ++i) {
        EXPECT_EQ(only(random), 1u);
        const std::uint64_t rank = huge(random);
        EXPECT_GE(rank, 1u);
        EXPECT_LE(rank, std::uint64_t{1} << 50);
    }
}

}  // namespace
}  // namespace topkd
