// What a batch keeps of dead letters.
#include "batch.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

namespace topkd::test {
namespace {

class BatchTest : public testing::Test {
  protected:
    BatchTest() { batch.progress(Partition{0}, 1, Offset{0}); }

    /// So many dead letters of the size that is kept of one.
    void bury(int count) {
        for (int i = 0; i < count; ++i) {
            batch.bury(Record{Partition{0}, Offset{next++}, Millis{0}, std::nullopt, payload}, DeadReason{"not JSON"});
        }
    }
    auto kept() const {
        return std::count_if(batch.dead().begin(), batch.dead().end(), [](const DeadLetter& letter) { return letter.payload.has_value(); });
    }

    std::string payload = std::string(Batch::kPayloadBytes, 'x');
    std::int64_t next = 0;
    Batch batch;
};

TEST_F(BatchTest, AFloodOfDeadLettersKeepsOffsetsAndReasons) {
    constexpr int kRoom = Batch::kPayloadBytesPerBatch / Batch::kPayloadBytes;
    bury(kRoom + 10);
    EXPECT_EQ(kept(), kRoom);
    EXPECT_EQ(batch.dead().size(), kRoom + 10u);
    EXPECT_EQ(batch.dead().back().reason, "not JSON");
    batch.clear();
    bury(1);
    EXPECT_EQ(kept(), 1);
}

TEST_F(BatchTest, ALargerBatchHasRoomForMore) {
    constexpr int kRecords = 2 * Batch::kPayloadBytesPerBatch / Batch::kPayloadBytesPerRecord;
    for (int i = 0; i < kRecords; ++i) batch.record_consumed();
    constexpr int kRoom = 2 * Batch::kPayloadBytesPerBatch / Batch::kPayloadBytes;
    bury(kRoom + 1);
    EXPECT_EQ(kept(), kRoom);
}

}  // namespace
}  // namespace topkd::test
