// topk.roll_up_step: adds a bounded number of rows to a roll-up and moves its marker past them, in one transaction. Hours go to the day
// roll-up once they are sealed; days, from there, to month and all time, once they are sealed and all their hours are in.
// Locks: the roll-up's marker, then rows of the roll-up in key order. What it reads does not change meanwhile: flushes have ended with
// sealed hours, and topk.correct takes all markers first. So it needs neither the registry's row nor the seal lock.
#include "arguments.h"
#include "counter.h"
#include "counter_lock.h"
#include "cover.h"
#include "hour_list.h"
#include "hours.h"
#include "roll_up_marker.h"
#include "roll_up_rows.h"
#include "upsert.h"

namespace topk {

namespace {

constexpr std::int32_t kBatchRows = 20000;
constexpr std::int64_t kStepMs = 2000;
constexpr int kViewPatienceMs = 100;
constexpr Rollup kAllRollups[] = {kDayRollup, kMonthRollup, kAllTimeRollup};

// Hours that are sealed and not finished, in order.
Statement sealed_hours_statement = {
    "SELECT hour_start, least(hour_end, lead(hour_start) OVER (ORDER BY hour_start)), day_start FROM topk.hour_map"
    " WHERE counter = $1 AND hour_start >= $2 AND hour_end <= $3 ORDER BY hour_start LIMIT 1000"};

// Days that are not finished, in the order of the day roll-up, with the first and the last hour of each. A day goes by the start of its
// first hour or, where the time zone data changed, by an earlier instant: its hours do not begin before that.
Statement days_statement = {
    "SELECT day_start, lead(day_start) OVER (ORDER BY day_start), min(month_start), min(hour_start), max(hour_start) FROM topk.hour_map"
    " WHERE counter = $1 AND hour_start >= $2 AND day_start >= $2 GROUP BY day_start ORDER BY day_start LIMIT 31"};

Statement move_marker_statement = {
    "UPDATE topk.roll_up_marker SET window_start = $3, video_id = $4 WHERE counter = $1 AND span = $2 RETURNING 1"};

// How many of a counter's three views know of markers. They are beside the hour table ($1).
Statement views_statement = {
    "SELECT count(DISTINCT v.oid) FROM pg_class h JOIN pg_class v ON v.relnamespace = h.relnamespace AND v.relkind = 'v'"
    "  JOIN pg_rewrite w ON w.ev_class = v.oid JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = w.oid"
    " WHERE h.oid = $1 AND v.relname = ANY ($2) AND d.refclassid = 'pg_class'::regclass AND d.refobjid = 'topk.roll_up_marker'::regclass"};

/// A window whose rows are to be added to one of a roll-up.
struct Pending {
    TimestampTz start;   ///< window_start of its rows
    TimestampTz end;     ///< where the marker goes when they are all in
    TimestampTz target;  ///< window_start of the rows of the roll-up
};

using PendingWindows = std::span<const Pending>;

/// What is left of a step.
struct Budget {
    std::int64_t rows;
    std::int64_t added;
    instr_time began;
    std::int64_t batches;
    std::uint64_t subtransactions;

    /// True if rows or subtransactions are used up, or another batch would probably take longer than there is time.
    bool is_spent() const {
        instr_time now;
        INSTR_TIME_SET_CURRENT(now);
        INSTR_TIME_SUBTRACT(now, began);
        const auto elapsed_ms = static_cast<std::int64_t>(INSTR_TIME_GET_MILLISEC(now));
        return added >= rows || subtransactions >= kMaxSubtransactions ||
               elapsed_ms + elapsed_ms / std::max<std::int64_t>(batches, 1) >= kStepMs;
    }
    std::int32_t batch_limit() const { return static_cast<std::int32_t>(std::min<std::int64_t>(kBatchRows, rows - added)); }
};

TimestampTz time_cell(std::uint64_t row, int column) {
    return DatumGetTimestampTz(cell(row, column).value);
}

PendingWindows sealed_hours(const Counter& counter, const Marker& marker) {
    const std::uint64_t count =
        run(sealed_hours_statement, {text_value(counter.name), time_value(marker.window), time_value(counter.sealed_through)},
            Snapshot::kFresh);
    auto* hours = static_cast<Pending*>(palloc(count * sizeof(Pending) + 1));
    for (std::uint64_t row = 0; row < count; ++row) hours[row] = {time_cell(row, 1), time_cell(row, 2), time_cell(row, 3)};
    SPI_freetuptable(SPI_tuptable);
    return {hours, count};
}

/// Days up to the first that is not whole: sealed to its end, and all its hours in the day roll-up.
PendingWindows whole_days(const Counter& counter, Rollup rollup, const Marker& marker, const Marker& day_marker) {
    struct Day {
        Pending pending;
        TimestampTz first_hour;
        TimestampTz last_hour;
    };
    const std::uint64_t count = run(days_statement, {text_value(counter.name), time_value(marker.window)}, Snapshot::kFresh);
    auto* days = static_cast<Day*>(palloc(count * sizeof(Day) + 1));
    for (std::uint64_t row = 0; row < count; ++row) {
        const Cell next = cell(row, 2);
        days[row] = {{time_cell(row, 1), next.is_null ? DT_NOEND : DatumGetTimestampTz(next.value),
                      rollup == kMonthRollup ? time_cell(row, 3) : DT_NOBEGIN},
                     time_cell(row, 4),
                     time_cell(row, 5)};
    }
    SPI_freetuptable(SPI_tuptable);
    auto* whole = static_cast<Pending*>(palloc(count * sizeof(Pending) + 1));
    std::size_t found = 0;
    for (const Day& day : std::span(days, count)) {
        if (!day_marker.has_finished(day.last_hour)) break;
        const TimestampTz end = window_at(counter, Span::kDay, day.first_hour, Snapshot::kFresh).end;
        if (end > counter.sealed_through) break;
        whole[found] = day.pending;
        whole[found].end = std::min(whole[found].end, end);
        ++found;
    }
    return {whole, found};
}

PendingWindows pending_windows(const Counter& counter, Rollup rollup, const Markers& markers) {
    if (rollup == kDayRollup) return sealed_hours(counter, markers.of[kDayRollup]);
    return whole_days(counter, rollup, markers.of[rollup], markers.of[kDayRollup]);
}

/// An hour whose day is in month and all time already belongs there, too: time zone data that changed can give a day more hours than it
/// had when it was taken. `through`: the greatest id that the batch brought. Returns how many subtransactions that took.
std::uint64_t add_beyond_day(const Counter& counter, const Markers& markers, const Pending& hour, const Source& batch,
                             const char* through) {
    std::uint64_t subtransactions = 0;
    for (const Rollup rollup : {kMonthRollup, kAllTimeRollup}) {
        const Marker& marker = markers.of[rollup];
        if (!marker.has_begun(hour.target)) continue;
        const bool is_partly_in = hour.target == marker.window && strcmp(marker.video_id, through) < 0;
        Source rows = batch;
        rows.through = is_partly_in ? marker.video_id : through;
        const TimestampTz window = rollup == kMonthRollup ? month_of_day(counter, hour.target, Snapshot::kFresh) : DT_NOBEGIN;
        subtransactions += roll_up_rows(counter, rows, {counter.rollups[rollup], window}, kBatchRows).subtransactions;
    }
    return subtransactions;
}

/// Adds rows until the budget is spent, at least one batch. Returns where the marker is then.
Marker add_windows(const Counter& counter, Rollup rollup, const Markers& markers, PendingWindows windows, Budget* budget) {
    Marker marker = markers.of[rollup];
    const Oid table = rollup == kDayRollup ? counter.hour_table : counter.rollups[kDayRollup];
    for (const Pending& window : windows) {
        if (marker.window != window.start) marker = {window.start, ""};
        // Of an hour whose partition is not found nothing comes to the roll-up, for good.
        if (rollup == kDayRollup && !OidIsValid(partition_at(counter, window.start))) forget_partitions(counter);
        for (bool finished = false; !finished;) {
            CHECK_FOR_INTERRUPTS();
            const Source source = {table, window.start, marker.video_id, nullptr};
            const std::int32_t limit = budget->batch_limit();
            const Batch batch = roll_up_rows(counter, source, {counter.rollups[rollup], window.target}, limit);
            budget->subtransactions += batch.subtransactions;
            if (rollup == kDayRollup && batch.rows > 0)
                budget->subtransactions += add_beyond_day(counter, markers, window, source, batch.last);
            budget->added += batch.rows;
            ++budget->batches;
            finished = batch.rows < limit;
            marker = finished ? Marker{window.end, ""} : Marker{window.start, batch.last};
            if (budget->is_spent()) return marker;
        }
    }
    return marker;
}

void move_marker(const Counter& counter, Rollup rollup, const Marker& marker) {
    std::uint64_t moved = 0;
    as_user(extension_owner(), [&] {
        moved = run(move_marker_statement,
                    {text_value(counter.name), text_value(span_name(rollup)), time_value(marker.window), text_value(marker.video_id)},
                    Snapshot::kFresh);
    });
    if (moved != 1) elog(ERROR, "the marker \"%s\" of counter \"%s\" is gone", span_name(rollup), counter.name);
}

/// The name of one of the counter's three views.
const char* view_name(const Counter& counter, Rollup rollup) {
    return psprintf("%s_%s", counter.name, span_name(rollup));
}

/// True if views of a version without markers are there: they would count what is rolled up twice.
bool has_old_views(const Counter& counter) {
    Datum names[kRollups];
    for (const Rollup rollup : kAllRollups) names[rollup] = CStringGetTextDatum(view_name(counter, rollup));
    const Argument wanted = {TEXTARRAYOID, PointerGetDatum(construct_array(names, kRollups, TEXTOID, -1, false, TYPALIGN_INT))};
    run(views_statement, {oid_value(counter.hour_table), wanted}, Snapshot::kFresh);
    return DatumGetInt64(cell(0, 1).value) < kRollups;
}

/// Locks a view, if it is there, and refuses what is none of the counter's.
void lock_view(const Counter& counter, Rollup rollup) {
    const char* name = view_name(counter, rollup);
    const Oid schema = get_rel_namespace(counter.hour_table);
    const Oid view = get_relname_relid(name, schema);
    if (!OidIsValid(view)) return;
    if (get_rel_relkind(view) == RELKIND_VIEW) LockRelationOid(view, AccessExclusiveLock);
    if (get_relname_relid(name, schema) == view && get_rel_relkind(view) == RELKIND_VIEW && relation_owner(view) == counter.owner) return;
    ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE), errmsg("\"%s\" is not a view of the owner of counter \"%s\"", name, counter.name),
                    errdetail("Before hours are rolled up, the counter's views are replaced by such as know of roll-ups."),
                    errhint("Rename the relation, or drop it: the next roll-up makes the view.")));
}

/// Makes the views anew, in a transaction of its own and before any marker is locked: readers queue behind who waits for a view, and a
/// reader may be about to correct something. Readers end before, or begin after.
void replace_old_views(const Counter& counter) {
    const auto lock = [&] {
        for (const Rollup rollup : kAllRollups) lock_view(counter, rollup);
    };
    const auto refuse = [&](int waited_ms) {
        ereport(ERROR, (errcode(ERRCODE_LOCK_NOT_AVAILABLE),
                        errmsg("could not lock the views of counter \"%s\" in %d ms", counter.name, waited_ms),
                        errdetail("They were made by a version without roll-ups, and are to be replaced."),
                        errhint("The next run tries again. If that does not help, look in pg_locks for who reads them.")));
    };
    as_user(counter.owner, [&] {
        const int patience_ms = LockTimeout > 0 ? std::min(LockTimeout, kViewPatienceMs) : kViewPatienceMs;
        set_config_option("lock_timeout", psprintf("%d", patience_ms), PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
        with_bounded_wait(lock, refuse);
        run_once(
            "SELECT topk.create_views($1, $2::regclass, $3::regclass, $4::regclass, $5::regclass, $6::regclass, true)",
            {text_value(counter.name), oid_value(counter.hour_table), oid_value(counter.late_table), oid_value(counter.rollups[kDayRollup]),
             oid_value(counter.rollups[kMonthRollup]), oid_value(counter.rollups[kAllTimeRollup])},
            Snapshot::kFresh);
    });
}

/// True if month or all time have begun with the day of one of these hours.
bool reach_beyond_day(const Markers& markers, PendingWindows hours) {
    return std::any_of(hours.begin(), hours.end(), [&](const Pending& hour) {
        return markers.of[kMonthRollup].has_begun(hour.target) || markers.of[kAllTimeRollup].has_begun(hour.target);
    });
}

/// Does a step for one roll-up; false if there is nothing to do. The step before the very first hour replaces old views, and no more.
bool roll_up(const Counter& counter, Rollup rollup, Budget* budget) {
    const Markers seen = read_markers(counter, Snapshot::kFresh);
    if (pending_windows(counter, rollup, seen).empty()) return false;
    if (rollup == kDayRollup && TIMESTAMP_IS_NOBEGIN(seen.of[kDayRollup].window) && has_old_views(counter)) {
        replace_old_views(counter);
        return true;
    }
    lock_marker(counter, rollup);
    // Whoever held the marker may have done it.
    Markers markers = read_markers(counter, Snapshot::kFresh);
    const PendingWindows windows = pending_windows(counter, rollup, markers);
    if (windows.empty()) return false;
    // A day that has an hour yet to come is not taken any more: the others need no lock where they have not begun with it.
    if (rollup == kDayRollup && reach_beyond_day(markers, windows)) markers = lock_markers(counter);
    move_marker(counter, rollup, add_windows(counter, rollup, markers, windows, budget));
    return true;
}

}  // namespace

TOPK_SQL_FUNCTION(topk_roll_up_step) {
    require_read_committed("topk.roll_up");
    const char* name = text_argument(fcinfo, 0, "counter");
    require_argument(fcinfo, 1, "max_rows");
    Budget budget = {PG_GETARG_INT32(1), 0, {}, 0, 0};
    if (budget.rows < 1) ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("argument \"max_rows\" must be positive")));
    INSTR_TIME_SET_CURRENT(budget.began);
    bool any = false;
    with_spi([&] {
        const Counter counter = find_counter(name, Snapshot::kFresh);
        require_access(counter, {"admin"}, Snapshot::kFresh);
        refuse_forced_policies(counter, "Rows are rolled up with the owner's rights; the policies could hide them.");
        with_no_other_change("topk.roll_up_step", [&] {
            for (const Rollup rollup : kAllRollups)
                if ((any = roll_up(counter, rollup, &budget))) break;
        });
    });
    if (!any) PG_RETURN_NULL();
    PG_RETURN_INT64(budget.added);
}

}  // namespace topk
