// Summing the counter's tables for the audit, in the caller's snapshot.
#include "audit_sums.h"

#include "hour_list.h"
#include "hours.h"
#include "registry_rows.h"

namespace topk {

namespace {

// They need no partition, so that topk.hour_map may not have them.
Statement late_hours_statement = {
    "SELECT DISTINCT hour_start FROM topk.hour_book_data WHERE counter = $1 AND late_views <> 0 ORDER BY hour_start"};

/// The only row of the last result, which lives until SPI_finish.
Sums read_sums(std::initializer_list<Oid> types) {
    Sums sums = {};
    int column = 0;
    for (const Oid type : types) {
        sums.columns[column] = {type, cell(0, column + 1).value};
        ++column;
    }
    return sums;
}

/// By span and window; rows is a table or a query in brackets.
Sums sum_windows(const char* rows) {
    run_once(psprintf("SELECT coalesce(array_agg(span), '{}'), coalesce(array_agg(window_start), '{}'), coalesce(array_agg(views), '{}')"
                      " FROM (SELECT span::text, window_start, sum(views) AS views FROM %s r GROUP BY span, window_start) s",
                      rows),
             {}, Snapshot::kCaller);
    return read_sums({TEXTARRAYOID, TIMESTAMPTZARRAYOID, NUMERICARRAYOID});
}

const char* rollup_rows(const Counter& counter) {
    return psprintf(
        "(SELECT 'day' AS span, window_start, views FROM %s UNION ALL SELECT 'month', window_start, views FROM %s"
        " UNION ALL SELECT 'all_time', window_start, views FROM %s)",
        table_name(counter, counter.rollups[kDayRollup]), table_name(counter, counter.rollups[kMonthRollup]),
        table_name(counter, counter.rollups[kAllTimeRollup]));
}

Argument times(std::span<Datum> values) {
    return {TIMESTAMPTZARRAYOID, PointerGetDatum(construct_array(values.data(), static_cast<int>(values.size()), TIMESTAMPTZOID,
                                                                 sizeof(TimestampTz), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE))};
}

}  // namespace

Sums sum_hours(const Counter& counter) {
    forget_partitions(counter);
    run_once(psprintf("SELECT coalesce(array_agg(window_start), '{}'), coalesce(array_agg(views), '{}')"
                      " FROM (SELECT window_start, sum(views) AS views FROM %s GROUP BY window_start) s",
                      table_name(counter, counter.hour_table)),
             {}, Snapshot::kCaller);
    return read_sums({TIMESTAMPTZARRAYOID, NUMERICARRAYOID});
}

Sums sum_late(const Counter& counter) {
    return sum_windows(table_name(counter, counter.late_table));
}

Sums sum_rollups(const Counter& counter) {
    return sum_windows(rollup_rows(counter));
}

Argument sum_at_marker(const Counter& counter, Rollup rollup, const Marker& marker) {
    const Oid source = rollup == kDayRollup ? counter.hour_table : counter.rollups[kDayRollup];
    run_once(psprintf("SELECT coalesce(sum(views), 0) FROM %s WHERE window_start = $1 AND video_id <= $2", table_name(counter, source)),
             {time_value(marker.window), text_value(marker.video_id)}, Snapshot::kCaller);
    return read_sums({NUMERICOID}).columns[0];
}

Sums expired_dead(const Counter& counter) {
    const char* source = has_registry_table("expired_dead_data") ? "topk.expired_dead_data"
                                                                 : "(SELECT '' AS counter, '' AS topic, 0 AS partition, 0 AS letters)";
    run_once(psprintf("SELECT coalesce(array_agg(topic::text), '{}'), coalesce(array_agg(partition), '{}'),"
                      " coalesce(array_agg(letters::int8), '{}') FROM %s e WHERE counter = $1",
                      source),
             {text_value(counter.name)}, Snapshot::kCaller);
    return read_sums({TEXTARRAYOID, INT4ARRAYOID, INT8ARRAYOID});
}

Sums expired_late(const Counter& counter) {
    const char* source = has_registry_table("expired_late_data") ? "topk.expired_late_data"
                                                                 : "(SELECT '' AS counter, now() AS hour_start, 0 AS views, 0 AS records)";
    run_once(psprintf("SELECT coalesce(array_agg(hour_start), '{}'), coalesce(array_agg(views::int8), '{}'),"
                      " coalesce(array_agg(records::int8), '{}') FROM %s e WHERE counter = $1",
                      source),
             {text_value(counter.name)}, Snapshot::kCaller);
    return read_sums({TIMESTAMPTZARRAYOID, INT8ARRAYOID, INT8ARRAYOID});
}

Sums label_late_hours(const Counter& counter) {
    const std::uint64_t count = run(late_hours_statement, {text_value(counter.name)}, Snapshot::kCaller);
    const std::size_t size = count * sizeof(Datum) + 1;
    Datum* labels[3] = {static_cast<Datum*>(palloc(size)), static_cast<Datum*>(palloc(size)), static_cast<Datum*>(palloc(size))};
    for (std::uint64_t i = 0; i < count; ++i) labels[0][i] = cell(i, 1).value;
    SPI_freetuptable(SPI_tuptable);
    const MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext, "topk audit of a window", ALLOCSET_DEFAULT_SIZES);
    const MemoryContext caller = MemoryContextSwitchTo(scratch);
    Window day = {0, DT_NOEND, DT_NOBEGIN};
    Window month = day;
    for (std::uint64_t i = 0; i < count; ++i) {
        CHECK_FOR_INTERRUPTS();
        const TimestampTz hour = DatumGetTimestampTz(labels[0][i]);
        if (hour < day.start || hour >= day.end) day = window_at(counter, Span::kDay, hour, Snapshot::kCaller);
        if (hour < month.start || hour >= month.end) month = window_at(counter, Span::kMonth, hour, Snapshot::kCaller);
        MemoryContextReset(scratch);
        labels[1][i] = TimestampTzGetDatum(day.label);
        labels[2][i] = TimestampTzGetDatum(month.label);
    }
    MemoryContextSwitchTo(caller);
    MemoryContextDelete(scratch);
    return {{times({labels[0], count}), times({labels[1], count}), times({labels[2], count})}};
}

}  // namespace topk
