#include "sink_error.h"

#include <gtest/gtest.h>

#include "flush_policy.h"

namespace topkd::test {
namespace {

TEST(SinkError, OnlyContentIsBlamedOnRecords) {
    using enum SinkErrorKind;
    for (const char* code : {"22P05", "22021", "22003", "23514", "54000"}) EXPECT_EQ(classify_sqlstate(code), kData) << code;
    for (const char* code :
         {"", "08006", "57P01", "57P03", "57014", "53100", "53300", "40001", "40P01", "25006", "55P03", "58030", "XX000"}) {
        EXPECT_EQ(classify_sqlstate(code), kOutage) << code;
    }
    for (const char* code : {"42501", "42883", "3F000", "25001", "55000"}) EXPECT_EQ(classify_sqlstate(code), kRefused) << code;
    EXPECT_EQ(classify_sqlstate("TK001"), kFenced);
    EXPECT_EQ(classify_sqlstate("TK002"), kSealed);
    EXPECT_EQ(classify_sqlstate("22023"), kProtocol);
    EXPECT_EQ(classify_sqlstate("42704"), kNoCounter);
}

TEST(FlushPolicy, FlushesByTimeOrSize) {
    FlushPolicy policy(std::chrono::milliseconds(500), 1 << 20);
    Batch batch;
    const Instant now = Instant{} + std::chrono::hours(1);
    EXPECT_FALSE(policy.due(batch, now));
    batch.progress(Partition{0}, 1, Offset{0});
    EXPECT_TRUE(policy.due(batch, now));
    policy.flush_started(now);
    EXPECT_FALSE(policy.due(batch, now + std::chrono::milliseconds(499)));
    EXPECT_TRUE(policy.due(batch, now + std::chrono::milliseconds(500)));
    for (int i = 0; !policy.full(batch); ++i) batch.count(Millis{0}, "video" + std::to_string(i), 1);
    EXPECT_TRUE(policy.due(batch, now));
    EXPECT_GE(batch.bytes(), 1u << 20);
}

TEST(FlushPolicy, CutsDownAndGrowsBack) {
    FlushPolicy policy(std::chrono::milliseconds(500), 1 << 20);
    policy.cut_down(1000);
    EXPECT_EQ(policy.record_limit(), 500u);
    policy.cut_down(1);
    EXPECT_EQ(policy.record_limit(), 1u);
    for (int i = 0; i < 30; ++i) policy.flush_succeeded();
    EXPECT_FALSE(policy.record_limit());
}

TEST(Batch, PayloadsAreCappedOffsetsAreNot) {
    Batch batch;
    const std::string large(10'000, 'x');
    for (int i = 0; i < 1000; ++i) {
        batch.bury(Record{Partition{0}, Offset{i}, std::nullopt, std::nullopt, large}, DeadReason{"not JSON"});
    }
    ASSERT_EQ(batch.dead().size(), 1000u);
    EXPECT_EQ(batch.dead().front().payload->size(), Batch::kPayloadBytes);
    EXPECT_FALSE(batch.dead().front().key);
    EXPECT_FALSE(batch.dead().back().payload);
    EXPECT_EQ(batch.dead().back().reason, "not JSON");
    EXPECT_LT(batch.bytes(), 2u << 20);
}

}  // namespace
}  // namespace topkd::test
