// How old events are when they become visible, from bins instead of from the events.
#include "event_times.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

namespace topkd {
namespace {

constexpr std::int64_t kWall = 1'700'000'000'000;

std::vector<std::pair<std::int64_t, std::uint32_t>> bins_of(const EventTimes& times) {
    std::vector<std::pair<std::int64_t, std::uint32_t>> bins;
    times.each([&](Millis time, std::uint32_t count) { bins.emplace_back(raw(time), count); });
    return bins;
}

RC_GTEST_PROP(EventTimes, AnEventIsNeverMadeYoungerAndLittleOlder, ()) {
    const auto age = *rc::gen::oneOf(rc::gen::inRange<std::int64_t>(-100'000, 40'000), rc::gen::inRange<std::int64_t>(0, kWall * 2));
    EventTimes times;
    times.add(Millis{kWall - age}, Millis{kWall});
    const auto bins = bins_of(times);
    RC_ASSERT(bins.size() == 1u);
    RC_ASSERT(bins[0].second == 1u);
    const std::int64_t older = kWall - age - bins[0].first;
    RC_ASSERT(older >= 0);
    RC_ASSERT(older <= std::max<std::int64_t>(15, (age - 30'000) / 8));
}

TEST(EventTimes, FarAheadIsTheLastBin) {
    EventTimes times;
    times.add(Millis{kWall}, Millis{kWall});
    times.add(Millis{kWall + 3'600'000}, Millis{kWall});
    ASSERT_EQ(bins_of(times).size(), 2u);
    EXPECT_GT(bins_of(times)[1].first, kWall + 100'000);
}

TEST(EventTimes, CountsAndIsClearedToBeginAnew) {
    EventTimes times;
    for (int i = 0; i < 3; ++i) times.add(Millis{kWall}, Millis{kWall + i});
    ASSERT_EQ(bins_of(times).size(), 1u);
    EXPECT_EQ(bins_of(times)[0].second, 3u);
    times.clear();
    EXPECT_TRUE(bins_of(times).empty());
    times.add(Millis{kWall + 86'400'000}, Millis{kWall + 86'400'000});
    ASSERT_EQ(bins_of(times).size(), 1u);
    EXPECT_LE(kWall + 86'400'000 - bins_of(times)[0].first, 15);
}

}  // namespace
}  // namespace topkd
