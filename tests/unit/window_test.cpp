// The hour map at every boundary, in zones on and off the hour and across changes of their clocks; loading against a model.
#include "window.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <numeric>
#include <optional>
#include <random>

namespace topkd {

void showValue(const Hour& hour, std::ostream& os) {
    os << "[" << raw(hour.start) << ", " << raw(hour.end) << ")";
}

namespace {

constexpr std::int64_t kMinute = 60'000;

/// Hours end to end, each as many minutes long as said.
std::vector<Hour> hours_of(std::int64_t start, const std::vector<int>& minutes) {
    std::vector<Hour> hours;
    for (const int length : minutes) {
        hours.push_back({Millis{start}, Millis{start + length * kMinute}, Millis{start / 7}, Millis{start / 11}});
        start += length * kMinute;
    }
    return hours;
}

Millis just_before(Millis instant) {
    return Millis{raw(instant) - 1};
}

void expect_boundaries(const HourMap& map, const std::vector<Hour>& hours) {
    for (const Hour& hour : hours) {
        SCOPED_TRACE(raw(hour.start));
        ASSERT_NE(map.find(hour.start), nullptr);
        EXPECT_EQ(*map.find(hour.start), hour);
        ASSERT_NE(map.find(just_before(hour.end)), nullptr);
        EXPECT_EQ(*map.find(just_before(hour.end)), hour);
    }
    EXPECT_EQ(map.find(just_before(hours.front().start)), nullptr);
    EXPECT_EQ(map.find(hours.back().end), nullptr);
    EXPECT_EQ(map.covers_from(), hours.front().start);
    EXPECT_EQ(map.covers_until(), hours.back().end);
}

TEST(HourMap, FindsEveryBoundaryOfEveryKindOfZone) {
    const struct {
        const char* zone;
        std::int64_t start;
        std::vector<int> minutes;
    } cases[] = {
        {"UTC", 1'700'000'000'000 / (60 * kMinute) * (60 * kMinute), std::vector<int>(48, 60)},
        {"Asia/Kolkata, +05:30", 1'699'986'600'000, std::vector<int>(48, 60)},
        {"Asia/Kathmandu, +05:45", 1'699'985'700'000, std::vector<int>(48, 60)},
        {"Lord Howe, half an hour back and forth", 1'712'412'000'000, {60, 60, 90, 60, 60, 30, 60}},
        {"before the epoch", -3 * 60 * kMinute, {60, 60, 60, 60, 60}},
        {"one hour", 0, {60}},
    };
    for (const auto& c : cases) {
        SCOPED_TRACE(c.zone);
        const auto hours = hours_of(c.start, c.minutes);
        HourMap map;
        ASSERT_TRUE(map.load(hours));
        expect_boundaries(map, hours);
    }
}

TEST(HourMap, EmptyFindsNothing) {
    const HourMap map;
    EXPECT_EQ(map.find(Millis{0}), nullptr);
    EXPECT_TRUE(map.empty());
    EXPECT_EQ(map.covers_from(), Millis{0});
    EXPECT_EQ(map.covers_until(), Millis{0});
}

TEST(HourMap, LeavesHolesEmpty) {
    HourMap map;
    ASSERT_TRUE(map.load(hours_of(0, {60})));
    ASSERT_TRUE(map.load(hours_of(600 * kMinute, {60})));
    EXPECT_EQ(map.size(), 2U);
    EXPECT_NE(map.find(Millis{0}), nullptr);
    EXPECT_EQ(map.find(Millis{60 * kMinute}), nullptr);
    EXPECT_EQ(map.find(Millis{600 * kMinute - 1}), nullptr);
    EXPECT_NE(map.find(Millis{600 * kMinute}), nullptr);
}

TEST(HourMap, RefusesEmptyAndOverlappingHoursAndStaysAsItWas) {
    HourMap map;
    const auto good = hours_of(0, {60, 60});
    ASSERT_TRUE(map.load(good));
    EXPECT_FALSE(map.load({{Millis{5}, Millis{5}, {}, {}}}));
    EXPECT_FALSE(map.load({{Millis{5}, Millis{4}, {}, {}}}));
    EXPECT_FALSE(map.load({{Millis{0}, Millis{10}, {}, {}}, {Millis{9}, Millis{20}, {}, {}}}));
    EXPECT_FALSE(map.load({{Millis{0}, Millis{10}, {}, {}}, {Millis{0}, Millis{10}, {}, {}}}));
    expect_boundaries(map, good);
}

RC_GTEST_PROP(HourMapProperty, FindEqualsALinearSearch, ()) {
    const auto minutes = *rc::gen::nonEmpty(rc::gen::container<std::vector<int>>(rc::gen::element(30, 60, 60, 60, 90, 120)));
    auto hours = hours_of(*rc::gen::inRange<std::int64_t>(-1000, 1000) * 15 * kMinute, minutes);
    const auto until = hours.back().end;
    hours.erase(std::remove_if(hours.begin(), hours.end(), [](const Hour&) { return *rc::gen::inRange(0, 5) == 0; }), hours.end());
    std::shuffle(hours.begin(), hours.end(), std::mt19937_64(*rc::gen::arbitrary<std::uint64_t>()));
    HourMap map;
    RC_ASSERT(map.load(hours));
    for (std::int64_t t = raw(until) - 130 * 60 * kMinute; t <= raw(until) + kMinute; t += 15 * kMinute) {
        for (const Millis instant : {Millis{t - 1}, Millis{t}}) {
            const auto expected =
                std::find_if(hours.begin(), hours.end(), [&](const Hour& hour) { return hour.start <= instant && instant < hour.end; });
            const Hour* found = map.find(instant);
            RC_ASSERT((found == nullptr) == (expected == hours.end()));
            if (found != nullptr) RC_ASSERT(*found == *expected);
        }
    }
}

/// Model: the known hours that overlap none of the new ones, and the new ones.
RC_GTEST_PROP(HourMapProperty, LoadingLetsNewHoursWin, ()) {
    HourMap map;
    std::vector<Hour> model;
    const int loads = *rc::gen::inRange(1, 6);
    for (int i = 0; i < loads; ++i) {
        const auto fresh = hours_of(*rc::gen::inRange<std::int64_t>(-20, 20) * 30 * kMinute,
                                    *rc::gen::container<std::vector<int>>(rc::gen::element(30, 60, 90)));
        const auto overlaps = [&](const Hour& known) {
            return std::any_of(fresh.begin(), fresh.end(),
                               [&](const Hour& hour) { return hour.start < known.end && known.start < hour.end; });
        };
        model.erase(std::remove_if(model.begin(), model.end(), overlaps), model.end());
        model.insert(model.end(), fresh.begin(), fresh.end());
        RC_ASSERT(map.load(fresh));
    }
    RC_ASSERT(map.size() == model.size());
    for (const Hour& hour : model) {
        RC_ASSERT(map.find(hour.start) != nullptr);
        RC_ASSERT(*map.find(hour.start) == hour);
        RC_ASSERT(*map.find(just_before(hour.end)) == hour);
    }
}

}  // namespace
}  // namespace topkd
