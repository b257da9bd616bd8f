// topk.refresh_due: which windows need a list, final ones first; and which hours expiry has to wait for.
// Rows of topk.* are read as the extension's owner, the late additions as the counter's owner.
#include "arguments.h"
#include "hour_list.h"
#include "hours.h"
#include "refresh.h"
#include "retention.h"

namespace topk {

namespace {

constexpr std::int64_t kMostOfAKind = 64;

// True of a window, of counter $1, whose list could be made the last time, or was not tried for an hour.
#define TOPK_MAY_WORK(span, start)                                                                                            \
    "NOT EXISTS (SELECT FROM topk.list_failure_data f WHERE f.counter = $1 AND f.span = " span " AND f.window_start = " start \
    " AND f.failed_at > clock_timestamp() - interval '1 hour')"

// True of an hour h whose partition is there: partitions are from $n to before $m.
#define TOPK_HAS_PARTITION(starts, ends) \
    "EXISTS (SELECT FROM unnest(" starts ", " ends ") p (start, until) WHERE h.hour_start >= p.start AND h.hour_start < p.until)"

// The window of a span that an hour h is in.
#define TOPK_WINDOW_OF_HOUR(span) "CASE " span " WHEN 'hour' THEN h.hour_start WHEN 'day' THEN h.day_start ELSE h.month_start END"

// An instant that is surely in a window: the start of its last hour in the map, if it has any.
#define TOPK_INSIDE(span, window_start)                                                                              \
    "coalesce((SELECT max(h.hour_start) FROM topk.hour_map h WHERE h.counter = $1 AND h.hour_start >= " window_start \
    "  AND h.hour_start < " window_start " + interval '33 days' AND " window_start " = " TOPK_WINDOW_OF_HOUR(span) "), " window_start ")"

// True of an open window w, until `ends`, whose list is too old, or missing.
#define TOPK_IS_OLD(open_before, ends)                                                                                     \
    "(w.refreshed_at < coalesce(" open_before ", clock_timestamp() - greatest(interval '10 s', (clock_timestamp() - " ends \
    ") / 10))) IS NOT FALSE"

Statement final_hours_statement = {
    "SELECT h.hour_start FROM topk.hour_map h LEFT JOIN topk.leaderboard_window_data w"
    "  ON w.counter = h.counter AND w.span = 'hour' AND w.window_start = h.hour_start"
    " WHERE h.counter = $1 AND h.hour_start >= $2 AND h.hour_start < $3 AND h.hour_end <= $3 AND w.sealed IS NOT TRUE"
    "  AND " TOPK_MAY_WORK("'hour'", "h.hour_start") " AND " TOPK_HAS_PARTITION("$5", "$6") " ORDER BY h.hour_start LIMIT $4"};

// No hour is longer than two.
Statement open_hours_statement = {
    "SELECT h.hour_start FROM topk.hour_map h LEFT JOIN topk.leaderboard_window_data w"
    "  ON w.counter = h.counter AND w.span = 'hour' AND w.window_start = h.hour_start"
    " WHERE h.counter = $1 AND h.hour_start > $2 - interval '2 hours' AND h.hour_end > $2 AND h.hour_start <= clock_timestamp()"
    "  AND " TOPK_IS_OLD("$3", "h.hour_end") " AND " TOPK_MAY_WORK("'hour'", "h.hour_start") " AND " TOPK_HAS_PARTITION(
        "$5", "$6") " ORDER BY w.refreshed_at NULLS FIRST LIMIT $4"};

// The days or months, from $4 on, without a final list. $3: those that have late additions, perhaps nothing else. The hours of a window are
// many: each look goes to the next window, past the hours that are surely in this one.
Statement windows_statement = {
    "WITH RECURSIVE part AS ((SELECT " TOPK_WINDOW_OF_HOUR("$2") " AS start, h.hour_start AS inside"
    "   FROM topk.hour_map h WHERE h.counter = $1 AND h.hour_start >= $4 ORDER BY h.hour_start LIMIT 1)"
    "  UNION ALL SELECT next.start, next.inside FROM part p CROSS JOIN LATERAL ("
    "   SELECT " TOPK_WINDOW_OF_HOUR("$2") " AS start, h.hour_start AS inside FROM topk.hour_map h"
    "   WHERE h.counter = $1 AND h.hour_start > p.inside AND " TOPK_WINDOW_OF_HOUR("$2") " > p.start"
    "    AND h.hour_start >= p.start + CASE $2 WHEN 'day' THEN interval '12 hours' ELSE interval '648 hours' END"
    "   ORDER BY h.hour_start LIMIT 1) next)"
    " SELECT " TOPK_INSIDE("$2", "p.start") ", w.refreshed_at"
    " FROM (SELECT start FROM part UNION SELECT late FROM unnest($3) late) p"
    " LEFT JOIN topk.leaderboard_window_data w ON w.counter = $1 AND w.span = $2 AND w.window_start = p.start"
    " WHERE w.sealed IS NOT TRUE AND " TOPK_MAY_WORK("$2", "p.start") " ORDER BY p.start"};

Statement all_time_statement = {
    "SELECT FROM (VALUES ($1)) c (name) LEFT JOIN topk.leaderboard_window_data w"
    "  ON w.counter = c.name AND w.span = 'all_time' WHERE " TOPK_IS_OLD("$2", "clock_timestamp()") " AND " TOPK_MAY_WORK("'all_time'",
                                                                                                                          "'-infinity'")};

// Final lists of windows that were corrected since.
Statement stale_statement = {"SELECT r.span, " TOPK_INSIDE(
    "r.span", "r.window_start") " FROM topk.window_revision_data r JOIN topk.leaderboard_window_data w"
                                "  ON w.counter = r.counter AND w.span = r.span AND w.window_start = r.window_start"
                                " WHERE r.counter = $1 AND w.sealed AND w.revision <> r.revision"
                                "  AND r.window_start >= CASE r.span WHEN 'hour' THEN $2 WHEN 'day' THEN $3 ELSE '-infinity' END"
                                "  AND " TOPK_MAY_WORK("r.span", "r.window_start") " ORDER BY r.window_start, r.span LIMIT $4"};

// How far back an hour is waited for: see first_unlisted_hour.
#define TOPK_WAITS_FROM                                                                             \
    "greatest(c.hours_expired_through, " TOPK_KEPT_FROM("hour_list_retention") ", " TOPK_KEPT_FROM( \
        "hour_retention") " - make_interval(secs => extract(epoch FROM c.hour_retention)::float8))"

Statement unlisted_statement = {
    "SELECT min(h.hour_start) FROM topk.counter_data c JOIN topk.hour_map h ON h.counter = c.name"
    "  LEFT JOIN topk.leaderboard_window_data w ON w.counter = h.counter AND w.span = 'hour' AND w.window_start = h.hour_start"
    "  LEFT JOIN topk.window_revision_data r ON r.counter = h.counter AND r.span = 'hour' AND r.window_start = h.hour_start"
    " WHERE c.name = $1 AND c.hour_table = $2 AND h.hour_start >= " TOPK_WAITS_FROM " AND h.hour_start < " TOPK_KEPT_FROM(
        "hour_retention") "  AND (w.sealed AND w.revision = coalesce(r.revision, 0)) IS NOT TRUE AND " TOPK_HAS_PARTITION("$3", "$4")};

// How far back a day is waited for.
#define TOPK_DAYS_WAIT_FROM                             \
    "greatest(c.days_expired_through, " TOPK_KEPT_FROM( \
        "day_retention") " - make_interval(secs => extract(epoch FROM c.day_retention)::float8))"

// No day is longer than two.
Statement unlisted_day_statement = {
    "SELECT min(d.day_start) FROM (SELECT DISTINCT h.day_start FROM topk.counter_data c JOIN topk.hour_map h ON h.counter = c.name"
    "   WHERE c.name = $1 AND c.hour_table = $2 AND h.hour_start >= " TOPK_DAYS_WAIT_FROM " AND h.day_start >= " TOPK_DAYS_WAIT_FROM
    "    AND h.hour_start < " TOPK_KEPT_FROM("day_retention") " + interval '48 hours' AND h.day_start < " TOPK_KEPT_FROM("day_retention") ") d"
    "  LEFT JOIN topk.leaderboard_window_data w ON w.counter = $1 AND w.span = 'day' AND w.window_start = d.day_start"
    "  LEFT JOIN topk.window_revision_data r ON r.counter = $1 AND r.span = 'day' AND r.window_start = d.day_start"
    " WHERE (w.sealed AND w.revision = coalesce(r.revision, 0)) IS NOT TRUE"};

/// Where the partitions of the hour table begin and end, two arrays.
struct PartitionBounds {
    Argument starts;
    Argument ends;
};

PartitionBounds partition_bounds(const Counter& counter) {
    std::span<Partition> partitions;
    partitions_within(counter, DT_NOBEGIN, DT_NOEND, &partitions);
    const auto bounds = [&](TimestampTz Partition::*bound) {
        auto* values = static_cast<Datum*>(palloc(std::max<std::size_t>(partitions.size(), 1) * sizeof(Datum)));
        std::transform(partitions.begin(), partitions.end(), values, [&](const Partition& p) { return TimestampTzGetDatum(p.*bound); });
        return array_of(TIMESTAMPTZARRAYOID, TIMESTAMPTZOID, {values, partitions.size()});
    };
    return {bounds(&Partition::start), bounds(&Partition::end)};
}

/// The windows of topk.refresh_due, in their order.
class DueWindows {
  public:
    DueWindows(const Counter& counter, Argument open_before, const ReturnSetInfo* result)
        : counter_(counter), open_before_(open_before), result_(result) {}

    void find();

  private:
    void put(const char* span, Datum at);
    std::uint64_t put_hours(Statement& statement, TimestampTz bound, Argument further);
    void put_stale();
    void put_windows(const char* span, Span kind, Argument late);

    const Counter& counter_;
    const Argument open_before_;
    const ReturnSetInfo* result_;
    ListFrontiers frontiers_;
    PartitionBounds partitions_;
};

void DueWindows::put(const char* span, Datum at) {
    Datum values[2] = {CStringGetTextDatum(span), at};
    bool nulls[2] = {};
    tuplestore_putvalues(result_->setResult, result_->setDesc, values, nulls);
}

std::uint64_t DueWindows::put_hours(Statement& statement, TimestampTz bound, Argument further) {
    const std::uint64_t found = run(
        statement, {text_value(counter_.name), time_value(bound), further, int8_value(kMostOfAKind), partitions_.starts, partitions_.ends},
        Snapshot::kCaller);
    for (std::uint64_t row = 0; row < found; ++row) put("hour", cell(row, 1).value);
    return found;
}

void DueWindows::put_stale() {
    const std::uint64_t found =
        run(stale_statement,
            {text_value(counter_.name), time_value(frontiers_.hours_from), time_value(frontiers_.days_from), int8_value(kMostOfAKind)},
            Snapshot::kCaller);
    for (std::uint64_t row = 0; row < found; ++row) put(text_cell(row, 1), cell(row, 2).value);
}

bool is_older(Cell refreshed_at, Argument open_before, TimestampTz end) {
    if (refreshed_at.is_null) return true;
    const TimestampTz now = GetCurrentTimestamp();
    const TimestampTz limit =
        open_before.is_null ? now - std::max(10 * USECS_PER_SEC, (now - end) / 10) : DatumGetTimestampTz(open_before.value);
    return DatumGetTimestampTz(refreshed_at.value) < limit;
}

/// Sealed windows, then open ones.
void DueWindows::put_windows(const char* span, Span kind, Argument late) {
    const Argument from = time_value(kind == Span::kDay ? frontiers_.days_from : DT_NOBEGIN);
    const std::uint64_t found = run(windows_statement, {text_value(counter_.name), text_value(span), late, from}, Snapshot::kCaller);
    SPITupleTable* rows = SPI_tuptable;
    const auto value = [rows](std::uint64_t row, int column) {
        Cell result;
        result.value = SPI_getbinval(rows->vals[row], rows->tupdesc, column, &result.is_null);
        return result;
    };
    std::int64_t count = 0;
    for (std::uint64_t row = 0; row < found && count < kMostOfAKind; ++row) {
        CHECK_FOR_INTERRUPTS();
        const Datum inside = value(row, 1).value;
        const Window window = window_at(counter_, kind, DatumGetTimestampTz(inside), Snapshot::kCaller);
        if (kind == Span::kDay && window.label < frontiers_.days_from) continue;
        const bool is_due = window.end <= frontiers_.sealed_through ||
                            (window.start <= GetCurrentTimestamp() && is_older(value(row, 2), open_before_, window.end));
        if (!is_due) continue;
        put(span, inside);
        ++count;
    }
}

/// The days or months that have late additions, an array. They are few, and their rows are many: each look goes to the next window.
Argument late_windows(const Counter& counter, const char* span) {
    as_user(counter.owner, [&] {
        const char* table = table_name(counter, counter.late_table);
        run_once(psprintf("WITH RECURSIVE late (start) AS ((SELECT window_start FROM %s WHERE span = $1 ORDER BY window_start LIMIT 1)"
                          " UNION ALL SELECT (SELECT window_start FROM %s WHERE span = $1 AND window_start > l.start ORDER BY window_start"
                          "  LIMIT 1) FROM late l WHERE l.start IS NOT NULL)"
                          " SELECT coalesce(array_agg(start), '{}') FROM late WHERE start IS NOT NULL",
                          table, table),
                 {text_value(span)}, Snapshot::kCaller);
    });
    return {TIMESTAMPTZARRAYOID, cell(0, 1).value};
}

void DueWindows::find() {
    const Argument late_days = late_windows(counter_, "day");
    const Argument late_months = late_windows(counter_, "month");
    as_user(extension_owner(), [&] {
        frontiers_ = read_list_frontiers(counter_, Snapshot::kCaller);
        partitions_ = partition_bounds(counter_);
        // Each of them will have its list then, or be left alone for a while: the others' turn comes.
        if (put_hours(final_hours_statement, frontiers_.hours_from, time_value(frontiers_.sealed_through)) == kMostOfAKind) return;
        put_stale();
        put_windows("day", Span::kDay, late_days);
        put_windows("month", Span::kMonth, late_months);
        if (run(all_time_statement, {text_value(counter_.name), open_before_}, Snapshot::kCaller) > 0)
            put("all_time", TimestampTzGetDatum(GetCurrentTransactionStartTimestamp()));
        put_hours(open_hours_statement, frontiers_.sealed_through, open_before_);
    });
}

}  // namespace

TimestampTz first_unlisted_hour(const Counter& counter) {
    const PartitionBounds partitions = partition_bounds(counter);
    run(unlisted_statement, {text_value(counter.name), oid_value(counter.hour_table), partitions.starts, partitions.ends},
        Snapshot::kFresh);
    return cell(0, 1).is_null ? DT_NOEND : DatumGetTimestampTz(cell(0, 1).value);
}

TimestampTz first_unlisted_day(const Counter& counter) {
    run(unlisted_day_statement, {text_value(counter.name), oid_value(counter.hour_table)}, Snapshot::kFresh);
    return cell(0, 1).is_null ? DT_NOEND : DatumGetTimestampTz(cell(0, 1).value);
}

TOPK_SQL_FUNCTION(topk_refresh_due) {
    const char* name = text_argument(fcinfo, 0, "counter");
    const Argument open_before = {TIMESTAMPTZOID, PG_ARGISNULL(1) ? 0 : PG_GETARG_DATUM(1), PG_ARGISNULL(1)};
    InitMaterializedSRF(fcinfo, 0);
    const auto* result = reinterpret_cast<ReturnSetInfo*>(fcinfo->resultinfo);
    with_spi([&] {
        const Counter counter = find_counter(name, Snapshot::kCaller);
        require_access(counter, {"admin"}, Snapshot::kCaller);
        refuse_forced_policies(counter, kListsHidden);
        if (!XactReadOnly) hold_counter(counter);  // before the tables, as topk.drop_counter locks them
        DueWindows(counter, open_before, result).find();
    });
    return 0;
}

}  // namespace topk
