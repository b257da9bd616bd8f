// The hours of a counter: topk.hour_map where a partition was made already, the zone's calendar of today elsewhere.
// Stored hours win, since rows are stored under them; a calendar hour that overlaps stored ones (the time zone data
// changed in between) keeps only what they leave of it.
#pragma once

#include "counter.h"
#include "pg.h"

namespace topk {

struct Hour {
    TimestampTz start;
    TimestampTz end;
    TimestampTz day_start;
    TimestampTz month_start;
    bool stored;
};

/// palloc'ed, ascending, without gaps or overlaps.
using Hours = std::span<Hour>;

/// Seconds since 1970-01-01 UTC, rounded down.
pg_time_t seconds_from(TimestampTz instant);

/// Every hour that overlaps [since, until). Requires: SPI connected, finite bounds.
Hours load_hours(const Counter& counter, TimestampTz since, TimestampTz until, Snapshot snapshot);

enum class Span { kHour, kDay, kMonth };

/// A window: the hours [start, end) that go by the name `label`, which is start unless the time zone data changed.
struct Window {
    TimestampTz label;
    TimestampTz start;
    TimestampTz end;
};

/// The window of a span that contains the instant. Requires: SPI connected.
Window window_at(const Counter& counter, Span span, TimestampTz at, Snapshot snapshot);

/// The `count` hours that end with the one that contains the instant. Requires: SPI connected.
Window trailing_hours(const Counter& counter, std::int64_t count, TimestampTz at, Snapshot snapshot);

/// The month that a day of the map belongs to: of its hours' months the first, should time zone data have changed amid it. Requires: SPI
/// connected.
TimestampTz month_of_day(const Counter& counter, TimestampTz day_start, Snapshot snapshot);

}  // namespace topk
