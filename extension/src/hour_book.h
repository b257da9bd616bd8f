// The book of hours, topk.hour_book_data: what each flush says it brings, added up by hour from its arguments and never from
// the tables, so that topk.audit compares two things that were made apart.
// A flush books under the lowest of its partitions: its progress row is locked, so no two flushes meet on a row of the book.
#pragma once

#include "counter.h"
#include "pg.h"

namespace topk {

/// What one flush brings to one hour.
struct BookHour {
    TimestampTz start;
    std::int64_t views;
    std::int64_t late_views;
    std::int64_t late_records;
    std::int64_t late_in_day;    ///< of the late views, what the hour's day still took
    std::int64_t late_in_month;  ///< and its month
};

/// Adds to a sum of an hour. Failure: 22003.
void add_views(TimestampTz hour, std::int64_t* sum, std::int64_t views);

/// Both lists as one, ascending, each hour once. palloc'ed. Failure: 22003.
std::span<BookHour> merge_hours(std::span<const BookHour> left, std::span<const BookHour> right);

/// Adds the hours to the book. Requires: SPI connected, the extension owner's rights, the progress row of the partition
/// locked, the counter's tables written.
void write_hour_book(const Counter& counter, const char* topic, std::int32_t partition, std::span<const BookHour> hours);

}  // namespace topk
