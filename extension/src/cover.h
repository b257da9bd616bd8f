// What a span is made of: rows of the hour table, of roll-ups, and of the late additions, each counted in one of them only, as the roll-up
// stands in the caller's snapshot (span_parts.h). A list is the k greatest sums over these: merge_lists.h merges the windows' sorted lists,
// add_up.h adds all rows up by SQL.
#pragma once

#include "counter.h"
#include "prepared_sums.h"
#include "roll_up_marker.h"
#include "span_parts.h"

namespace topk {

enum class PartOf : char { kHours, kRollup, kLate };

/// A window of a table, which has a sorted list.
struct Part {
    PartOf table;
    Rollup rollup;       ///< which one; of late additions, of which span; of hours kDayRollup
    TimestampTz window;  ///< window_start of its rows
    const char* beyond;  ///< only rows of video ids after it, since the others are rolled up; null: all
};

struct Cover {
    std::span<Part> windows;      ///< of roll-ups and late additions
    std::span<Part> hours;        ///< ascending
    std::span<HourRange> ranges;  ///< the hours once more, and what lies between them; ascending
    const char* hours_beyond;     ///< what a rest of an hour is beyond
    const char* days_beyond;      ///< and that of a day
    bool is_hour;                 ///< asked for as an hour: a single list

    const PreparedSums* prepared;  ///< the greatest sums of the first so many windows and hours; null: not prepared
    std::size_t prepared_windows;
    std::size_t prepared_hours;
};

/// The name of a roll-up's span, which the late additions also have.
const char* span_name(int rollup);

/// Raises 22023 unless span is hour, day, month, all_time or an interval of whole hours, of which it returns the number; else 0.
std::int64_t check_span(const char* span);
/// The cover of a checked span. Requires: SPI connected.
Cover cover_of_span(const Counter& counter, const char* span, std::int64_t trailing, TimestampTz at);
/// The cover of whole hours; prepared: sums of the first of them, or null. Requires: SPI connected.
Cover cover_of_hours(const Counter& counter, TimestampTz since, TimestampTz until, const PreparedSums* prepared);
/// The cover of whole hours. Raises 22023 if a bound is not the start of an hour, or they are out of order. Requires: SPI connected.
Cover cover_between(const Counter& counter, TimestampTz since, TimestampTz until);

/// Raises 42501 unless the current user may read all tables that the cover names; they are locked until the transaction ends.
void require_readable(const Counter& counter, const Cover& cover);

/// Raises 55000: the hour's rows have expired.
[[noreturn]] void refuse_expired_hour(const Counter& counter, TimestampTz hour);
/// Raises 55000 if rows that the cover needs have expired, or their partition is gone since the snapshot was taken.
/// Requires: the tables are locked, by require_readable.
void require_stored(const Counter& counter, const Cover& cover);

}  // namespace topk
