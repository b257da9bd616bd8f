// RFC 3339 against a table of good and bad texts and a round trip; the limits at their bounds.
#include "event_time.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <cstdio>
#include <string>

namespace topkd {
namespace {

using namespace std::chrono_literals;

TEST(Rfc3339, ReadsGoodTexts) {
    const struct {
        const char* text;
        std::int64_t millis;
    } cases[] = {
        {"1970-01-01T00:00:00Z", 0},
        {"1970-01-01t00:00:00z", 0},
        {"1970-01-01T00:00:00.001Z", 1},
        {"1969-12-31T23:59:59.999Z", -1},
        {"1970-01-01T05:30:00+05:30", 0},
        {"1969-12-31T16:00:00-08:00", 0},
        {"1970-01-01T00:00:00-00:00", 0},
        {"1970-01-01T23:59:00+23:59", 0},
        {"2023-11-14T22:13:20Z", 1'700'000'000'000},
        {"2023-11-14T22:13:20.1Z", 1'700'000'000'100},
        {"2023-11-14T22:13:20.12Z", 1'700'000'000'120},
        {"2023-11-14T22:13:20.123456789123456789Z", 1'700'000'000'123},
        {"2023-11-14T22:13:20.9999Z", 1'700'000'000'999},
        {"1969-12-31T23:59:59.9999Z", -1},
        {"2024-02-29T12:00:00Z", 1'709'208'000'000},
        {"2000-02-29T00:00:00Z", 951'782'400'000},
        {"0000-01-01T00:00:00Z", -62'167'219'200'000},
        {"9999-12-31T23:59:59.999Z", 253'402'300'799'999},
        {"0000-01-01T00:00:00+23:59", -62'167'305'540'000},
        // Leap seconds stay in their minute.
        {"1990-12-31T23:59:60Z", 662'687'999'999},
        {"1990-12-31T15:59:60-08:00", 662'687'999'999},
        {"1990-12-31T23:59:60.25Z", 662'687'999'999},
        {"2017-01-01T05:29:60+05:30", 1'483'228'799'999},
    };
    for (const auto& c : cases) {
        SCOPED_TRACE(c.text);
        const auto parsed = parse_rfc3339(c.text);
        ASSERT_TRUE(parsed.has_value());
        EXPECT_EQ(raw(*parsed), c.millis);
        EXPECT_TRUE(in_timestamp_range(*parsed));
    }
}

TEST(Rfc3339, RefusesEverythingElse) {
    const char* const cases[] = {
        "",
        "Z",
        "2024",
        "2024-01-01",
        "12:00:00Z",
        "2024-01-01T00:00:00",
        "2024-01-01T00:00Z",
        "2024-01-01T00Z",
        "2024-01-01 00:00:00Z",
        "2024-01-01_00:00:00Z",
        " 2024-01-01T00:00:00Z",
        "2024-01-01T00:00:00Z ",
        "2024-01-01T00:00:00 Z",
        "2024-01-01T00:00:00ZZ",
        "2024-1-01T00:00:00Z",
        "24-01-01T00:00:00Z",
        "02024-01-01T00:00:00Z",
        "-2024-01-01T00:00:00Z",
        "+2024-01-01T00:00:00Z",
        "20240101T000000Z",
        "2024-001T00:00:00Z",
        "2024-W01-1T00:00:00Z",
        "2024/01/01T00:00:00Z",
        "2024-00-01T00:00:00Z",
        "2024-13-01T00:00:00Z",
        "2024-01-00T00:00:00Z",
        "2024-01-32T00:00:00Z",
        "2023-02-29T00:00:00Z",
        "1900-02-29T00:00:00Z",
        "2024-02-30T00:00:00Z",
        "2024-04-31T00:00:00Z",
        "2024-01-01T24:00:00Z",
        "2024-01-01T00:60:00Z",
        "2024-01-01T00:00:61Z",
        "2024-01-01T00:00:-1Z",
        "2024-01-01T00:00:60Z",
        "2024-01-01T23:58:60Z",
        "1990-12-31T23:59:60-08:00",
        "2024-01-01T00:00:00.Z",
        "2024-01-01T00:00:00,5Z",
        "2024-01-01T00:00:00.-5Z",
        "2024-01-01T00:00:00.5",
        "2024-01-01T00:00.5:00Z",
        "2024-01-01T00:00:00+24:00",
        "2024-01-01T00:00:00+00:60",
        "2024-01-01T00:00:00+0530",
        "2024-01-01T00:00:00+05",
        "2024-01-01T00:00:00+5:30",
        "2024-01-01T00:00:00+05:30Z",
        "2024-01-01T00:00:00Z+05:30",
        "2024-01-01T00:00:00 +05:30",
        "2024-01-01T00:00:00\xe2\x88\x92"
        "05:30",
        "2024-01-01T00:00:00UTC",
        "Mon, 01 Jan 2024 00:00:00 GMT",
        "1700000000000",
        "now",
        "infinity",
        "\xd9\xa2\xd9\xa0\xd9\xa2\xd9\xa4-01-01T00:00:00Z",
    };
    for (const char* text : cases) {
        EXPECT_FALSE(parse_rfc3339(text).has_value()) << text;
    }
    EXPECT_FALSE(parse_rfc3339(std::string_view("2024-01-01T00:00:00Z\0", 21)).has_value());
}

/// Written with a civil calendar of its own (days counted year by year), so that one mistake cannot hide another.
std::string format(std::int64_t millis, int offset_minutes, int fraction_digits) {
    std::int64_t local = millis + std::int64_t{offset_minutes} * 60'000 + 62'167'219'200'000;  // since year 0
    const std::int64_t ms = local % 1000;
    const std::int64_t seconds = local / 1000 % 86'400;
    std::int64_t days = local / 86'400'000;
    const auto leap = [](int y) { return (y % 4 == 0 && y % 100 != 0) || y % 400 == 0; };
    int year = static_cast<int>(days / 146'097 * 400);
    days %= 146'097;
    for (; days >= (leap(year) ? 366 : 365); ++year) days -= leap(year) ? 366 : 365;
    const int lengths[] = {31, leap(year) ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int month = 0;
    for (; days >= lengths[month]; ++month) days -= lengths[month];
    char text[64];
    std::snprintf(text, sizeof text, "%04d-%02d-%02dT%02d:%02d:%02d", year, month + 1, static_cast<int>(days) + 1,
                  static_cast<int>(seconds / 3600), static_cast<int>(seconds / 60 % 60), static_cast<int>(seconds % 60));
    std::string out = text;
    std::snprintf(text, sizeof text, "%03d000000", static_cast<int>(ms));
    if (fraction_digits > 0) out += "." + std::string(text, static_cast<std::size_t>(fraction_digits));
    const int ahead = offset_minutes < 0 ? -offset_minutes : offset_minutes;
    std::snprintf(text, sizeof text, "%c%02d:%02d", offset_minutes < 0 ? '-' : '+', ahead / 60, ahead % 60);
    return out + text;
}

RC_GTEST_PROP(Rfc3339Property, RoundTrip, ()) {
    const auto offset = *rc::gen::inRange(-1439, 1440);
    const auto millis = *rc::gen::inRange<std::int64_t>(-62'167'219'200'000 + 86'400'000, 253'402'300'800'000 - 86'400'000);
    const auto digits = *rc::gen::inRange(3, 10);
    RC_ASSERT(parse_rfc3339(format(millis, offset, digits)) == Millis{millis});
    const auto whole_second = (millis >= 0 ? millis : millis - 999) / 1000 * 1000;
    RC_ASSERT(parse_rfc3339(format(millis, offset, 0)) == Millis{whole_second});
}

RC_GTEST_PROP(Rfc3339Property, OneCharacterTooFewOrTooManyIsRefused, ()) {
    const auto good = format(*rc::gen::inRange<std::int64_t>(0, 4'102'444'800'000), *rc::gen::inRange(-1439, 1440), 0);
    const auto at = *rc::gen::inRange<std::size_t>(0, good.size());
    auto shorter = good;
    shorter.erase(at, 1);
    RC_ASSERT(!parse_rfc3339(shorter));
    auto longer = good;
    longer.insert(at, 1, *rc::gen::arbitrary<char>());
    RC_ASSERT(!parse_rfc3339(longer));
}

TEST(TimestampRange, IsPostgreSqls) {
    EXPECT_TRUE(in_timestamp_range(kTimestampBegin));
    EXPECT_FALSE(in_timestamp_range(Millis{raw(kTimestampBegin) - 1}));
    EXPECT_TRUE(in_timestamp_range(Millis{raw(kTimestampEnd) - 1}));
    EXPECT_FALSE(in_timestamp_range(kTimestampEnd));
}

TEST(TimeLimits, IncludeTheirBounds) {
    const TimeLimits limits{.max_age = 400 * 24h, .max_clock_skew = 5min};
    constexpr std::int64_t kNow = 1'700'000'000'000;
    const auto reason_at = [&](std::chrono::milliseconds from_now) {
        const auto reason = check_limits(Millis{kNow + from_now.count()}, Millis{kNow}, limits);
        return reason ? reason->text : "";
    };
    EXPECT_EQ(reason_at(0ms), "");
    EXPECT_EQ(reason_at(-400 * 24h), "");
    EXPECT_EQ(reason_at(-400 * 24h - 1ms), "older than max_age: by 1 ms");
    EXPECT_EQ(reason_at(5min), "");
    EXPECT_EQ(reason_at(5min + 1ms), "ahead of the clock: by 300001 ms");
}

TEST(TimeLimits, HoldAtTheEndsOfTime) {
    const TimeLimits none{.max_age = std::chrono::milliseconds::max(), .max_clock_skew = std::chrono::milliseconds::max()};
    const TimeLimits zero{.max_age = 0ms, .max_clock_skew = 0ms};
    const Millis last{raw(kTimestampEnd) - 1};
    EXPECT_FALSE(check_limits(kTimestampBegin, last, none).has_value());
    EXPECT_FALSE(check_limits(last, kTimestampBegin, none).has_value());
    EXPECT_TRUE(check_limits(kTimestampBegin, last, zero).has_value());
    EXPECT_TRUE(check_limits(last, kTimestampBegin, zero).has_value());
}

}  // namespace
}  // namespace topkd
