// Reading a final list.
// That the window is sealed in the caller's snapshot needs no look of its own: topk.refresh_list saw it sealed, so whoever sees the list
// sees the frontier beyond the window as well, on a standby too, and the frontier never goes back.
#include "final_list.h"

#include "hours.h"
#include "registry_rows.h"

namespace topk {

namespace {

constexpr const char* kWindows = "leaderboard_window_data";
constexpr const char* kRows = "leaderboard_data";
constexpr const char* kRevisions = "window_revision_data";

RowKey window_key(AttrNumber column, TimestampTz start) {
    return {column, BTEqualStrategyNumber, F_TIMESTAMPTZ_EQ, InvalidOid, TimestampTzGetDatum(start)};
}

struct Header {
    std::int32_t revision;
    std::int32_t length;
};

/// False if the window has no final list.
bool read_header(const Counter& counter, const char* span, TimestampTz start, Header* header) {
    return read_registry_row(
        kWindows, {text_key(1, counter.name), text_key(2, span), window_key(3, start)}, [&](HeapTuple tuple, TupleDesc desc) {
            *header = {DatumGetInt32(registry_value(tuple, desc, "revision")), DatumGetInt32(registry_value(tuple, desc, "length"))};
            return DatumGetBool(registry_value(tuple, desc, "sealed"));
        });
}

std::int32_t read_revision(const Counter& counter, const char* span, TimestampTz start) {
    std::int32_t revision = 0;
    read_registry_row(kRevisions, {text_key(1, counter.name), text_key(2, span), window_key(3, start)},
                      [&](HeapTuple tuple, TupleDesc desc) {
                          revision = DatumGetInt32(registry_value(tuple, desc, "revision"));
                          return true;
                      });
    return revision;
}

/// The rows come last rank first. False if one is missing: somebody deleted it by hand.
bool read_rows(const Counter& counter, const char* span, TimestampTz start, std::span<Ranked> rows) {
    std::size_t missing = rows.size();
    const RowKey until = {4, BTLessEqualStrategyNumber, F_INT8LE, InvalidOid, Int64GetDatum(static_cast<std::int64_t>(rows.size()))};
    if (missing == 0) return true;
    read_registry_row(kRows, {text_key(1, counter.name), text_key(2, span), window_key(3, start), until},
                      [&](HeapTuple tuple, TupleDesc desc) {
                          const std::int64_t rank = DatumGetInt64(registry_value(tuple, desc, "rank"));
                          if (rank != static_cast<std::int64_t>(missing)) return true;
                          rows[--missing] = {TextDatumGetCString(registry_value(tuple, desc, "video_id")),
                                             DatumGetInt64(registry_value(tuple, desc, "views"))};
                          return missing == 0;
                      });
    return missing == 0;
}

bool may_read_all(const Counter& counter) {
    return may_read(counter.hour_table) && may_read(counter.late_table) &&
           std::all_of(std::begin(counter.rollups), std::end(counter.rollups), may_read);
}

/// Requires: the caller may read what the list is made of.
bool read_list(const Counter& counter, const char* span, TimestampTz start, std::int32_t k, FinalList* list) {
    if (has_policies(counter, GetUserId()) || has_policies(counter, counter.owner)) return false;
    Header header;
    if (!read_header(counter, span, start, &header) || header.revision != read_revision(counter, span, start)) return false;
    const auto size = static_cast<std::size_t>(std::min(k, header.length));
    *list = {start, {static_cast<Ranked*>(palloc((size + 1) * sizeof(Ranked))), size}, header.length};
    return read_rows(counter, span, start, list->rows);
}

/// An instant beyond the frontier is in an open window, which has none: that saves the look where time matters most.
bool may_be_sealed(const Counter& counter, TimestampTz at) {
    return at < counter.sealed_through && has_registry_table(kWindows);
}

}  // namespace

bool read_final_hour(const Counter& counter, TimestampTz start, std::int32_t k, FinalList* list) {
    return may_be_sealed(counter, start) && may_read(counter.hour_table) && read_list(counter, "hour", start, k, list);
}

bool read_final_list(const Counter& counter, const char* span, TimestampTz at, std::int32_t k, FinalList* list) {
    if (!may_be_sealed(counter, at)) return false;
    TimestampTz hour;
    if (strcmp(span, "hour") == 0) return stored_hour_at(counter, at, &hour) && read_final_hour(counter, hour, k, list);
    const bool is_day = strcmp(span, "day") == 0;
    if (!is_day && strcmp(span, "month") != 0) return false;
    const TimestampTz start = window_at(counter, is_day ? Span::kDay : Span::kMonth, at, Snapshot::kCaller).label;
    return may_read_all(counter) && read_list(counter, span, start, k, list);
}

}  // namespace topk
