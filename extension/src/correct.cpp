// topk.correct: the only way to change an hour that is sealed, and the way to change an open one by hand. Roll-ups that have taken the row
// change with it. Recorded, with the reason and who, and it raises the revisions of the hour, its day and its month. topk.revise does only
// the latter, under the same locks, for who put rows right by hand: lists and sums made of the rows before are not used any more.
// Locks, in order: the roll-up markers, seal (exclusive: waits for the flushes in flight, holds up those that come), partitions (if one
// is missing), the row, the rows of roll-ups. Rows of topk.* are written as the extension's owner, the counter's tables as the counter's
// owner.
#include "arguments.h"
#include "counter.h"
#include "counter_lock.h"
#include "hours.h"
#include "partition.h"
#include "registry_rows.h"
#include "roll_up_marker.h"

namespace topk {

namespace {

// Also by the table: the counter may have been dropped and made again, by somebody else, since it was looked up.
Statement still_there_statement = {"SELECT FROM topk.counter_data WHERE name = $1 AND hour_table = $2"};

Statement record_statement = {
    "INSERT INTO topk.correction_data (counter, hour_start, video_id, delta, views_after, reason, corrected_by)"
    " VALUES ($1, $2, $3, $4, $5, $6, $7)"};

// $5 and $6: whether the day, or the hour, has expired: its final list can never be made again, so it stays in use.
Statement revise_statement = {
    "INSERT INTO topk.window_revision_data AS r (counter, span, window_start, revision)"
    " SELECT $1, w.span, w.window_start, 1 FROM (VALUES ('day', $2, $5), ('hour', $3, $6), ('month', $4, false)) w (span, window_start, "
    "gone)"
    " WHERE NOT w.gone ON CONFLICT (counter, span, window_start) DO UPDATE SET revision = r.revision + 1"};

// Lists that could not be made are tried again at once; not one that refresh tries, or has tried, in a transaction that is open: it may
// take long, and flushes queue behind us.
Statement try_again_statement = {
    "DELETE FROM topk.list_failure_data WHERE ctid = ANY (ARRAY("
    "SELECT f.ctid FROM topk.list_failure_data f, (VALUES ('day', $2), ('hour', $3), ('month', $4), ('all_time', '-infinity')) w (span, "
    "window_start)"
    " WHERE f.counter = $1 AND f.span = w.span AND f.window_start = w.window_start FOR UPDATE OF f SKIP LOCKED))"};

struct Correction {
    const char* counter;
    TimestampTz hour;
    const char* video_id;
    std::int64_t delta;
    const char* reason;
};

TimestampTz hour_argument(FunctionCallInfo fcinfo, int index) {
    const TimestampTz hour = instant_argument(fcinfo, index, "hour");
    if (hour < kFirstMs * 1000 - kUnixEpochOffsetMicros || hour >= kEndMs * 1000 - kUnixEpochOffsetMicros)
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("argument \"hour\" must be of the years 1 to 9999")));
    return hour;
}

Correction read_correction(FunctionCallInfo fcinfo) {
    Correction correction;
    correction.counter = nonempty_text_argument(fcinfo, 0, "counter");
    correction.hour = hour_argument(fcinfo, 1);
    correction.video_id = text_argument(fcinfo, 2, "video_id");
    const std::size_t length = strlen(correction.video_id);
    if (length == 0 || length > kMaxVideoIdBytes)
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                        errmsg("argument \"video_id\" must be 1 to %zu bytes long, not %zu", kMaxVideoIdBytes, length)));
    require_argument(fcinfo, 3, "delta");
    correction.delta = PG_GETARG_INT64(3);
    if (correction.delta == 0)
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("argument \"delta\" must not be 0"),
                        errhint("Give the difference to the stored views, not the views there should be.")));
    correction.reason = nonempty_text_argument(fcinfo, 4, "reason");
    return correction;
}

/// Waits until nothing else changes the counter. A counter that was dropped meanwhile is refused.
void hold_flushes_up(const Counter& counter) {
    lock_seal(counter.hour_table, counter.name);
    std::uint64_t found = 0;
    as_user(extension_owner(), [&] {
        found = run(still_there_statement, {text_value(counter.name), oid_value(counter.hour_table)}, Snapshot::kFresh);
    });
    if (found == 0) ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("counter \"%s\" was dropped", counter.name)));
}

/// The hour that begins at start, or 22023.
Hour require_hour(const Counter& counter, TimestampTz start) {
    const Hour hour = load_hours(counter, start, start + 1, Snapshot::kFresh).front();
    if (hour.start != start)
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                        errmsg("%s is not the start of an hour of counter \"%s\"", timestamptz_to_str(start), counter.name),
                        errdetail("The counter's time zone is %s.", counter.time_zone), errhint("Take the hours from topk.hours.")));
    return hour;
}

/// Runs body as the counter's owner. Flushes queue behind us, so that nobody who keeps a row or table is waited for without end.
template <typename Body>
void at_rows(const Counter& counter, const char* video_id, Body&& body) {
    const auto refuse = [&](int waited_ms) {
        ereport(ERROR, (errcode(ERRCODE_LOCK_NOT_AVAILABLE),
                        errmsg("could not lock the rows of video \"%s\" in counter \"%s\"", video_id, counter.name),
                        errdetail("Another transaction has kept one of them, or one of the counter's tables, for %d ms.", waited_ms),
                        errhint("Look for it in pg_locks and pg_stat_activity, and try again.")));
    };
    with_bounded_wait([&] { as_user(counter.owner, body); }, refuse);
}

/// Where a video's row is: a table, and the window_start there.
struct Place {
    Oid table;
    TimestampTz window;
};

/// The video's views there, its row locked; 0 if there is none. Requires: the counter's owner's rights.
std::int64_t stored_views(const Counter& counter, const Place& place, const char* video_id) {
    const char* sql =
        psprintf("SELECT views::int8 FROM %s WHERE window_start = $1 AND video_id = $2 FOR UPDATE", table_name(counter, place.table));
    if (run_once(sql, {time_value(place.window), text_value(video_id)}, Snapshot::kFresh) == 0) return 0;
    return DatumGetInt64(cell(0, 1).value);
}

/// An hour whose rows are gone cannot be changed. Requires: the hour table locked, so that none goes from now on.
void refuse_expired(const Counter& counter, TimestampTz hour) {
    if (hour >= counter.hours_expired_through) return;
    const char* through = pstrdup(timestamptz_to_str(counter.hours_expired_through));
    ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                    errmsg("hour %s of counter \"%s\" has expired", timestamptz_to_str(hour), counter.name),
                    errdetail("Rows of hours that begin before %s are not kept any more.", through),
                    errhint("Only hours within the counter's hour_retention can be corrected.")));
}

[[noreturn]] void refuse_overflow(const Correction& correction) {
    ereport(ERROR, (errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
                    errmsg("the views of video \"%s\" would exceed bigint", correction.video_id), errhint("Correct them by less.")));
    pg_unreachable();
}

std::int64_t corrected_views(const Correction& correction, std::int64_t before) {
    std::int64_t after;
    if (pg_add_s64_overflow(before, correction.delta, &after)) refuse_overflow(correction);
    if (after < 0)
        ereport(ERROR,
                (errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
                 errmsg("the views of video \"%s\" in hour %s would be below 0", correction.video_id, timestamptz_to_str(correction.hour)),
                 errdetail("It has " INT64_FORMAT " views there; the correction is " INT64_FORMAT ".", before, correction.delta),
                 errhint("Late views are not in the hour: see topk.late_views.")));
    return after;
}

/// Writes the row. Requires: the counter's owner's rights, a partition.
void store_views(const Counter& counter, const Place& place, const char* id, std::int64_t before, std::int64_t after) {
    const char* table = table_name(counter, place.table);
    const Argument window = time_value(place.window);
    const Argument video_id = text_value(id);
    std::uint64_t stored;
    if (before == 0)
        stored = run_once(psprintf("INSERT INTO %s (window_start, video_id, views) VALUES ($1, $2, $3) RETURNING views::int8", table),
                          {window, video_id, int8_value(after)}, Snapshot::kFresh);
    else if (after > 0)
        stored = run_once(psprintf("UPDATE %s SET views = $3 WHERE window_start = $1 AND video_id = $2 RETURNING views::int8", table),
                          {window, video_id, int8_value(after)}, Snapshot::kFresh);
    else
        stored = run_once(psprintf("DELETE FROM %s WHERE window_start = $1 AND video_id = $2 RETURNING 0::int8", table), {window, video_id},
                          Snapshot::kFresh);
    if (stored != 1 || DatumGetInt64(cell(0, 1).value) != after)
        ereport(ERROR, (errcode(ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION),
                        errmsg("the correction was not stored in table %s of counter \"%s\"", table, counter.name),
                        errhint("Look for a trigger on the counter's tables that drops or changes rows.")));
}

/// Adds the correction to a roll-up that has the row.
void correct_roll_up(const Counter& counter, const Correction& correction, Rollup rollup, TimestampTz window) {
    const Place place = {counter.rollups[rollup], window};
    at_rows(counter, correction.video_id, [&] {
        const std::int64_t before = stored_views(counter, place, correction.video_id);
        std::int64_t after;
        if (pg_add_s64_overflow(before, correction.delta, &after)) refuse_overflow(correction);
        if (after < 0)
            ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED),
                            errmsg("the roll-up of counter \"%s\" lacks views of video \"%s\"", counter.name, correction.video_id),
                            errdetail("It has " INT64_FORMAT " in table %s; the correction is " INT64_FORMAT ".", before,
                                      table_name(counter, place.table), correction.delta),
                            errhint("The roll-up was changed by hand: see topk.audit.")));
        store_views(counter, place, correction.video_id, before, after);
    });
}

/// The hour's row is in the day roll-up if that marker has passed it; and then the day's row may be in month and all time. What the day
/// roll-up had of an expired day is gone, and stays so.
void correct_roll_ups(const Counter& counter, const Correction& correction, const Hour& hour, const Markers& markers) {
    if (!is_rolled_up(markers.of[kDayRollup], hour.start, correction.video_id)) return;
    const TimestampTz day = hour.day_start;
    if (day >= counter.days_expired_through) correct_roll_up(counter, correction, kDayRollup, day);
    if (is_rolled_up(markers.of[kMonthRollup], day, correction.video_id)) {
        TimestampTz month = 0;
        as_user(extension_owner(), [&] { month = month_of_day(counter, day, Snapshot::kFresh); });
        correct_roll_up(counter, correction, kMonthRollup, month);
    }
    if (is_rolled_up(markers.of[kAllTimeRollup], day, correction.video_id))
        correct_roll_up(counter, correction, kAllTimeRollup, DT_NOBEGIN);
}

/// Raises the revisions of the hour, its day and its month. Requires: the locks, the extension owner's rights.
void raise_revisions(const Counter& counter, const Hour& hour) {
    const auto is_gone = [](TimestampTz start, TimestampTz through) { return Argument{BOOLOID, BoolGetDatum(start < through)}; };
    run(revise_statement,
        {text_value(counter.name), time_value(hour.day_start), time_value(hour.start), time_value(hour.month_start),
         is_gone(hour.day_start, counter.days_expired_through), is_gone(hour.start, counter.hours_expired_through)},
        Snapshot::kFresh);
    if (has_registry_table("list_failure_data"))
        run(try_again_statement,
            {text_value(counter.name), time_value(hour.day_start), time_value(hour.start), time_value(hour.month_start)}, Snapshot::kFresh);
}

std::int64_t correct(const Counter& counter, const Correction& correction, const char* user) {
    const Markers markers = lock_markers(counter);
    hold_flushes_up(counter);
    refuse_forced_policies(counter, "Rows are corrected with the owner's rights; the policies could hide them.");
    const Hour hour = require_hour(counter, correction.hour);
    const Place place = {counter.hour_table, hour.start};
    std::int64_t before = 0;
    at_rows(counter, correction.video_id, [&] { before = stored_views(counter, place, correction.video_id); });
    const Counter now = find_counter(counter.name, Snapshot::kFresh);
    refuse_expired(now, hour.start);
    const std::int64_t after = corrected_views(correction, before);
    if (before == 0 && (!hour.stored || !has_partition(counter, hour.start))) create_partition_in_time(counter, hour.start);
    at_rows(counter, correction.video_id, [&] { store_views(counter, place, correction.video_id, before, after); });
    correct_roll_ups(now, correction, hour, markers);
    const Argument name = text_value(counter.name);
    as_user(extension_owner(), [&] {
        run(record_statement,
            {name, time_value(hour.start), text_value(correction.video_id), int8_value(correction.delta), int8_value(after),
             text_value(correction.reason), text_value(user)},
            Snapshot::kFresh);
        raise_revisions(now, hour);
    });
    return after;
}

/// As a correction, but for the rows.
void revise(const Counter& counter, TimestampTz start) {
    lock_markers(counter);
    hold_flushes_up(counter);
    const Hour hour = require_hour(counter, start);
    const Counter now = find_counter(counter.name, Snapshot::kFresh);
    as_user(extension_owner(), [&] { raise_revisions(now, hour); });
}

}  // namespace

TOPK_SQL_FUNCTION(topk_correct) {
    require_read_committed("topk.correct");
    const Correction correction = read_correction(fcinfo);
    const char* user = GetUserNameFromId(GetUserId(), false);
    std::int64_t after = 0;
    with_spi([&] {
        const Counter counter = find_counter(correction.counter, Snapshot::kFresh);
        require_access(counter, {"admin"}, Snapshot::kFresh);
        with_no_other_change("topk.correct", [&] { after = correct(counter, correction, user); });
    });
    PG_RETURN_INT64(after);
}

// As the SQL of 1.1 calls it: the library of 1.0, which knows no roll-ups, has no such name.
TOPK_SQL_FUNCTION(topk_correct_1_1) {
    return topk_correct(fcinfo);
}

TOPK_SQL_FUNCTION(topk_revise) {
    require_read_committed("topk.revise");
    const char* name = nonempty_text_argument(fcinfo, 0, "counter");
    const TimestampTz hour = hour_argument(fcinfo, 1);
    with_spi([&] {
        const Counter counter = find_counter(name, Snapshot::kFresh);
        require_access(counter, {"admin"}, Snapshot::kFresh);
        revise(counter, hour);
    });
    PG_RETURN_VOID();
}

}  // namespace topk
