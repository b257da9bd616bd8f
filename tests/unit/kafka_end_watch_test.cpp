// When librdkafka's statistics prove that a partition is read to its end, and as of when.
#include "kafka_end_watch.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

namespace topkd {
namespace {

constexpr Partition kPartition{3};

/// One broker and one partition, as far as they matter, between others of their kind.
struct Statistics {
    std::int64_t second = 100;
    std::string state = "UP";
    int connects = 1;
    int fetches = 50;
    std::string fetch_state = "active";
    int broker = 1;
    std::int64_t high = 7;
    std::int64_t stable = 7;

    std::string json() const {
        return fmt::format(
            R"({{ "name": "rdkafka#consumer-1", "ts":{}, "brokers":{{
              "b:1/1": {{ "name":"b:1/1", "nodeid":1, "source":"configured", "state":"{}", "connects":{}, "req": {{ "Fetch": {}, "Metadata": 4 }} }},
              "GroupCoordinator": {{ "name":"GroupCoordinator", "nodeid":1, "source":"logical", "state":"UP", "connects":2, "req": {{ "Fetch": 0 }} }},
              "b:2/2": {{ "name":"b:2/2", "nodeid":2, "source":"learned", "state":"UP", "connects":1, "req": {{ "Fetch": 5 }} }} }},
              "topics":{{ "t": {{ "topic":"t", "partitions":{{
                "3": {{ "partition":3, "broker":{}, "leader":1, "fetch_state":"{}", "hi_offset":{}, "ls_offset":{} }},
                "-1": {{ "partition":-1, "broker":-1, "fetch_state":"none", "hi_offset":-1001, "ls_offset":-1001 }} }} }} }} }})",
            second * 1'000'000, state, connects, fetches, broker, fetch_state, high, stable);
    }
    Statistics later(int sent = 10) const {
        Statistics next = *this;
        ++next.second;
        next.fetches += sent;
        return next;
    }
};

Instant at(std::int64_t second) {
    return Instant(std::chrono::seconds(second));
}

class KafkaEndWatchTest : public testing::Test {
  protected:
    void see(const Statistics& statistics) { EXPECT_TRUE(watch.on_statistics(statistics.json())); }
    std::optional<Instant> as_of() const {
        const auto end = watch.confirmed_end(kPartition);
        return end ? std::optional(end->as_of) : std::nullopt;
    }

    KafkaEndWatch watch{"t"};
};

TEST_F(KafkaEndWatchTest, AnEndIsProvenAsOfTheStatisticsBefore) {
    const Statistics first;
    see(first);
    EXPECT_FALSE(as_of());
    see(first.later());
    EXPECT_EQ(watch.confirmed_end(kPartition)->offset, Offset{7});
    EXPECT_EQ(as_of(), at(100));
    see(first.later().later());
    EXPECT_EQ(as_of(), at(101));
}

TEST_F(KafkaEndWatchTest, FewFetchesProveNothingUntilThereAreMore) {
    const Statistics first;
    see(first);
    see(first.later(2));
    EXPECT_FALSE(as_of());
    see(first.later(2).later(1));
    EXPECT_EQ(as_of(), at(100));
}

TEST_F(KafkaEndWatchTest, AnOpenTransactionIsAnswered) {
    Statistics now;
    see(now);
    now.high = 9;
    see(now = now.later());
    see(now.later());
    EXPECT_FALSE(as_of());
    EXPECT_EQ(watch.answered_since(kPartition), at(101));
}

TEST_F(KafkaEndWatchTest, ASilentBrokerLeavesTheLastProof) {
    Statistics now;
    see(now);
    see(now = now.later());
    for (int i = 0; i < 60; ++i) see(now = now.later(0));
    EXPECT_EQ(as_of(), at(100));
}

TEST_F(KafkaEndWatchTest, AfterAnewConnectionTheProofBeginsAgain) {
    Statistics now;
    see(now);
    see(now = now.later());
    now = now.later(0);
    now.state = "CONNECT";
    see(now);
    for (int i = 0; i < 60; ++i) now = now.later(0);
    now.state = "UP";
    ++now.connects;
    ++now.fetches;
    see(now);
    EXPECT_EQ(as_of(), at(100));
    see(now = now.later(2));
    EXPECT_EQ(as_of(), at(100));
    see(now.later());
    EXPECT_EQ(as_of(), at(now.second - 1));
}

TEST_F(KafkaEndWatchTest, AConnectionMadeBetweenTwoStatisticsCountsToo) {
    Statistics now;
    see(now);
    now = now.later();
    ++now.connects;
    see(now);
    EXPECT_FALSE(as_of());
}

TEST_F(KafkaEndWatchTest, AnotherLeaderBeginsAgain) {
    Statistics now;
    see(now);
    now = now.later();
    now.broker = 2;
    see(now);
    EXPECT_FALSE(as_of());
}

TEST_F(KafkaEndWatchTest, WithoutAnEndOrWithAnOpenTransactionNothingIsProven) {
    for (const auto damage : {+[](Statistics& s) { s.stable = 6; }, +[](Statistics& s) { s.high = s.stable = -1; },
                              +[](Statistics& s) { s.fetch_state = "offset-query"; }, +[](Statistics& s) { s.broker = -1; }}) {
        watch = KafkaEndWatch("t");
        Statistics now;
        damage(now);
        see(now);
        see(now.later());
        EXPECT_FALSE(as_of());
    }
}

TEST_F(KafkaEndWatchTest, WhatIsReadFromAnotherOffsetIsForgotten) {
    const Statistics first;
    see(first);
    see(first.later());
    watch.forget({kPartition});
    EXPECT_FALSE(as_of());
    see(first.later().later());
    EXPECT_FALSE(as_of());
}

TEST_F(KafkaEndWatchTest, GarbageProvesNothing) {
    EXPECT_FALSE(watch.on_statistics("{"));
    EXPECT_FALSE(watch.on_statistics("[]"));
    EXPECT_TRUE(watch.on_statistics(R"({"ts":1,"brokers":{}})"));
    EXPECT_FALSE(as_of());
}

}  // namespace
}  // namespace topkd
