// When a batch goes, and how it degrades while the database gets slower: freshness first, then larger batches, then no more reading.
#include "flush_policy.h"

#include <gtest/gtest.h>

#include <string>

namespace topkd::test {
namespace {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;
using std::chrono::seconds;

constexpr milliseconds kInterval{500};
constexpr std::size_t kGrowingBytes = 8 << 20;
constexpr Instant kStart{std::chrono::hours(1)};

class FlushPolicyTest : public testing::Test {
  protected:
    FlushPolicyTest() { policy.flush_started(batch, 0, kStart); }

    /// Until the batch has so many rows.
    void fill(std::size_t rows) {
        batch.progress(Partition{0}, 1, Offset{0});
        while (batch.rows() < rows) {
            batch.count(Millis{0}, "video_" + std::to_string(batch.rows()), 1);
            batch.record_consumed();
        }
    }

    /// The database takes so many rows a second.
    void show_speed(std::size_t rows_per_second) {
        for (int i = 0; i < 20; ++i) policy.flush_succeeded(rows_per_second / 10, milliseconds(100));
    }

    /// How long after the last flush the batch goes.
    milliseconds goes_after() const {
        milliseconds after{0};
        while (!policy.due(batch, kStart + after)) ++after;
        return after;
    }

    FlushPolicy policy{kInterval, kGrowingBytes};
    Batch batch;
};

TEST_F(FlushPolicyTest, NothingIsNeverDue) {
    EXPECT_FALSE(policy.due(batch, kStart + std::chrono::hours(1)));
}

TEST_F(FlushPolicyTest, GoesAtTheIntervalWhileTheDatabaseIsQuick) {
    fill(1000);
    EXPECT_EQ(goes_after(), kInterval);  // nothing known of the database yet
    show_speed(100'000);
    EXPECT_EQ(goes_after(), kInterval);  // 10 ms for this one
    fill(39'000);
    EXPECT_EQ(goes_after(), kInterval);  // 390 ms, seen after 890 ms
}

TEST_F(FlushPolicyTest, GoesEarlierWhenItWouldBeSeenTooLate) {
    show_speed(100'000);
    fill(60'000);
    EXPECT_EQ(goes_after() + milliseconds(600), kInterval * FlushPolicy::kAgeTenths / 10);
}

TEST_F(FlushPolicyTest, ADatabaseThatIsTooSlowIsKeptBusyAndGetsWhatCameInMeanwhile) {
    show_speed(100'000);
    fill(100'000);
    EXPECT_EQ(goes_after(), milliseconds(0));
    EXPECT_FALSE(policy.full(batch));  // but reading goes on
}

/// Overload played through: events come twice as fast as rows can be written, of videos of which ever fewer are new.
TEST_F(FlushPolicyTest, UnderOverloadBatchesGrowToTheLimitOfTheLongestFlush) {
    constexpr double kRowsPerSecond = 20'000;
    constexpr double kComingPerSecond = 40'000;
    double coming = kComingPerSecond * 0.5;
    std::size_t before = 0;
    bool full = false;
    for (int flush = 0; flush < 12 && !full; ++flush) {
        batch.clear();
        const auto wanted = static_cast<std::size_t>(coming);
        fill(0);
        while (batch.rows() < wanted && !policy.full(batch)) fill(batch.rows() + 100);
        full = policy.full(batch);
        EXPECT_GT(batch.rows(), before);
        before = batch.rows();
        const double took = static_cast<double>(batch.rows()) / kRowsPerSecond;
        policy.flush_succeeded(batch.rows(), nanoseconds(static_cast<std::int64_t>(took * 1e9)));
        coming = took * kComingPerSecond;
    }
    ASSERT_TRUE(full);
    const auto limit = static_cast<std::size_t>(kRowsPerSecond) * FlushPolicy::kLongestFlush.count();
    EXPECT_NEAR(static_cast<double>(before), static_cast<double>(limit), 200);
}

TEST_F(FlushPolicyTest, WithABacklogBatchesGoRarely) {
    show_speed(100'000);
    fill(1000);
    policy.flush_started(batch, 0, kStart - seconds(3600));  // a pause tells no pace, but so many are a backlog
    policy.flush_started(batch, 1'000'000, kStart);
    EXPECT_EQ(goes_after(), FlushPolicy::kBacklogInterval);
    EXPECT_EQ(policy.next_flush(), kStart + FlushPolicy::kBacklogInterval);
    fill(100'000);  // also if it is seen later than ever
    EXPECT_EQ(goes_after(), FlushPolicy::kBacklogInterval);
    while (!policy.full(batch)) fill(batch.rows() + 1000);
    EXPECT_EQ(goes_after(), milliseconds(0));
}

TEST_F(FlushPolicyTest, ABacklogIsFiveSecondsOfReadingAndAMillionRecords) {
    fill(100'000);
    for (int again = 0; again < 100'000; ++again) batch.record_consumed();
    show_speed(1'000'000);
    const auto goes_after_flush = [&](std::uint64_t left, milliseconds took) {
        policy.flush_started(batch, 0, kStart - took);
        policy.flush_started(batch, left, kStart);
        return goes_after();
    };
    EXPECT_EQ(goes_after_flush(1'000'000, milliseconds(1000)), kInterval);  // exactly five seconds at 200,000 a second
    EXPECT_EQ(goes_after_flush(1'000'001, milliseconds(1000)), FlushPolicy::kBacklogInterval);
    EXPECT_EQ(goes_after_flush(2'000'000, milliseconds(500)), kInterval);
    EXPECT_EQ(goes_after_flush(999'999, milliseconds(5000)), kInterval);
    EXPECT_EQ(goes_after_flush(1'000'000, milliseconds(5000)), FlushPolicy::kBacklogInterval);
    EXPECT_EQ(goes_after_flush(0, milliseconds(5000)), kInterval);  // and it is over
    batch.clear();
    policy.flush_started(batch, 5'000'000, kStart);  // nothing but a watermark: it tells no pace
    EXPECT_EQ(policy.next_flush(), kStart + kInterval);
}

TEST_F(FlushPolicyTest, ABacklogThatWasReadBeforeTheBatchWentIsNone) {
    show_speed(100'000);
    fill(1000);
    EXPECT_FALSE(policy.waits_for_backlog(kStart + kInterval));
    policy.flush_started(batch, 0, kStart - seconds(3600));
    policy.flush_started(batch, 1'000'000, kStart);
    EXPECT_FALSE(policy.waits_for_backlog(kStart + kInterval - milliseconds(1)));
    EXPECT_TRUE(policy.waits_for_backlog(kStart + kInterval));
    policy.backlog_is_read();
    EXPECT_EQ(goes_after(), kInterval);
}

TEST_F(FlushPolicyTest, BatchesDoNotWaitBeforeTheDatabaseHasShownItsSpeed) {
    fill(1000);
    policy.flush_started(batch, 0, kStart - seconds(3600));
    policy.flush_started(batch, 5'000'000, kStart);
    EXPECT_EQ(goes_after(), kInterval);
}

TEST_F(FlushPolicyTest, ALongerIntervalStaysWithABacklog) {
    FlushPolicy slow{seconds(20), kGrowingBytes};
    slow.flush_succeeded(FlushPolicy::kRowsThatTell, milliseconds(10));
    fill(10);
    slow.flush_started(batch, 0, kStart - seconds(20));
    slow.flush_started(batch, 5'000'000, kStart);
    EXPECT_EQ(slow.next_flush(), kStart + seconds(20));
}

TEST_F(FlushPolicyTest, TheMemoryBoundIsTheLimitBeforeTheDatabaseHasShownItsSpeed) {
    std::size_t rows = 0;
    while (!policy.full(batch)) fill(rows += 1000);
    EXPECT_GE(batch.bytes(), kGrowingBytes);
    EXPECT_LT(batch.bytes(), 2 * kGrowingBytes);  // its table doubles
    EXPECT_TRUE(policy.due(batch, kStart));
}

TEST_F(FlushPolicyTest, RecoversFromAStandstill) {
    show_speed(100'000);
    policy.flush_succeeded(10'000, seconds(60));
    EXPECT_EQ(policy.row_limit(), FlushPolicy::kLeastRowLimit);
    show_speed(100'000);
    EXPECT_GT(policy.row_limit(), 250'000u);
}

TEST_F(FlushPolicyTest, SmallFlushesDoNotTellThatTheDatabaseIsSlow) {
    show_speed(100'000);
    const std::size_t limit = policy.row_limit();
    policy.flush_succeeded(FlushPolicy::kRowsThatTell - 1, seconds(1));
    EXPECT_EQ(policy.row_limit(), limit);
}

/// Or a stream too thin for large batches would be flushed without a pause for ever.
TEST_F(FlushPolicyTest, SmallFlushesTellThatAStandstillIsOver) {
    policy.flush_succeeded(FlushPolicy::kRowsThatTell, seconds(60));
    fill(100);
    EXPECT_EQ(goes_after(), milliseconds(0));
    for (int i = 0; i < 10; ++i) policy.flush_succeeded(batch.rows(), milliseconds(2));
    EXPECT_EQ(goes_after(), kInterval);
}

TEST_F(FlushPolicyTest, ALimitOfRecordsIsExactAndGoesAsFlushesSucceed) {
    policy.cut_down(8);
    EXPECT_EQ(policy.room(batch), 4u);
    fill(3);
    EXPECT_EQ(policy.room(batch), 1u);
    EXPECT_FALSE(policy.full(batch));
    fill(4);
    EXPECT_TRUE(policy.full(batch));
    EXPECT_EQ(policy.room(batch), 1u);
    policy.cut_down(1);
    EXPECT_EQ(policy.record_limit(), 1u);
    for (int i = 0; i < 30; ++i) policy.flush_succeeded(1, milliseconds(1));
    EXPECT_FALSE(policy.record_limit());
}

}  // namespace
}  // namespace topkd::test
