// The line that shows how a catch-up goes.
#include "progress_line.h"

#include <gtest/gtest.h>

namespace topkd {
namespace {

TEST(ProgressLine, TellsOfLatenessAndLagOnlyWhenThereIsSome) {
    PipelineStats stats;
    stats.records = 1'234'567;
    stats.last_flush = std::chrono::milliseconds(35);
    EXPECT_EQ(progress_text(stats, 45'000, 0), "1.2M records, 45.0k/s, last flush 35 ms");
    stats.late = 310;
    EXPECT_EQ(progress_text(stats, 45'000, 3'105'000), "1.2M records, 310 late, 45.0k/s, 3.1M behind (1 min 9 s), last flush 35 ms");
}

}  // namespace
}  // namespace topkd
