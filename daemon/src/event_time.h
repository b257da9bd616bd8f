// Event time: reading RFC 3339, and the limits within which a time is believed. No clock is read here; the caller passes
// "now", so that one reading serves a whole batch and tests are repeatable.
#pragma once

#include <chrono>
#include <optional>
#include <string_view>

#include "dead_reason.h"
#include "types.h"

namespace topkd {

/// PostgreSQL's timestamptz: 4713-11-24 BC 00:00 UTC, and the first instant behind its end, 294277-01-01 UTC.
inline constexpr Millis kTimestampBegin{-210'866'803'200'000};
inline constexpr Millis kTimestampEnd{9'224'318'016'000'000};

constexpr bool in_timestamp_range(Millis time) {
    return time >= kTimestampBegin && time < kTimestampEnd;
}

/// Reads an RFC 3339 date-time, by its grammar and nothing wider: "T" (or "t") between date and time, seconds present,
/// "Z" ("z") or +hh:mm / -hh:mm behind it, any number of fraction digits, of which those beyond milliseconds are cut off
/// (towards the past). Years 0000 to 9999, days as the calendar has them.
/// A leap second, :60, is taken where it may occur, at 23:59 UTC, and read as :59.999, so that the event stays in the
/// hour and the day it names; anywhere else :60 is refused. None if the text is anything else.
std::optional<Millis> parse_rfc3339(std::string_view text);

/// How far from the wall clock an event's time may be, as the counter says.
struct TimeLimits {
    std::chrono::milliseconds max_age;
    std::chrono::milliseconds max_clock_skew;
};

/// None if now - max_age <= time <= now + max_clock_skew, else "older than max_age: …" or "ahead of the clock: …".
/// Requires both times in the timestamp range and both limits >= 0.
std::optional<DeadReason> check_limits(Millis time, Millis now, const TimeLimits& limits);

}  // namespace topkd
