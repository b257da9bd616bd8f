#include "sink_error.h"

#include <gtest/gtest.h>

#include "batch.h"

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
