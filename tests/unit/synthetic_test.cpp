// The synthetic producer's sequences: the same settings give the same records, and times follow the schedule.
#include "synthetic.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>
#include <vector>

namespace topkd {
namespace {

constexpr Millis kStart{1'772'366'400'000};  // 2026-03-01T12:00:00Z

SyntheticSettings settings(std::uint64_t seed) {
    SyntheticSettings result;
    result.videos = 1000;
    result.seed = seed;
    result.rate = 500;
    result.start = kStart;
    result.time_scale = 60;
    result.disorder = std::chrono::seconds(10);
    return result;
}

std::vector<SyntheticRecord> records(const SyntheticSettings& of, Millis clock, std::size_t count) {
    SyntheticSequence sequence(of, clock);
    std::vector<SyntheticRecord> result(count);
    for (SyntheticRecord& record : result) {
        sequence.next(clock, record);
        clock = Millis{raw(clock) + 17};
    }
    return result;
}

auto contents(const std::vector<SyntheticRecord>& of) {
    std::vector<std::tuple<std::string, std::string, std::int64_t>> result;
    for (const SyntheticRecord& record : of) {
        result.emplace_back(record.key, record.value, raw(record.timestamp));
    }
    return result;
}

TEST(Synthetic, SameSettingsSameRecordsWhateverTheClock) {
    EXPECT_EQ(contents(records(settings(1), Millis{0}, 5000)), contents(records(settings(1), Millis{99'999}, 5000)));
    EXPECT_NE(contents(records(settings(1), Millis{0}, 5000)), contents(records(settings(2), Millis{0}, 5000)));
}

TEST(Synthetic, TheFirstRecordsOfASeedNeverChange) {
    // Pins the sequence: a change here breaks whoever wrote down a seed.
    SyntheticSettings pinned = settings(42);
    pinned.disorder = std::chrono::milliseconds(0);
    std::vector<std::string> keys;
    for (const SyntheticRecord& record : records(pinned, Millis{0}, 5)) {
        keys.push_back(record.key);
    }
    EXPECT_EQ(keys, (std::vector<std::string>{"vid_858", "vid_953", "vid_477", "vid_841", "vid_620"}));
}

TEST(Synthetic, TimesFollowTheScheduleAndDisorderOnlyLiesBehind) {
    std::int64_t index = 0;
    bool shuffled = false;
    std::int64_t previous = 0;
    for (const SyntheticRecord& record : records(settings(3), Millis{0}, 2000)) {
        EXPECT_EQ(raw(record.timestamp), raw(kStart) + index++ * 120);  // 2 ms of schedule, 60 times as fast
        const auto event = nlohmann::json::parse(record.value);
        EXPECT_EQ(event["video_id"], record.key);
        const std::int64_t time = event["ts"];
        EXPECT_LE(time, raw(record.timestamp));
        EXPECT_GE(time, raw(record.timestamp) - 10'000);
        shuffled = shuffled || time < previous;
        previous = time;
    }
    EXPECT_TRUE(shuffled);
}

TEST(Synthetic, WithoutAStartTheClockIsStretched) {
    SyntheticSettings live = settings(4);
    live.start.reset();
    live.time_scale = 2;
    const auto produced = records(live, Millis{1'000'000}, 3);
    EXPECT_EQ(raw(produced[0].timestamp), 1'000'000);
    EXPECT_EQ(raw(produced[2].timestamp), 1'000'000 + 2 * 34);
}

TEST(Synthetic, VideoNumbersAreAPermutation) {
    for (const std::uint64_t videos : {1, 2, 3, 10, 97, 1000, 4096, 9699690}) {
        const std::uint64_t step = videos > 100'000 ? 9973 : 1;
        std::set<std::uint64_t> numbers;
        std::uint64_t asked = 0;
        for (std::uint64_t rank = 1; rank <= videos; rank += step, ++asked) {
            const std::uint64_t number = SyntheticSequence::video_number(rank, videos);
            EXPECT_GE(number, 1u);
            EXPECT_LE(number, videos);
            numbers.insert(number);
        }
        EXPECT_EQ(numbers.size(), asked) << videos;
    }
}

}  // namespace
}  // namespace topkd
