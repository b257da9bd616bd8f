// Watermarks, lateness and idleness one by one, each a short story with the fakes.
#include <gtest/gtest.h>

#include "pipeline.h"
#include "pipeline_fakes.h"

namespace topkd::test {
namespace {

using std::chrono::seconds;

constexpr Partition kZero{0};
constexpr Partition kOne{1};
constexpr std::int64_t kMinute = 60'000;

class PipelineTimeTest : public testing::Test {
  protected:
    PipelineTimeTest() {
        database.lateness = seconds(60);
        make();
    }

    void make(std::map<Partition, Offset> ends = {}, std::chrono::milliseconds flush_interval = std::chrono::milliseconds(500),
              std::size_t growing_bytes = 1 << 16) {
        pipeline.reset();
        worker = std::make_unique<SinkWorker>(sink, SinkWorker::Mode::kManual);
        pipeline = std::make_unique<Pipeline>(
            source, *worker, clock,
            PipelineConfig{
                .counter = "c", .topic = "t", .flush_interval = flush_interval, .growing_bytes = growing_bytes, .ends = std::move(ends)});
    }

    void rounds(int count) {
        for (int i = 0; i < count; ++i) {
            worker->run_pending();
            ASSERT_NE(pipeline->step(), Pipeline::Status::kFailed) << pipeline->failure();
            clock.advance(50);
        }
    }
    void pass(seconds duration) { rounds(static_cast<int>(duration.count()) * 20); }

    void assign(std::vector<Partition> partitions) { source.push(Assigned{std::move(partitions)}); }
    FakeDatabase::Row& row(Partition p) { return database.rows[p]; }
    std::int64_t wall() const { return raw(clock.wall()); }

    FakeLog log{2};
    Faults faults;
    FakeClock clock;
    FakeDatabase database{clock};
    FakeSink sink{database, faults, "me"};
    FakeSource source{log, faults, clock, 1};
    std::unique_ptr<SinkWorker> worker;
    std::unique_ptr<Pipeline> pipeline;
};

TEST_F(PipelineTimeTest, AnEventIsLateByTheWatermarkOfItsOwnPartition) {
    log.event(0, "first", kNoon);
    log.event(0, "ahead", kNoon + kHourMs + kMinute - 1);
    log.event(0, "in time", kNoon);
    log.event(0, "ahead", kNoon + kHourMs + kMinute);
    log.event(0, "late", kNoon);
    log.event(1, "in time there", kNoon);
    assign({kZero, kOne});
    rounds(60);
    EXPECT_EQ(database.late, (Sums{{{kNoon, "late"}, 1}}));
    EXPECT_EQ(row(kZero).counted, 4);
    EXPECT_EQ(row(kZero).late, 1);
    EXPECT_EQ(row(kOne).counted, 1);
    EXPECT_EQ(row(kZero).watermark, Millis{kNoon + kHourMs + kMinute});
    EXPECT_EQ(pipeline->stats().late, 1u);
}

TEST_F(PipelineTimeTest, NeitherAClockAheadNorADeadLetterDragsTheWatermark) {
    log.event_at(0, "its producer's clock is ahead", wall() + 4 * kMinute, kNoon);
    log.event_at(0, "its record's timestamp too", wall() + 4 * kMinute, wall() + 4 * kMinute);
    log.event(0, "dead", wall() + kHourMs);
    log.event(0, "in time", kNoon + kHourMs);
    const Millis started = clock.wall();
    assign({kZero});
    rounds(60);
    EXPECT_EQ(row(kZero).dead, 1);
    EXPECT_EQ(row(kZero).late, 0);
    EXPECT_GE(row(kZero).watermark, started);
    EXPECT_LE(row(kZero).watermark, clock.wall());
}

TEST_F(PipelineTimeTest, ARewindTakesTheWatermarkBackToTheCommittedOne) {
    make({}, seconds(60));  // the first flush goes at once
    log.event(0, "committed", kNoon);
    assign({kZero});
    rounds(40);
    ASSERT_EQ(database.flushes, 1);
    log.event(0, "in time", kNoon);
    log.event(0, "ahead", kNoon + kHourMs + kMinute);
    while (pipeline->stats().records < 3) pipeline->step();  // no time passes: nothing is flushed
    source.push(PartitionTrouble{kZero, "made up"});
    pass(seconds(61));
    EXPECT_EQ(pipeline->stats().records, 5u);
    EXPECT_EQ(row(kZero).counted, 3);
    EXPECT_EQ(row(kZero).watermark, Millis{kNoon + kHourMs + kMinute});
}

TEST_F(PipelineTimeTest, ANewOwnerGoesOnWithTheStoredWatermark) {
    row(kZero).watermark = Millis{kNoon + kHourMs + kMinute};
    log.event(0, "late", kNoon);
    assign({kZero});
    rounds(40);
    EXPECT_EQ(row(kZero).late, 1);
    EXPECT_EQ(row(kZero).watermark, Millis{kNoon + kHourMs + kMinute});
}

TEST_F(PipelineTimeTest, ASilentPartitionFollowsTheClockWhetherItEverHadARecordOrNot) {
    database.idle_timeout = seconds(10);
    log.event(0, "a", kNoon);
    assign({kZero, kOne});
    pass(seconds(9));
    EXPECT_EQ(row(kZero).watermark, Millis{kNoon});
    EXPECT_EQ(row(kOne).watermark, std::nullopt);
    pass(seconds(10));
    for (const Partition p : {kZero, kOne}) {
        EXPECT_TRUE(row(p).clock_advanced);
        EXPECT_GT(row(p).watermark, Millis{wall() - 14'000});
        EXPECT_LE(row(p).watermark, Millis{wall() - 10'000});
    }
    EXPECT_EQ(row(kZero).next, Offset{1});
    EXPECT_EQ(pipeline->stats().records, 1u);
    EXPECT_EQ(pipeline->stats().flushes, 1u);
    EXPECT_EQ(pipeline->stats().rewinds, 0u);
    EXPECT_TRUE(database.violations.empty());
}

TEST_F(PipelineTimeTest, IdleAdvancesGoOutEveryTwoSecondsAtMost) {
    database.idle_timeout = seconds(10);
    assign({kZero});
    pass(seconds(31));
    EXPECT_GE(database.idle_advances, 8);
    EXPECT_LE(database.idle_advances, 11);
}

TEST_F(PipelineTimeTest, ASilentBrokerIsNoIdlePartition) {
    database.idle_timeout = seconds(10);
    assign({kZero});
    pass(seconds(9));
    log.answers = false;
    pass(seconds(60));
    EXPECT_EQ(database.idle_advances, 0);
    log.answers = true;
    pass(seconds(5));
    EXPECT_GT(database.idle_advances, 0);
}

TEST_F(PipelineTimeTest, WhatWasProvenBeforeTheBrokerFellSilentIsNotExceeded) {
    database.idle_timeout = seconds(10);
    assign({kZero});
    pass(seconds(15));
    log.answers = false;
    const std::int64_t silent_since = wall();
    pass(seconds(60));
    EXPECT_LE(row(kZero).watermark, Millis{silent_since - 10'000});
}

TEST_F(PipelineTimeTest, AnOpenTransactionIsNotTheEnd) {
    database.idle_timeout = seconds(10);
    log.event(0, "a", kNoon);
    log.event(0, "not committed yet", kNoon);
    log.open_since = 1;
    assign({kZero, kOne});
    pass(seconds(30));
    EXPECT_EQ(row(kZero).watermark, Millis{kNoon});
    EXPECT_TRUE(row(kOne).clock_advanced);
    log.open_since.reset();
    pass(seconds(1));
    EXPECT_EQ(row(kZero).counted, 2);
    pass(seconds(15));
    EXPECT_TRUE(row(kZero).clock_advanced);
}

/// With a stream of distinct videos, large enough for the database to show its speed.
class PipelineBacklogTest : public PipelineTimeTest {
  protected:
    static constexpr std::int64_t kBacklog = 5'000'000;

    PipelineBacklogTest() { make({}, seconds(2), 16 << 20); }

    void stream(int partition) {
        for (int video = 0; video < 200'000; ++video) log.event(partition, std::to_string(video), kNoon);
    }

    std::uint64_t flushes_in(seconds duration) {
        const std::uint64_t before = pipeline->stats().flushes;
        pass(duration);
        return pipeline->stats().flushes - before;
    }

    void expect_short_batches_of_the_other() {
        stream(1);
        assign({kZero, kOne});
        pass(seconds(5));
        EXPECT_GE(flushes_in(seconds(30)), 14u);
    }
};

TEST_F(PipelineBacklogTest, FlushesRarelyUntilItIsRead) {
    stream(0);
    log.withheld = kBacklog;
    assign({kZero});
    pass(seconds(5));
    EXPECT_NEAR(static_cast<double>(flushes_in(seconds(30))), 10, 1);
    log.withheld = 0;  // while a batch waits for three seconds
    EXPECT_GE(flushes_in(seconds(30)), 14u);
}

TEST_F(PipelineBacklogTest, WhatATransactionHoldsBackIsNone) {
    log.event(0, "a", kNoon);
    log.event(0, "not committed yet", kNoon);
    log.open_since = 1;
    log.withheld = kBacklog;
    expect_short_batches_of_the_other();
}

TEST_F(PipelineBacklogTest, WhatDoesNotComeIsNone) {
    log.event(0, "a", kNoon);
    log.withheld = kBacklog;
    expect_short_batches_of_the_other();
}

TEST_F(PipelineTimeTest, NothingIsIdleWithExitAtEnd) {
    database.idle_timeout = seconds(1);
    log.event(0, "a", kNoon);
    log.event(1, "b", kNoon);
    log.open_since = 0;
    make({{kZero, Offset{1}}, {kOne, Offset{1}}});
    assign({kZero, kOne});
    pass(seconds(30));
    EXPECT_EQ(database.idle_advances, 0);
}

TEST_F(PipelineTimeTest, ARecordCancelsTheAdvanceThatWasNotSentYet) {
    database.idle_timeout = seconds(10);
    make({}, seconds(60));  // the first flush goes at once
    log.event(0, "first", kNoon);
    assign({kZero});
    pass(seconds(20));
    log.event(0, "in time", kNoon);  // by the advance that lies in the batch it would be late
    pass(seconds(50));
    EXPECT_EQ(pipeline->stats().records, 2u);
    EXPECT_EQ(row(kZero).counted, 2);
    EXPECT_EQ(row(kZero).late, 0);
    EXPECT_FALSE(row(kZero).clock_advanced);
}

TEST_F(PipelineTimeTest, BehindAnAdvanceThatWasSentARecordIsLateAlsoWhenReadAgain) {
    database.idle_timeout = seconds(10);
    assign({kZero});
    pass(seconds(15));
    clock.advance(kHourMs);
    pass(seconds(5));
    ASSERT_GT(row(kZero).watermark, Millis{kNoon + 2 * kHourMs});
    log.event(0, "late", kNoon);
    while (pipeline->stats().records == 0) rounds(1);
    source.push(PartitionTrouble{kZero, "made up"});
    rounds(40);
    EXPECT_EQ(row(kZero).counted, 0);
    EXPECT_EQ(row(kZero).late, 1);
}

TEST_F(PipelineTimeTest, AFencedAdvanceIsMadeByTheNextOwnerOnly) {
    database.idle_timeout = seconds(10);
    assign({kZero});
    pass(seconds(15));
    const auto before = row(kZero).watermark;
    row(kZero).epoch = 7;
    row(kZero).member = "other";
    pass(seconds(5));
    EXPECT_EQ(row(kZero).watermark, before);
    pass(seconds(15));  // still assigned: claimed again
    EXPECT_GT(row(kZero).watermark, before);
}

TEST_F(PipelineTimeTest, ARevokedPartitionsAdvanceIsForgottenWithoutARewind) {
    database.idle_timeout = seconds(10);
    make({}, seconds(60));  // the first flush goes at once
    assign({kZero, kOne});
    pass(seconds(30));
    const auto before = row(kZero).watermark;
    ASSERT_EQ(row(kOne).watermark, before);
    source.push(Revoked{{kZero}, false});
    pass(seconds(60));
    EXPECT_EQ(pipeline->stats().rewinds, 0u);
    EXPECT_EQ(row(kZero).watermark, before);
    EXPECT_GT(row(kOne).watermark, before);
}

}  // namespace
}  // namespace topkd::test
