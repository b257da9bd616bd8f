// topk.refresh_list and topk.refresh_failed, parts of topk.refresh_step: making a list, and noting that one could not be made, so that it
// is left alone for an hour and the others get theirs.
// A list, its revision and whether its window is sealed are read in one snapshot; so a list that says it is final is. What is corrected
// meanwhile raises the revision, and the list is made again. Rows of topk.* are read and written as the extension's owner, the list as the
// counter's owner.
// Locks: the registry row (shared), against topk.drop_counter; then the counter's lists, if they are free, so that no older list replaces
// a newer one.
#include "refresh.h"

#include "arguments.h"
#include "counter_lock.h"
#include "hours.h"
#include "retention.h"

namespace topk {

namespace {

constexpr std::int32_t kLongestList = 1000;

Statement frontiers_statement = {"SELECT c.sealed_through, greatest(c.hours_expired_through, " TOPK_KEPT_FROM(
    "hour_list_retention") "), c.days_expired_through FROM topk.counter_data c WHERE c.name = $1 AND c.hour_table = $2"};

Statement window_statement = {
    "SELECT coalesce(r.revision, 0), w.sealed AND w.revision = coalesce(r.revision, 0)"
    " FROM (VALUES ($1, $2, $3)) k (counter, span, window_start)"
    " LEFT JOIN topk.window_revision_data r ON r.counter = k.counter AND r.span = k.span AND r.window_start = k.window_start"
    " LEFT JOIN topk.leaderboard_window_data w ON w.counter = k.counter AND w.span = k.span AND w.window_start = k.window_start"};

Statement failed_statement = {
    "INSERT INTO topk.list_failure_data AS f (counter, span, window_start, failed_at, message) VALUES ($1, $2, $3, clock_timestamp(), $4)"
    " ON CONFLICT (counter, span, window_start) DO UPDATE SET failed_at = EXCLUDED.failed_at, message = EXCLUDED.message"};

Statement worked_statement = {"DELETE FROM topk.list_failure_data WHERE counter = $1 AND span = $2 AND window_start = $3"};

Statement list_statement = {"SELECT video_id, views FROM topk.top($1, $2, $3, $4) ORDER BY rank"};

// Ranks that stay as they are are not written.
Statement store_statement = {
    "WITH list AS MATERIALIZED (SELECT n.rank, n.video_id COLLATE \"C\" AS video_id, n.views"
    "  FROM unnest($4, $5) WITH ORDINALITY n (video_id, views, rank)),"
    " shorter AS (DELETE FROM topk.leaderboard_data WHERE counter = $1 AND span = $2 AND window_start = $3 AND rank > cardinality($4)),"
    " changed AS (INSERT INTO topk.leaderboard_data (counter, span, window_start, rank, video_id, views)"
    "  SELECT $1, $2, $3, l.rank, l.video_id, l.views FROM list l LEFT JOIN topk.leaderboard_data o"
    "   ON o.counter = $1 AND o.span = $2 AND o.window_start = $3 AND o.rank = l.rank"
    "  WHERE o.rank IS NULL OR o.video_id <> l.video_id OR o.views <> l.views"
    "  ON CONFLICT (counter, span, window_start, rank) DO UPDATE SET video_id = EXCLUDED.video_id, views = EXCLUDED.views)"
    " INSERT INTO topk.leaderboard_window_data (counter, span, window_start, length, sealed, revision, refreshed_at)"
    " VALUES ($1, $2, $3, cardinality($4), $6, $7, $8)"
    " ON CONFLICT (counter, span, window_start) DO UPDATE SET length = EXCLUDED.length, sealed = EXCLUDED.sealed,"
    "  revision = EXCLUDED.revision, refreshed_at = EXCLUDED.refreshed_at"};

/// A window as one snapshot shows it, with its list.
struct Listed {
    TimestampTz start;
    bool sealed;
    std::int32_t revision;
    Argument ids;
    Argument views;
};

/// Requires: the counter's owner's rights.
void read_list(const Counter& counter, const char* span, TimestampTz at, Listed* listed) {
    const std::uint64_t length =
        run(list_statement, {text_value(span), int4_value(kLongestList), time_value(at), text_value(counter.name)}, Snapshot::kCaller);
    Datum values[2][kLongestList];
    for (std::uint64_t row = 0; row < length; ++row) {
        values[0][row] = cell(row, 1).value;
        values[1][row] = cell(row, 2).value;
    }
    listed->ids = array_of(TEXTARRAYOID, TEXTOID, {values[0], length});
    listed->views = array_of(INT8ARRAYOID, INT8OID, {values[1], length});
}

bool is_span(const char* span, const char* name) {
    return strcmp(span, name) == 0;
}

Window window_of(const Counter& counter, const char* span, TimestampTz at) {
    if (is_span(span, "all_time")) return {DT_NOBEGIN, DT_NOBEGIN, DT_NOEND};
    const Span kind = is_span(span, "hour") ? Span::kHour : is_span(span, "day") ? Span::kDay : Span::kMonth;
    return window_at(counter, kind, at, Snapshot::kCaller);
}

/// All in the active snapshot. False if the window's list is final already, or its rows expired.
bool read_window(const Counter& counter, const char* span, TimestampTz at, Listed* listed) {
    const Window window = window_of(counter, span, at);
    ListFrontiers frontiers;
    bool is_final = false;
    as_user(extension_owner(), [&] {
        frontiers = read_list_frontiers(counter, Snapshot::kCaller);
        run(window_statement, {text_value(counter.name), text_value(span), time_value(window.label)}, Snapshot::kCaller);
        listed->revision = DatumGetInt32(cell(0, 1).value);
        is_final = !cell(0, 2).is_null && DatumGetBool(cell(0, 2).value);
    });
    if (is_final || (is_span(span, "hour") && window.label < frontiers.hours_from) ||
        (is_span(span, "day") && window.label < frontiers.days_from))
        return false;
    listed->start = window.label;
    listed->sealed = window.end <= frontiers.sealed_through;
    as_user(counter.owner, [&] { read_list(counter, span, at, listed); });
    // By now the tables are locked: what was forced since the first look would have hidden rows.
    refuse_forced_policies(counter, kListsHidden);
    return true;
}

/// Makes one list. False as read_window, or if another session makes the counter's lists.
bool refresh_list(const Counter& counter, const char* span, TimestampTz at) {
    hold_counter(counter);
    if (!try_lock_counter(counter.hour_table, LockPurpose::kLists, ExclusiveLock)) return false;
    // Before the snapshot: what was committed by then is in it.
    const TimestampTz refreshed_at = GetCurrentTimestamp();
    Listed listed = {};
    PushActiveSnapshot(GetTransactionSnapshot());
    const bool found = read_window(counter, span, at, &listed);
    PopActiveSnapshot();
    if (!found) return false;
    as_user(extension_owner(), [&] {
        run(store_statement,
            {text_value(counter.name), text_value(span), time_value(listed.start), listed.ids, listed.views,
             Argument{BOOLOID, BoolGetDatum(listed.sealed)}, int4_value(listed.revision), time_value(refreshed_at)},
            Snapshot::kFresh);
        run(worked_statement, {text_value(counter.name), text_value(span), time_value(listed.start)}, Snapshot::kFresh);
    });
    return true;
}

const char* span_argument(FunctionCallInfo fcinfo, int index) {
    const char* span = text_argument(fcinfo, index, "span");
    for (const char* known : {"hour", "day", "month", "all_time"})
        if (strcmp(span, known) == 0) return span;
    ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("span \"%s\" is unknown", span),
                    errhint("Use hour, day, month or all_time.")));
    pg_unreachable();
}

}  // namespace

ListFrontiers read_list_frontiers(const Counter& counter, Snapshot snapshot) {
    if (run(frontiers_statement, {text_value(counter.name), oid_value(counter.hour_table)}, snapshot) == 0)
        ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("counter \"%s\" was dropped", counter.name)));
    const auto at = [](int column) { return DatumGetTimestampTz(cell(0, column).value); };
    return {at(1), at(2), at(3)};
}

Argument array_of(Oid array, Oid element, std::span<Datum> values) {
    const bool is_text = element == TEXTOID;
    return {array, PointerGetDatum(construct_array(values.data(), static_cast<int>(values.size()), element, is_text ? -1 : 8,
                                                   is_text ? false : FLOAT8PASSBYVAL, is_text ? TYPALIGN_INT : TYPALIGN_DOUBLE))};
}

TOPK_SQL_FUNCTION(topk_refresh_list) {
    require_read_committed("topk.refresh");
    const char* name = text_argument(fcinfo, 0, "counter");
    const char* span = span_argument(fcinfo, 1);
    const TimestampTz at = instant_argument(fcinfo, 2, "at");
    bool made = false;
    with_spi([&] {
        const Counter counter = find_counter(name, Snapshot::kFresh);
        require_access(counter, {"admin"}, Snapshot::kFresh);
        refuse_forced_policies(counter, kListsHidden);
        made = refresh_list(counter, span, at);
    });
    PG_RETURN_BOOL(made);
}

TOPK_SQL_FUNCTION(topk_refresh_failed) {
    require_read_committed("topk.refresh");
    const char* name = text_argument(fcinfo, 0, "counter");
    const char* span = span_argument(fcinfo, 1);
    const TimestampTz at = instant_argument(fcinfo, 2, "at");
    const char* message = text_argument(fcinfo, 3, "message");
    with_spi([&] {
        const Counter counter = find_counter(name, Snapshot::kFresh);
        require_access(counter, {"admin"}, Snapshot::kFresh);
        hold_counter(counter);
        const TimestampTz start = window_of(counter, span, at).label;
        as_user(extension_owner(), [&] {
            run(failed_statement, {text_value(counter.name), text_value(span), time_value(start), text_value(message)}, Snapshot::kFresh);
        });
    });
    PG_RETURN_VOID();
}

}  // namespace topk
