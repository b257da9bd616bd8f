// Writing the statement and running it. It is planned for its arguments, so that partitions are pruned then:
//   $1 the bounds of the ranges of hours   $2 k   $3 what the rest of an hour is beyond   $4 days   $5 the day of which there is a rest
//   $6 what that is beyond   $7 months, or all time   $8 the window of late additions
#include "add_up.h"

namespace topk {

namespace {

/// The role to read as: the owner, or the caller where policies apply to it. Where they apply only to the owner (FORCE), the caller
/// may see every row, but nothing of the owner's may run with the rights of such a caller.
Oid reader_of(const Counter& counter) {
    if (has_policies(counter, GetUserId())) return GetUserId();
    if (has_policies(counter, counter.owner))
        ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                        errmsg("row-level security is forced on the owner of counter \"%s\"", counter.name),
                        errdetail("Lists are read with the owner's rights; the policies would leave rows out."),
                        errhint("Use ALTER TABLE ... NO FORCE ROW LEVEL SECURITY, or ask as a role to which the policies apply.")));
    return counter.owner;
}

/// Instants that grow by one; there is room for as many as there are of what they come from.
struct Instants {
    Datum* values;
    int count;

    explicit Instants(std::size_t room) : values(static_cast<Datum*>(palloc((room + 1) * sizeof(Datum)))), count(0) {}
    void add(TimestampTz instant) { values[count++] = TimestampTzGetDatum(instant); }
    Argument argument() const {
        return {TIMESTAMPTZARRAYOID,
                PointerGetDatum(construct_array(values, count, TIMESTAMPTZOID, sizeof(TimestampTz), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE))};
    }
};

/// The cover's windows by table.
struct Windows {
    Instants days, coarse;
    Rollup coarse_rollup = kMonthRollup;
    const Part* day_rest = nullptr;
    const Part* late = nullptr;

    explicit Windows(std::span<const Part> parts) : days(parts.size()), coarse(parts.size()) {
        for (const Part& part : parts) {
            if (part.table == PartOf::kLate) {
                late = &part;
            } else if (part.beyond != nullptr) {
                day_rest = &part;
            } else if (part.rollup == kDayRollup) {
                days.add(part.window);
            } else {
                coarse_rollup = part.rollup;
                coarse.add(part.window);
            }
        }
    }
};

void append_select(StringInfo sql, const char* table, const char* condition) {
    appendStringInfo(sql, "%sSELECT video_id, views FROM %s WHERE %s", sql->len == 0 ? "" : " UNION ALL ", table, condition);
}

/// The i-th range.
const char* range_condition(const HourRange& range, int i) {
    const char* condition = "true";
    if (!TIMESTAMP_NOT_FINITE(range.since)) condition = psprintf("window_start >= $1[%d]", 2 * i + 1);
    if (!TIMESTAMP_NOT_FINITE(range.until)) condition = psprintf("%s AND window_start < $1[%d]", condition, 2 * i + 2);
    if (range.rest) condition = psprintf("%s AND (window_start > $1[%d] OR video_id > $3)", condition, 2 * i + 1);
    return condition;
}

/// All rows, from every table.
const char* rows_query(const Counter& counter, const Cover& cover, const Windows& windows) {
    StringInfoData sql;
    initStringInfo(&sql);
    const char* hours = table_name(counter, counter.hour_table);
    int number = 0;
    for (const HourRange& range : cover.ranges) append_select(&sql, hours, range_condition(range, number++));
    const auto of_rollup = [&](Rollup rollup, const char* condition) {
        append_select(&sql, table_name(counter, counter.rollups[rollup]), condition);
    };
    if (windows.days.count > 0) of_rollup(kDayRollup, "window_start = ANY ($4)");
    if (windows.day_rest != nullptr) of_rollup(kDayRollup, "window_start = $5 AND video_id > $6");
    if (windows.coarse.count > 0) of_rollup(windows.coarse_rollup, "window_start = ANY ($7)");
    if (windows.late != nullptr)
        append_select(&sql, table_name(counter, counter.late_table),
                      psprintf("span = '%s' AND window_start = $8", span_name(windows.late->rollup)));
    return sql.data;
}

/// An hour needs no sums: an index scan that stops after k, if there is an index. A sum that no bigint holds is NULL, and by its size it is
/// among the first; so no other row has to be looked at.
const char* list_query(const Counter& counter, const Cover& cover, const Windows& windows) {
    if (cover.is_hour)
        return psprintf("SELECT video_id, views FROM %s WHERE window_start = $1[1] ORDER BY views DESC, video_id LIMIT $2",
                        table_name(counter, counter.hour_table));
    return psprintf(
        "SELECT video_id, CASE WHEN views <= 9223372036854775807 THEN views::int8 END"
        " FROM (SELECT video_id, sum(views) AS views FROM (%s) part GROUP BY video_id ORDER BY 2 DESC, 1 LIMIT $2) best",
        rows_query(counter, cover, windows));
}

Argument bounds_of(std::span<const HourRange> ranges) {
    Instants bounds(2 * ranges.size());
    for (const HourRange& range : ranges) {
        bounds.add(range.since);
        bounds.add(range.until);
    }
    return bounds.argument();
}

TimestampTz window_of(const Part* part) {
    return part == nullptr ? 0 : part->window;
}

}  // namespace

void add_up(const Counter& counter, const Cover& cover, std::int32_t k) {
    const Windows windows(cover.windows);
    const char* sql = list_query(counter, cover, windows);
    as_user(reader_of(counter), [&] {
        run_once(sql,
                 {bounds_of(cover.ranges), int4_value(k), text_value(cover.hours_beyond), windows.days.argument(),
                  time_value(window_of(windows.day_rest)), text_value(cover.days_beyond), windows.coarse.argument(),
                  time_value(window_of(windows.late))},
                 Snapshot::kCaller);
    });
    if (SPI_tuptable->numvals > 0 && cell(0, 2).is_null) refuse_sum(text_cell(0, 1));
}

void refuse_sum(const char* video_id) {
    ereport(ERROR, (errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE), errmsg("the views of video \"%s\" exceed bigint", video_id),
                    errhint("Make them less with topk.correct, or ask for a shorter span.")));
    pg_unreachable();
}

}  // namespace topk
