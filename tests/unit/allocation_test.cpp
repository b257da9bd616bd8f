// No event costs an allocation, once the room for its batch is there: counted by replacing operator new of this binary. The sanitizers have
// their own, so there this is not built.
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)

#include <gtest/gtest.h>

#include <cstdlib>
#include <new>

#include "pipeline.h"
#include "pipeline_fakes.h"
#include "steady_source.h"

namespace {
thread_local std::uint64_t allocations = 0;

void* counted(std::size_t size) {
    ++allocations;
    if (void* const place = std::malloc(size)) return place;
    throw std::bad_alloc();
}
}  // namespace

void* operator new(std::size_t size) {
    return counted(size);
}
void* operator new[](std::size_t size) {
    return counted(size);
}
void operator delete(void* place) noexcept {
    std::free(place);
}
void operator delete[](void* place) noexcept {
    std::free(place);
}
void operator delete(void* place, std::size_t) noexcept {
    std::free(place);
}
void operator delete[](void* place, std::size_t) noexcept {
    std::free(place);
}

namespace topkd::test {
namespace {

constexpr int kVideos = 500;
constexpr std::size_t kEvents = 50'000;

/// Every form of an event that is counted, on time and late, each of several videos.
std::vector<std::string> events_of_all_forms() {
    const std::string late = std::to_string(kNoon - 5 * kHourMs);
    std::vector<std::string> values{R"({"video_id":"watermark","ts":)" + std::to_string(kNoon + kHourMs / 2) + "}"};
    for (int i = 0; i < kVideos; ++i) {
        const std::string id = "video_" + std::to_string(i);
        values.push_back(R"({"video_id":")" + id + R"(","ts":)" + std::to_string(kNoon + kHourMs / 2) + R"(,"views":3})");
        values.push_back(R"({"video_id":")" + id + R"(","ts":"2023-11-14T22:30:00.25Z"})");
        values.push_back(R"({"other":[1,{"a":null}],"video_id":"\u00e9)" + id + R"(","ts":)" + std::to_string(kNoon) + "}");
        values.push_back(R"({"video_id":")" + id + R"(","ts":)" + late + "}");
    }
    return values;
}

class AllocationTest : public testing::Test {
  protected:
    /// Consumes so many events and flushes nothing: no time passes. Returns how many allocations that took.
    std::uint64_t consume(std::size_t count) {
        source.offer(count);
        const std::uint64_t before = allocations;
        while (source.left() > 0) pipeline.step();
        return allocations - before;
    }

    /// What there is goes to the database, and the next flush is not due before time passes.
    void flush() {
        const std::uint64_t flushes = pipeline.stats().flushes;
        clock.advance(600);
        pipeline.step();
        worker.run_pending();
        pipeline.step();
        ASSERT_EQ(pipeline.stats().flushes, flushes + 1);
    }

    void SetUp() override {
        for (int i = 0; i < 10; ++i) {  // claims, loads the hours, starts
            pipeline.step();
            worker.run_pending();
        }
        for (int i = 0; i < 4; ++i) {  // two batches take turns
            consume(values.size());
            flush();
        }
        ASSERT_EQ(pipeline.stats().records, 4 * values.size());
        ASSERT_EQ(pipeline.stats().late, 4u * kVideos);
    }

    std::vector<std::string> values = events_of_all_forms();
    Faults faults;
    FakeClock clock;
    FakeDatabase database{clock};
    FakeSink sink{database, faults, "me"};
    SteadySource source{values, Millis{kNoon + kHourMs}};
    SinkWorker worker{sink, SinkWorker::Mode::kManual};
    Pipeline pipeline{source, worker, clock, PipelineConfig{.counter = "c", .topic = "t", .ends = {}}};
};

TEST_F(AllocationTest, AnEventCostsNone) {
    consume(values.size());
    EXPECT_EQ(consume(kEvents), 0u);
    EXPECT_EQ(pipeline.stats().records, 5 * values.size() + kEvents);
}

TEST_F(AllocationTest, ABatchReusesTheRoomOfEarlierOnes) {
    EXPECT_LE(consume(1), 4u);  // opens the partition's part
    EXPECT_EQ(consume(values.size() - 1), 0u);
    EXPECT_EQ(pipeline.stats().records, 5 * values.size());
    EXPECT_EQ(pipeline.stats().rewinds, 0u);
}

}  // namespace
}  // namespace topkd::test

#endif
