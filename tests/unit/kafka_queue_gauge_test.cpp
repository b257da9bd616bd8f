// When the thread that fetches is woken: its sleep beside a full queue must not outlast the room in it.
#include "kafka_queue_gauge.h"

#include <gtest/gtest.h>

namespace topkd::test {
namespace {

constexpr std::size_t kRecords = 1000;
constexpr std::size_t kBytes = 1'000'000;

class QueueGaugeTest : public testing::Test {
  protected:
    /// Takes so many of the queue; how often the thread would be woken, if none is fetched meanwhile.
    int take(std::size_t records, std::size_t size) {
        int woken = 0;
        for (; records > 0; --records) {
            --queued;
            woken += gauge.taken(1, size, queued) ? 1 : 0;
        }
        return woken;
    }

    QueueGauge gauge{kRecords, kBytes};
    std::size_t queued = 0;
};

TEST_F(QueueGaugeTest, IsQuietWhileTheQueueWasNotFull) {
    for (int round = 0; round < 100; ++round) {
        queued = kRecords / 2;
        EXPECT_EQ(take(queued, 100), 0) << round;
        EXPECT_FALSE(gauge.taken(0, 0, 0));
    }
}

TEST_F(QueueGaugeTest, WakesWithTheFirstRecordBelowTheLimit) {
    queued = kRecords * 3;
    EXPECT_EQ(take(kRecords * 2, 100), 0) << "full until here";
    EXPECT_EQ(queued, kRecords);
    EXPECT_EQ(take(1, 100), 1);
    EXPECT_EQ(take(kRecords / 8 + 1, 100), 1) << "nothing came: again after an eighth";
}

TEST_F(QueueGaugeTest, WakesWhenABatchJumpsOverTheLimit) {
    EXPECT_TRUE(gauge.taken(512, 512 * 100, kRecords - 1)) << "the thread may have seen the limit right before";
    EXPECT_FALSE(gauge.taken(1, 100, kRecords - 2));
}

TEST_F(QueueGaugeTest, WakesAgainAfterTheQueueWasFullAgain) {
    for (int round = 0; round < 10; ++round) {
        queued = kRecords + 1;
        EXPECT_EQ(take(3, 100), 1) << round;
    }
}

TEST_F(QueueGaugeTest, WakesByBytesWhereRecordsAreLarge) {
    queued = 100;  // of 20,000 bytes: twice the limit
    int woken_above = 0;
    while (queued > kBytes / 20'000) woken_above += take(1, 20'000);
    EXPECT_EQ(woken_above, 0);
    EXPECT_GE(take(10, 20'000), 1);
    EXPECT_LE(take(40, 20'000), 8);
}

TEST_F(QueueGaugeTest, OneLargeRecordIsNoSizeOfAll) {
    queued = kRecords + 10;
    take(1, 100);
    EXPECT_EQ(take(1, kBytes / 2), 0);
    EXPECT_EQ(take(9, 100), 1) << "by records, not full by bytes";
}

TEST_F(QueueGaugeTest, WakesThoughTheEstimateOfBytesIsALittleLow) {
    queued = 100;
    take(1, 9'500);
    queued = 100;  // of 10,000 bytes: exactly full, and taken for 95 %
    EXPECT_GE(take(10, 9'500), 1);
}

}  // namespace
}  // namespace topkd::test
