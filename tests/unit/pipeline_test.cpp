// The pipeline's rules one by one, each a short story with the fakes.
#include <gtest/gtest.h>

#include "fingerprint.h"
#include "pipeline.h"
#include "pipeline_fakes.h"

namespace topkd::test {
namespace {

constexpr Partition kZero{0};
constexpr Partition kOne{1};

class PipelineTest : public testing::Test {
  protected:
    PipelineTest() { make({}); }

    void make(std::map<Partition, Offset> ends) {
        pipeline.reset();
        worker = std::make_unique<SinkWorker>(sink, SinkWorker::Mode::kManual);
        pipeline = std::make_unique<Pipeline>(
            source, *worker, clock, PipelineConfig{.counter = "c", .topic = "t", .growing_bytes = 1 << 16, .ends = std::move(ends)});
    }

    /// Rounds in which the database answers at once and 50 ms pass each.
    Pipeline::Status rounds(int count) {
        Pipeline::Status status = Pipeline::Status::kRunning;
        for (int i = 0; i < count && status == Pipeline::Status::kRunning; ++i) {
            worker->run_pending();
            status = pipeline->step();
            clock.advance(50);
        }
        return status;
    }

    /// The first flush is submitted, and the database does not answer.
    void until_a_flush_hangs() {
        while (pipeline->stats().records == 0) rounds(1);
        while (worker->idle()) pipeline->step();
    }

    void assign(std::vector<Partition> partitions) { source.push(Assigned{std::move(partitions)}); }
    FakeDatabase::Row& row(Partition p) { return database.rows[p]; }

    FakeLog log{2};
    Faults faults;
    FakeClock clock;
    FakeDatabase database{clock};
    FakeSink sink{database, faults, "me"};
    FakeSource source{log, faults, clock, 1};
    std::unique_ptr<SinkWorker> worker;
    std::unique_ptr<Pipeline> pipeline;
};

TEST_F(PipelineTest, AcknowledgesAnAssignmentBeforeItHasClaimed) {
    assign({kZero});
    pipeline->step();
    EXPECT_EQ(source.acknowledged_assignments, 1);
    EXPECT_FALSE(source.started_at(kZero));
    rounds(10);
    EXPECT_EQ(source.started_at(kZero), Offset{0});
}

TEST_F(PipelineTest, CountsSkippedOffsetsBetweenAndBehindRecords) {
    log.marker(0);
    log.event(0, "a", kNoon);
    log.marker(0);
    assign({kZero});
    rounds(40);
    EXPECT_EQ(row(kZero).next, Offset{3});
    EXPECT_EQ(row(kZero).skipped, 2);
    EXPECT_EQ(database.total(), 1);
}

TEST_F(PipelineTest, VerifiesTheFingerprintAndDropsTheRecord) {
    log.event(0, "a", kNoon);
    log.event(0, "b", kNoon);
    assign({kZero});
    rounds(40);
    ASSERT_EQ(row(kZero).next, Offset{2});
    source.push(PartitionTrouble{kZero, "made up"});
    rounds(40);
    EXPECT_EQ(source.started_at(kZero), Offset{1});  // the last record counted
    EXPECT_EQ(database.total(), 2);
}

TEST_F(PipelineTest, RefusesATopicMadeAgainUntilReset) {
    log.event(0, "a", kNoon);
    log.event(0, "b", kNoon);
    assign({kZero});
    rounds(40);
    log.at(kZero).clear();
    for (int i = 0; i < 5; ++i) log.event(0, "other", kNoon + i);
    source.push(PartitionTrouble{kZero, "made up"});
    rounds(300);
    EXPECT_EQ(row(kZero).next, Offset{2});
    EXPECT_EQ(database.total(), 2);

    row(kZero).next = Offset{0};  // what reset_progress does
    row(kZero).last.reset();
    ++row(kZero).epoch;
    rounds(300);
    EXPECT_EQ(row(kZero).next, Offset{5});
    EXPECT_EQ(database.total(), 7);
}

TEST_F(PipelineTest, RefusesOffsetsThatRetentionPassedAndGoesOnWithTheOthers) {
    for (int i = 0; i < 5; ++i) log.event(0, "a", kNoon);
    log.event(1, "b", kNoon);
    row(kZero).next = Offset{1};
    log.starts[0] = 3;
    make({{kZero, Offset{5}}, {kOne, Offset{1}}});
    assign({kZero, kOne});
    EXPECT_EQ(rounds(500), Pipeline::Status::kFailed);
    EXPECT_NE(pipeline->failure().find("t/0"), std::string::npos);
    EXPECT_EQ(row(kOne).next, Offset{1});
    EXPECT_EQ(row(kZero).next, Offset{1});
}

TEST_F(PipelineTest, LooksTwiceBeforeItRefuses) {
    log.event(0, "a", kNoon);
    row(kZero).next = Offset{2};  // beyond the end as it was asked for
    assign({kZero});
    rounds(3);
    log.event(0, "b", kNoon);
    log.event(0, "c", kNoon);
    make({});
    assign({kZero});
    rounds(60);
    EXPECT_EQ(row(kZero).next, Offset{3});
}

TEST_F(PipelineTest, OtherClusterIsRefusedNotFatal) {
    log.event(0, "a", kNoon);
    database.cluster = "cluster-b";
    assign({kZero});
    EXPECT_EQ(rounds(50), Pipeline::Status::kRunning);
    EXPECT_EQ(database.total(), 0);
    database.cluster = "cluster-a";
    rounds(200);
    EXPECT_EQ(database.total(), 1);
}

TEST_F(PipelineTest, AnotherGroupIsFatal) {
    sink.next_claim_error = {SinkErrorKind::kRefused, "55000", "fed by another group"};
    assign({kZero});
    EXPECT_EQ(rounds(20), Pipeline::Status::kFailed);
    EXPECT_EQ(pipeline->failure(), "fed by another group");
}

TEST_F(PipelineTest, ClaimsAgainAfterBeingFencedButOnlyTwoHeartbeatsLater) {
    log.event(0, "a", kNoon);
    assign({kZero});
    rounds(40);
    row(kZero).epoch = 7;  // a stale member claimed it
    row(kZero).member = "other";
    log.event(0, "b", kNoon);
    rounds(40);
    EXPECT_EQ(row(kZero).epoch, 7);
    rounds(200);
    EXPECT_EQ(row(kZero).epoch, 8);
    EXPECT_EQ(row(kZero).member, "me");
    EXPECT_EQ(database.total(), 2);
}

TEST_F(PipelineTest, NeverClaimsWhenTheAssignmentIsLost) {
    source.lost = true;
    assign({kZero});
    rounds(100);
    EXPECT_FALSE(database.rows.contains(kZero));
}

TEST_F(PipelineTest, ARevocationWaitsForTheFlushUnderWay) {
    log.event(0, "a", kNoon);
    assign({kZero});
    until_a_flush_hangs();
    source.await({kZero});
    source.push(Revoked{{kZero}, false});
    pipeline->step();
    EXPECT_FALSE(source.acknowledged(kZero));
    rounds(3);
    EXPECT_TRUE(source.acknowledged(kZero));
    EXPECT_EQ(row(kZero).next, Offset{1});
}

TEST_F(PipelineTest, ARevocationBreaksAConnectionThatHangs) {
    log.event(0, "a", kNoon);
    assign({kZero});
    until_a_flush_hangs();
    source.await({kZero});
    source.push(Revoked{{kZero}, false});
    pipeline->step();
    clock.advance(5000);
    pipeline->step();
    EXPECT_TRUE(sink.hang_up);
    rounds(5);
    EXPECT_TRUE(source.acknowledged(kZero));
    EXPECT_NE(row(kZero).next, Offset{1});
}

TEST_F(PipelineTest, ARevokedPartitionsShareIsThrownAwayAndTheOthersRewound) {
    log.event(0, "a", kNoon);
    log.event(1, "b", kNoon);
    assign({kZero, kOne});
    while (database.total() < 2) rounds(1);
    rounds(1);  // takes the result; the next flush is not due for a while
    log.event(0, "c", kNoon);
    log.event(1, "d", kNoon);
    while (pipeline->stats().records < 4) pipeline->step();  // no time passes: nothing is flushed
    source.push(Revoked{{kZero}, false});
    rounds(100);
    EXPECT_EQ(row(kZero).next, Offset{1});
    EXPECT_EQ(row(kOne).next, Offset{2});
}

TEST_F(PipelineTest, NothingStartsAgainBeforeTheFlushUnderWayIsDecided) {
    log.event(0, "a", kNoon);
    log.event(1, "b", kNoon);
    assign({kZero, kOne});
    until_a_flush_hangs();
    for (int i = 0; i < 20; ++i) log.event(1, "b", kNoon);
    for (int i = 0; i < 20; ++i) pipeline->step();  // a growing batch behind the one in flight
    log.event(0, "a", kNoon);
    for (int i = 0; i < 20; ++i) pipeline->step();
    source.push(Revoked{{kZero}, true});
    for (int i = 0; i < 5; ++i) pipeline->step();
    EXPECT_EQ(pipeline->stats().rewinds, 1u);
    rounds(100);
    EXPECT_EQ(pipeline->stats().rewinds, 1u);  // no flush failed: the restart was behind the committed offset
    EXPECT_EQ(row(kOne).next, Offset{21});
}

TEST_F(PipelineTest, AClaimDoesNotWaitForABlockedFlush) {
    log.event(0, "a", kNoon);
    log.event(1, "b", kNoon);
    assign({kZero});
    until_a_flush_hangs();
    assign({kOne});  // its last owner's transaction may be what the flush waits for
    for (int i = 0; i < 30 && !sink.cancelled; ++i) {
        pipeline->step();
        clock.advance(100);
    }
    EXPECT_TRUE(sink.cancelled);
    rounds(100);
    EXPECT_EQ(row(kOne).next, Offset{1});
    EXPECT_EQ(database.total(), 2);
}

TEST_F(PipelineTest, SealedMeanwhileBecomesLate) {
    log.event(0, "a", kNoon - 3 * kHourMs);
    assign({kZero});
    rounds(4);
    database.sealed = Millis{kNoon};
    rounds(60);
    EXPECT_EQ(row(kZero).late, 1);
    EXPECT_EQ(row(kZero).counted, 0);
    EXPECT_EQ(database.total(), 1);
}

TEST_F(PipelineTest, FindsThePoisonAmongGoodRecords) {
    for (int i = 0; i < 50; ++i) log.event(0, i == 33 ? "poison" : "good", kNoon);
    assign({kZero});
    rounds(400);
    EXPECT_EQ(database.total(), 49);
    ASSERT_EQ(database.dead.size(), 1u);
    EXPECT_EQ(database.dead.begin()->first.second, Offset{33});
    EXPECT_TRUE(database.dead.begin()->second.starts_with("refused by the database"));
}

TEST_F(PipelineTest, AnOutageMakesNoDeadLetters) {
    for (int i = 0; i < 50; ++i) log.event(0, "good", kNoon);
    faults.fail_with(0.5, 3);
    assign({kZero});
    rounds(2000);
    faults.fail_with(0, 0);
    rounds(300);
    EXPECT_EQ(database.total(), 50);
    EXPECT_TRUE(database.dead.empty());
}

TEST_F(PipelineTest, TimesBeyondTheLimitsAreDead) {
    log.event(0, "old", kNoon - 300 * 24 * kHourMs);
    log.event(0, "ahead", kNoon + 5 * kHourMs);
    log.event(0, "good", kNoon);
    assign({kZero});
    rounds(60);
    EXPECT_EQ(row(kZero).dead, 2);
    EXPECT_EQ(database.total(), 1);
}

TEST_F(PipelineTest, ExitsAtTheEndThatWasTheEndAtTheStart) {
    log.event(0, "a", kNoon);
    log.marker(1);
    make({{kZero, Offset{1}}, {kOne, Offset{1}}});
    log.event(0, "after the start", kNoon);
    assign({kZero, kOne});
    EXPECT_EQ(rounds(200), Pipeline::Status::kFinished);
    EXPECT_EQ(row(kZero).next, Offset{1});
    EXPECT_EQ(row(kOne).next, Offset{1});
}

TEST_F(PipelineTest, WaitsForThePartitionsOfAMemberThatDiedBeforeItExitsAtTheEnd) {
    log.event(0, "a", kNoon);
    log.event(1, "b", kNoon);
    make({{kZero, Offset{1}}, {kOne, Offset{1}}});
    assign({kZero});
    EXPECT_EQ(rounds(45'000 / 50), Pipeline::Status::kRunning);
    EXPECT_EQ(row(kZero).next, Offset{1});
    assign({kOne});
    EXPECT_EQ(rounds(200), Pipeline::Status::kFinished);
    EXPECT_EQ(row(kOne).next, Offset{1});
}

TEST_F(PipelineTest, ExitsAtTheEndThoughAnotherMemberHasTheOtherPartitions) {
    log.event(0, "a", kNoon);
    make({{kZero, Offset{1}}, {kOne, Offset{1}}});
    assign({kZero});
    EXPECT_EQ(rounds(60'000 / 50), Pipeline::Status::kFinished);
}

TEST_F(PipelineTest, StoppingFlushesWhatThereIs) {
    log.event(0, "a", kNoon);
    assign({kZero});
    while (!pipeline->stats().records) rounds(1);
    pipeline->begin_stop();
    for (int i = 0; i < 10 && !pipeline->drained(); ++i) rounds(1);
    EXPECT_TRUE(pipeline->drained());
    EXPECT_FALSE(pipeline->discarded_at_stop());
    EXPECT_EQ(database.total(), 1);
}

TEST_F(PipelineTest, StoppingWithoutADatabaseSaysSo) {
    log.event(0, "a", kNoon);
    assign({kZero});
    while (!pipeline->stats().records) rounds(1);
    database.restart();
    pipeline->begin_stop();
    for (int i = 0; i < 10 && !pipeline->drained(); ++i) rounds(1);
    EXPECT_TRUE(pipeline->drained());
    EXPECT_TRUE(pipeline->discarded_at_stop());
}

TEST_F(PipelineTest, StopsReadingWhileTheDatabaseIsBusyAndTheBatchFull) {
    for (int i = 0; i < 20'000; ++i) log.event(0, "video" + std::to_string(i), kNoon);
    assign({kZero});
    rounds(8);
    for (int i = 0; i < 100; ++i) {  // no answer from the database any more
        pipeline->step();
        clock.advance(50);
    }
    EXPECT_FALSE(source.started_at(kZero));
    EXPECT_LT(pipeline->stats().records, 20'000u);
    for (int i = 0; i < 5000 && database.total() < 20'000; ++i) rounds(1);
    EXPECT_EQ(database.total(), 20'000);
}

TEST_F(PipelineTest, APartitionWithoutALeaderKeepsTheOthersFromNothing) {
    log.event(0, "a", kNoon);
    log.event(1, "b", kNoon);
    log.leaderless = {kZero};
    assign({kZero, kOne});
    rounds(60);
    EXPECT_EQ(row(kOne).next, Offset{1});
    EXPECT_NE(pipeline->trouble().find("t/0"), std::string::npos);
    database.restart();  // a resume asks for bounds, too
    log.event(1, "b", kNoon);
    until_a_flush_hangs();
    for (int i = 0; i < 60; ++i) {  // its claim, which nobody can make, does not cancel others' flushes
        pipeline->step();
        clock.advance(50);
    }
    EXPECT_FALSE(sink.cancelled);
    rounds(60);
    EXPECT_EQ(row(kOne).next, Offset{2});
    log.leaderless.clear();
    rounds(100);
    EXPECT_EQ(row(kZero).next, Offset{1});
    EXPECT_EQ(database.total(), 3);
    EXPECT_EQ(pipeline->trouble(), "");
}

TEST_F(PipelineTest, APartitionThatLosesItsLeaderIsClaimedAnew) {
    log.event(0, "a", kNoon);
    log.event(1, "b", kNoon);
    assign({kZero, kOne});
    rounds(60);
    ASSERT_EQ(database.total(), 2);
    const auto epochs = std::pair(row(kZero).epoch, row(kOne).epoch);
    log.leaderless = {kZero};
    database.restart();
    log.event(0, "a", kNoon);
    log.event(1, "b", kNoon);
    rounds(60);
    EXPECT_EQ(row(kZero).next, Offset{1});
    EXPECT_EQ(row(kOne).next, Offset{2});
    log.leaderless.clear();
    rounds(100);
    EXPECT_EQ(database.total(), 4);
    EXPECT_EQ(row(kZero).epoch, epochs.first + 1);
    EXPECT_EQ(row(kOne).epoch, epochs.second);
}

TEST_F(PipelineTest, AResumeOfLeaderlessPartitionsAloneKeepsNobodyWaiting) {
    log.event(0, "a", kNoon);
    log.event(1, "b", kNoon);
    assign({kZero});
    rounds(60);
    ASSERT_EQ(row(kZero).next, Offset{1});
    log.leaderless = {kZero};
    database.restart();
    log.event(0, "a", kNoon);
    rounds(60);
    EXPECT_NE(pipeline->trouble().find("t/0"), std::string::npos);
    assign({kOne});
    rounds(60);
    EXPECT_EQ(row(kOne).next, Offset{1});
}

TEST_F(PipelineTest, RecordsThatCannotBeReadMayBeGivenUp) {
    for (int i = 0; i < 6; ++i) log.event(0, "a", kNoon);
    log.damaged = {{kZero, Offset{3}}};
    assign({kZero});
    rounds(100);
    ASSERT_EQ(row(kZero).next, Offset{3});
    row(kZero).next = Offset{4};  // what reset_progress does
    row(kZero).last.reset();
    ++row(kZero).epoch;
    rounds(300);
    EXPECT_EQ(row(kZero).next, Offset{6});
    EXPECT_EQ(database.total(), 5);
    EXPECT_EQ(pipeline->trouble(), "");
}

TEST_F(PipelineTest, TheClaimOfWhatCannotBeReadCancelsNoFlush) {
    log.event(0, "a", kNoon);
    log.event(1, "b", kNoon);
    log.damaged = {{kZero, Offset{0}}};
    assign({kZero, kOne});
    rounds(60);
    ASSERT_EQ(row(kOne).next, Offset{1});
    log.event(1, "b", kNoon);
    while (worker->idle() || pipeline->stats().records < 2) pipeline->step();
    for (int i = 0; i < 140; ++i) {  // the partition is to be claimed anew meanwhile
        pipeline->step();
        clock.advance(100);
    }
    EXPECT_FALSE(sink.cancelled);
    rounds(60);
    EXPECT_EQ(row(kOne).next, Offset{2});
}

TEST_F(PipelineTest, AnOutageBeforeWhatCannotBeReadIsNoEnd) {
    for (int i = 0; i < 6; ++i) log.event(0, "a", kNoon);
    log.damaged = {{kZero, Offset{3}}};
    make({{kZero, Offset{6}}, {kOne, Offset{0}}});
    assign({kZero, kOne});
    while (pipeline->stats().records < 3) rounds(1);
    database.restart();
    EXPECT_EQ(rounds(500), Pipeline::Status::kFailed);
    EXPECT_EQ(row(kZero).next, Offset{3});
}

TEST_F(PipelineTest, RecordsThatCannotBeReadFailAnExitAtTheEnd) {
    for (int i = 0; i < 6; ++i) log.event(0, "a", kNoon);
    log.event(1, "b", kNoon);
    log.damaged = {{kZero, Offset{3}}};
    make({{kZero, Offset{6}}, {kOne, Offset{1}}});
    assign({kZero, kOne});
    EXPECT_EQ(rounds(500), Pipeline::Status::kFailed);
    EXPECT_NE(pipeline->failure().find("t/0"), std::string::npos);
    EXPECT_EQ(row(kZero).next, Offset{3});
    EXPECT_EQ(row(kOne).next, Offset{1});
}

TEST_F(PipelineTest, RecordsThatCannotBeReadAreNotPassedOver) {
    for (int i = 0; i < 6; ++i) log.event(0, "a", kNoon);
    log.event(1, "b", kNoon);
    log.damaged = {{kZero, Offset{3}}};
    assign({kZero, kOne});
    rounds(300);
    EXPECT_FALSE(sink.cancelled);
    EXPECT_EQ(row(kZero).next, Offset{3});  // what lies before them counts
    EXPECT_EQ(row(kOne).next, Offset{1});
    EXPECT_EQ(pipeline->stats().rewinds, 0u);
    EXPECT_NE(pipeline->trouble().find("t/0"), std::string::npos);
    database.restart();
    rounds(100);
    EXPECT_EQ(row(kZero).next, Offset{3});
    log.damaged.clear();
    rounds(300);
    EXPECT_EQ(row(kZero).next, Offset{6});
    EXPECT_EQ(row(kZero).skipped, 0);
    EXPECT_EQ(database.total(), 7);
    EXPECT_EQ(pipeline->trouble(), "");
}

TEST_F(PipelineTest, TellsOfAFlushThatIsStuckAndBreaksAServerThatHangs) {
    log.event(0, "a", kNoon);
    assign({kZero});
    until_a_flush_hangs();
    clock.advance(14'000);
    pipeline->step();
    EXPECT_EQ(pipeline->trouble(), "");
    clock.advance(2'000);
    pipeline->step();
    EXPECT_NE(pipeline->trouble().find("stuck"), std::string::npos);
    clock.advance(300'000);  // the server's limit for a statement
    pipeline->step();
    EXPECT_FALSE(sink.hang_up);
    clock.advance(60'000);
    pipeline->step();
    EXPECT_TRUE(sink.hang_up);
    rounds(100);
    EXPECT_EQ(database.total(), 1);
    EXPECT_EQ(pipeline->trouble(), "");
}

TEST_F(PipelineTest, TellsOfAClaimThatIsStuck) {
    assign({kZero});
    while (worker->idle()) pipeline->step();
    clock.advance(16'000);
    pipeline->step();
    EXPECT_NE(pipeline->trouble().find("stuck"), std::string::npos);
    rounds(40);
    EXPECT_EQ(pipeline->trouble(), "");
    EXPECT_EQ(source.started_at(kZero), Offset{0});
}

TEST_F(PipelineTest, TellsOfAPartitionWhoseBrokerAnswersNothing) {
    log.event(0, "a", kNoon);
    assign({kZero});
    rounds(40);
    clock.advance(60'000);
    rounds(2);
    EXPECT_EQ(pipeline->trouble(), "");  // idle
    log.open_since = 1;
    log.event(0, "of a transaction", kNoon);
    clock.advance(60'000);
    rounds(2);
    EXPECT_EQ(pipeline->trouble(), "");  // nothing that may be read yet
    log.open_since.reset();
    rounds(40);
    log.answers = false;
    clock.advance(29'000);
    rounds(2);
    EXPECT_EQ(pipeline->trouble(), "");
    clock.advance(2'000);
    rounds(2);
    EXPECT_NE(pipeline->trouble().find("t/0"), std::string::npos);
    log.event(0, "a", kNoon);
    rounds(40);
    EXPECT_EQ(pipeline->trouble(), "");
    EXPECT_EQ(database.total(), 3);
}

TEST_F(PipelineTest, AnOutageIsOverForAMemberWithoutPartitions) {
    log.event(0, "a", kNoon);
    assign({kZero});
    until_a_flush_hangs();
    sink.abort();
    rounds(1);
    ASSERT_NE(pipeline->trouble(), "");
    while (!source.started_at(kZero)) rounds(1);  // resumed; only a flush would tell that it can be flushed
    ASSERT_NE(pipeline->trouble(), "");
    source.push(Revoked{{kZero}, false});
    while (pipeline->partitions() > 0) pipeline->step();
    rounds(3);
    EXPECT_EQ(pipeline->trouble(), "");
}

}  // namespace
}  // namespace topkd::test
