// What a span is made of: hours, and for a day, month or all time also its roll-up and its late additions. A list is the k greatest sums
// over these; here they are added up by SQL, merge_lists does it without reading all of them. Roll-ups hold nothing in this version; when
// they do, their hours up to the marker are to be left out of the hours here, and both ways follow.
#pragma once

#include "counter.h"
#include "hours.h"

namespace topk {

struct Cover {
    TimestampTz start;  ///< hours [start, end) of the hour table; infinite bounds for all time
    TimestampTz end;
    int rollup;         ///< kDayRollup ... with its roll-up and late additions, or kNoRollup
    TimestampTz label;  ///< window_start of both
    bool is_hour;       ///< asked for as an hour: a single list
};
constexpr int kNoRollup = -1;

/// The name of a roll-up's span, which the late additions also have.
const char* span_name(int rollup);

/// Raises 22023 unless span is hour, day, month, all_time or an interval of whole hours, of which it returns the number; else 0.
std::int64_t check_span(const char* span);
/// The cover of a checked span. Requires: SPI connected.
Cover cover_of_span(const Counter& counter, const char* span, std::int64_t trailing, TimestampTz at);
/// The cover of whole hours. Raises 22023 if a bound is not the start of an hour, or they are out of order. Requires: SPI connected.
Cover cover_between(const Counter& counter, TimestampTz since, TimestampTz until);

/// Raises 42501 unless the current user may read the table.
void require_readable(Oid table);
/// The same for all tables that the cover names; they are locked until the transaction ends.
void require_readable(const Counter& counter, const Cover& cover);

/// The k greatest (video_id, views) by SQL, as the owner, or as the caller where policies apply to it. They are in SPI_tuptable.
/// Requires: SPI connected, the caller may read the tables. Failure: 0A000 if policies are forced on the owner and not on the caller.
void add_up(const Counter& counter, const Cover& cover, std::int32_t k);

}  // namespace topk
