// The parts of topk.expire_step: topk.advance_expiry moves the frontiers of expiry, topk.delete_expired and topk.drop_expired_hours take
// away what lies before them, in later transactions. So whoever could miss a row knows from the frontier in his snapshot that it expired:
// rows are deleted as any are, and a partition is dropped when no snapshot is left that is older than the frontier it lies before.
// Nothing expires that is not rolled up: frontiers stay behind the markers, which never go back. That of hours waits for their final lists,
// too, though not for ever (refresh.h).
// Locks: the registry row (shared, or to move a frontier), then the counter's expiry, if it is free; a partition's in the usual order.
// Nobody waits for a lock while holding rows that others want: rows in use are left for the next step.
#include "arguments.h"
#include "counter.h"
#include "counter_lock.h"
#include "hour_list.h"
#include "refresh.h"
#include "registry_rows.h"
#include "retention.h"
#include "roll_up_marker.h"

namespace topk {

namespace {

// Enough for a tenth of a second or so.
constexpr std::int64_t kRowsOfAStep = 20000;
constexpr std::int32_t kLongestPatienceMs = 10000;
// What a table costs those who queue behind us, once a minute at most.
constexpr std::int32_t kUpkeepPatienceMs = 100;

Statement
    frontiers_statement = {"SELECT c.hours_expired_through, c.days_expired_through, " TOPK_KEPT_FROM("hour_retention") ", " TOPK_KEPT_FROM(
        "day_retention") ", c.hours_expired_by, c.hours_expired_at < now() - interval '1 hour', now() - make_interval(secs => "
                         "extract(epoch FROM c.late_retention)::float8), c.drop_refused_at > now() - interval '1 minute'"
                         " FROM topk.counter_data c WHERE c.name = $1 AND c.hour_table = $2"};

// The end of the last day that is over by $3: that of its last hour, which need not be in the map for one that is not over.
Statement last_day_statement = {
    "SELECT max(d.day_end) FROM (SELECT max(h.hour_end) AS day_end FROM topk.hour_map h"
    "  WHERE h.counter = $1 AND h.hour_start >= $2 AND h.hour_start < $3 + interval '48 hours' GROUP BY h.day_start) d"
    " WHERE d.day_end <= $3"};

Statement advance_statement = {
    "UPDATE topk.counter_data SET hours_expired_through = greatest(hours_expired_through, $3),"
    "  hours_expired_by = CASE WHEN hours_expired_through < $3 THEN pg_current_xact_id() ELSE hours_expired_by END,"
    "  hours_expired_at = CASE WHEN hours_expired_through < $3 THEN now() ELSE hours_expired_at END,"
    "  days_expired_through = greatest(days_expired_through, $4)"
    " WHERE name = $1 AND hour_table = $2 AND (hours_expired_through < $3 OR days_expired_through < $4)"};

// Whoever has the row has more to tell.
Statement trouble_statement = {
    "WITH mine AS MATERIALIZED (SELECT drop_trouble IS NOT DISTINCT FROM $3 AND drop_trouble_told_at > now() - interval '1 hour' AS is_told"
    "  FROM topk.counter_data WHERE name = $1 AND hour_table = $2 FOR NO KEY UPDATE SKIP LOCKED),"
    " noted AS (UPDATE topk.counter_data c SET drop_trouble = $3,"
    "  drop_trouble_told_at = CASE WHEN m.is_told IS TRUE THEN c.drop_trouble_told_at ELSE now() END,"
    "  drop_refused_at = CASE WHEN $4 THEN now() ELSE c.drop_refused_at END"
    "  FROM mine m WHERE c.name = $1 AND ($4 OR m.is_told IS NOT TRUE))"
    " SELECT m.is_told IS NOT TRUE FROM mine m"};

Statement is_hour_statement = {"SELECT FROM topk.hour_map WHERE counter = $1 AND hour_start = $2"};

// What delete_some has to do, as it does it: lists of hours, late views, dead letters.
Statement deletable_statement = {
    "SELECT EXISTS (SELECT FROM topk.counter_data c JOIN topk.leaderboard_window_data w ON w.counter = c.name"
    "  WHERE c.name = $1 AND w.span = 'hour' AND w.window_start < " TOPK_KEPT_FROM("hour_list_retention") ")"
    " OR EXISTS (SELECT FROM topk.late_views_data l WHERE l.counter = $1 AND l.first_seen < $2 AND l.last_seen < $2)"
    " OR EXISTS (SELECT FROM topk.dead_letter_data l WHERE l.counter = $1 AND l.recorded_at < $2)"};

Statement hour_lists_statement = {
    "WITH doomed AS MATERIALIZED (SELECT w.window_start FROM topk.counter_data c JOIN topk.leaderboard_window_data w ON w.counter = c.name"
    "  WHERE c.name = $1 AND w.span = 'hour' AND w.window_start < " TOPK_KEPT_FROM(
        "hour_list_retention") " ORDER BY w.window_start LIMIT $2),"
    " ranks AS (DELETE FROM topk.leaderboard_data l USING doomed d"
    "  WHERE l.counter = $1 AND l.span = 'hour' AND l.window_start = d.window_start)"
    " DELETE FROM topk.leaderboard_window_data w USING doomed d"
    "  WHERE w.counter = $1 AND w.span = 'hour' AND w.window_start = d.window_start"};

// A flush may be adding to rows that were about to expire: these stay.
Statement late_statement = {
    "WITH doomed AS MATERIALIZED (SELECT l.ctid FROM topk.late_views_data l"
    "  WHERE l.counter = $1 AND l.first_seen < $2 AND l.last_seen < $2 ORDER BY l.first_seen LIMIT $3 FOR UPDATE SKIP LOCKED),"
    " gone AS (DELETE FROM topk.late_views_data l USING doomed d WHERE l.ctid = d.ctid RETURNING l.hour_start, l.views, l.records),"
    " booked AS (INSERT INTO topk.expired_late_data AS e (counter, hour_start, views, records)"
    "  SELECT $1, hour_start, sum(views), sum(records) FROM gone GROUP BY hour_start"
    "  ON CONFLICT (counter, hour_start) DO UPDATE SET views = e.views + EXCLUDED.views, records = e.records + EXCLUDED.records)"
    " SELECT count(*) FROM gone"};

Statement dead_statement = {
    "WITH doomed AS MATERIALIZED (SELECT l.ctid FROM topk.dead_letter_data l"
    "  WHERE l.counter = $1 AND l.recorded_at < $2 ORDER BY l.recorded_at LIMIT $3 FOR UPDATE SKIP LOCKED),"
    " gone AS (DELETE FROM topk.dead_letter_data l USING doomed d WHERE l.ctid = d.ctid RETURNING l.topic, l.partition),"
    " booked AS (INSERT INTO topk.expired_dead_data AS e (counter, topic, partition, letters)"
    "  SELECT $1, topic, partition, count(*) FROM gone GROUP BY topic, partition"
    "  ON CONFLICT (counter, topic, partition) DO UPDATE SET letters = e.letters + EXCLUDED.letters)"
    " SELECT count(*) FROM gone"};

struct Frontiers {
    TimestampTz hours;  ///< hours_expired_through
    TimestampTz days;
    TimestampTz hours_until;  ///< what is older may expire
    TimestampTz days_until;
    bool has_mover;
    FullTransactionId mover;  ///< of `hours`
    bool are_overdue;         ///< hours, by now
    TimestampTz late_until;   ///< late views and dead letters that are older expire
    bool was_refused;         ///< somebody kept a table that was to be dropped, a moment ago
};

/// Requires: the extension owner's rights.
Frontiers read_frontiers(const Counter& counter) {
    if (run(frontiers_statement, {text_value(counter.name), oid_value(counter.hour_table)}, Snapshot::kFresh) == 0)
        ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("counter \"%s\" was dropped", counter.name)));
    const auto at = [](int column) { return DatumGetTimestampTz(cell(0, column).value); };
    Frontiers frontiers = {at(1),
                           at(2),
                           at(3),
                           at(4),
                           !cell(0, 5).is_null,
                           {},
                           !cell(0, 6).is_null && DatumGetBool(cell(0, 6).value),
                           at(7),
                           !cell(0, 8).is_null && DatumGetBool(cell(0, 8).value)};
    if (frontiers.has_mover) frontiers.mover = DatumGetFullTransactionId(cell(0, 5).value);
    return frontiers;
}

/// False if somebody else expires the counter: he does it all. Keeps the counter from being dropped. Requires: the extension owner's
/// rights.
bool begin_expiry(const Counter& counter) {
    with_bounded_row_wait(counter.name, [&] { hold_counter(counter); });
    return try_lock_counter(counter.hour_table, LockPurpose::kExpiry, ExclusiveLock);
}

/// The end of the last partition that is over by the bound; -infinity if none is.
TimestampTz last_partition_end(const Counter& counter, TimestampTz bound) {
    std::span<Partition> partitions;
    partitions_within(counter, DT_NOBEGIN, bound, &partitions);
    TimestampTz end = DT_NOBEGIN;
    for (const Partition& partition : partitions)
        if (partition.end <= bound) end = partition.end;
    return end;
}

TimestampTz last_day_end(const Counter& counter, TimestampTz since, TimestampTz bound) {
    if (TIMESTAMP_NOT_FINITE(bound)) return DT_NOBEGIN;
    run(last_day_statement, {text_value(counter.name), time_value(since), time_value(bound)}, Snapshot::kFresh);
    return cell(0, 1).is_null ? DT_NOBEGIN : DatumGetTimestampTz(cell(0, 1).value);
}

/// Where the frontiers may go.
struct Advance {
    TimestampTz hours;
    TimestampTz days;
    bool moves;
};

/// Requires: the extension owner's rights.
Advance next_frontiers(const Counter& counter) {
    const Markers markers = read_markers(counter, Snapshot::kFresh);
    const Frontiers frontiers = read_frontiers(counter);
    const TimestampTz hours_bound = std::min({frontiers.hours_until, markers.of[kDayRollup].window, first_unlisted_hour(counter)});
    const TimestampTz hours = std::max(frontiers.hours, last_partition_end(counter, hours_bound));
    const TimestampTz days_bound =
        std::min({frontiers.days_until, hours, markers.of[kMonthRollup].window, markers.of[kAllTimeRollup].window});
    const TimestampTz days = std::max(frontiers.days, last_day_end(counter, frontiers.days, days_bound));
    return {hours, days, hours > frontiers.hours || days > frontiers.days};
}

/// Requires: the extension owner's rights.
bool advance(const Counter& counter) {
    // Without locks first: who has nothing to do writes nothing.
    if (!next_frontiers(counter).moves || !begin_expiry(counter)) return false;
    const Advance next = next_frontiers(counter);
    std::uint64_t moved = 0;
    with_bounded_row_wait(counter.name, [&] {
        moved =
            run(advance_statement, {text_value(counter.name), oid_value(counter.hour_table), time_value(next.hours), time_value(next.days)},
                Snapshot::kFresh);
    });
    return moved > 0;
}

/// Notes why expired hours stay; true if that is to be told: it is something else than the last time, or an hour has gone by. by_lock:
/// maintenance waits for no table for a minute. Requires: the extension owner's rights.
bool note_trouble(const Counter& counter, const char* trouble, bool by_lock) {
    const Argument lock = {BOOLOID, BoolGetDatum(by_lock)};
    return run(trouble_statement, {text_value(counter.name), oid_value(counter.hour_table), text_value(trouble), lock}, Snapshot::kFresh) >
               0 &&
           DatumGetBool(cell(0, 1).value);
}

/// True if every snapshot that is in use, or may come, sees what the transaction did, which is committed. The same horizon as VACUUM's:
/// snapshots of this database, prepared transactions, replication slots, and standbys that give feedback.
bool is_seen_by_all(FullTransactionId transaction) {
    const FullTransactionId next = ReadNextFullTransactionId();
    // It is of another server, by a dump: whoever sees the counter here sees it as it was restored.
    if (!FullTransactionIdPrecedes(transaction, next)) return true;
    Relation registry = open_registry("counter_data");
    const TransactionId oldest = GetOldestNonRemovableTransactionId(registry);
    table_close(registry, AccessShareLock);
    const std::uint32_t age = XidFromFullTransactionId(next) - oldest;
    return U64FromFullTransactionId(transaction) < U64FromFullTransactionId(next) - age;
}

struct Drop {
    std::int32_t patience_ms;
    std::int32_t skip;  ///< partitions to leave
    bool is_upkeep;     ///< comes again by itself: need not try while somebody keeps the tables
};

/// The oldest partition that may go, but for some that could not be dropped. One that was made by hand stays: its rows are of no hour, so
/// they were not rolled up.
bool find_partition(const Counter& counter, const Drop& drop, Partition* oldest) {
    const Markers markers = read_markers(counter, Snapshot::kFresh);
    const Frontiers frontiers = read_frontiers(counter);
    if (drop.is_upkeep && frontiers.was_refused) return false;
    const TimestampTz through = std::min(frontiers.hours, markers.of[kDayRollup].window);
    std::span<Partition> partitions;
    partitions_within(counter, DT_NOBEGIN, through, &partitions);
    std::int32_t skipped = 0;
    const auto may_go = [&](const Partition& partition) {
        return partition.end <= through &&
               run(is_hour_statement, {text_value(counter.name), time_value(partition.start)}, Snapshot::kFresh) > 0 &&
               ++skipped > drop.skip;
    };
    const auto found = std::find_if(partitions.begin(), partitions.end(), may_go);
    if (found == partitions.end()) return false;
    *oldest = *found;
    if (!frontiers.has_mover || is_seen_by_all(frontiers.mover)) return true;
    if (frontiers.are_overdue && note_trouble(counter, "a snapshot is older than their expiry", false))
        ereport(WARNING, (errmsg("expired hours of counter \"%s\" stay for now: a snapshot is older than their expiry", counter.name),
                          errhint("Look for old transactions in pg_stat_activity (backend_xmin) and pg_prepared_xacts, and for xmin in "
                                  "pg_replication_slots and pg_stat_replication.")));
    return false;
}

void set_lock_timeout(std::int32_t ms) {
    set_config_option("lock_timeout", psprintf("%d", ms), PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
}

/// Both locks within the patience: who reads the hours queues behind us for the second one, too.
void lock_partition(const Counter& counter, const Partition& partition, std::int32_t patience_ms) {
    const char* hours = table_name(counter, counter.hour_table);
    const char* name = get_rel_name(partition.table);
    volatile bool has_hours = false;  // read after a longjmp
    const auto lock_both = [&] {
        const TimestampTz began = GetCurrentTimestamp();
        LockRelationOid(counter.hour_table, AccessExclusiveLock);
        has_hours = true;
        const auto waited_ms = static_cast<std::int32_t>((GetCurrentTimestamp() - began) / 1000);
        set_lock_timeout(std::max(patience_ms - waited_ms, 1));
        LockRelationOid(partition.table, AccessExclusiveLock);
    };
    const auto refuse = [&](int waited_ms) {
        if (has_hours)
            ereport(ERROR, (errcode(ERRCODE_OBJECT_IN_USE),
                            errmsg("could not lock partition \"%s\" in %d ms", name == nullptr ? "" : name, waited_ms),
                            errdetail("It is to be dropped from table %s.", hours),
                            errhint("The next run tries again. If that does not help, look in pg_locks for who keeps the partition.")));
        ereport(ERROR, (errcode(ERRCODE_LOCK_NOT_AVAILABLE), errmsg("could not lock table %s in %d ms", hours, waited_ms),
                        errdetail("Its partition \"%s\" is to be dropped.", name == nullptr ? "" : name),
                        errhint("The next run tries again. If that does not help, look in pg_locks for who keeps the table.")));
    };
    set_lock_timeout(LockTimeout > 0 ? std::min(LockTimeout, patience_ms) : patience_ms);
    with_bounded_wait(lock_both, refuse);
}

bool drop_oldest(const Counter& counter, const Drop& drop) {
    Partition oldest = {};
    bool found = false;
    const auto find = [&] { return find_partition(counter, drop, &oldest); };
    // Without locks first, as for the frontiers
    as_user(extension_owner(), [&] { found = find() && begin_expiry(counter) && find(); });
    if (!found) return false;
    as_user(counter.owner, [&] {
        lock_partition(counter, oldest, drop.patience_ms);
        found = partition_at(counter, oldest.start) == oldest.table;  // somebody may have detached it
    });
    // A partition is not given away with its parent: it may be of somebody who had the counter before.
    if (found) as_user(relation_owner(oldest.table), [&] { run_utility(psprintf("DROP TABLE %s", table_name(counter, oldest.table))); });
    return found;
}

/// Behind which row the session's next step looks for rows of a table that expired. What it deleted before stays in the index, dead, as
/// long as somebody's snapshot is older, and every step would step over all of it. Only a hint: the step may have been rolled back.
struct Resume {
    Oid table;
    TimestampTz window;
    char* video_id;  ///< in TopMemoryContext
};
Resume resume = {InvalidOid, 0, nullptr};

bool has_resume(Oid table) {
    return resume.table == table && resume.video_id != nullptr;
}

void resume_behind(Oid table, TimestampTz window, const char* video_id) {
    char* kept = MemoryContextStrdup(TopMemoryContext, video_id);
    if (resume.video_id != nullptr) pfree(resume.video_id);
    resume = {table, window, kept};
}

/// Rows of one of the counter's tables that expired, in the order of its key.
struct Expired {
    Oid table;
    const char* name;
    const char* condition;
    TimestampTz before;

    Argument window() const { return time_value(has_resume(table) ? resume.window : DT_NOBEGIN); }
    Argument video_id() const { return text_value(has_resume(table) ? resume.video_id : ""); }
};

constexpr const char* kExpiredRows = "FROM %s WHERE %s window_start < $1 AND (window_start, video_id) > ($2, $3)";

/// Requires: the owner's rights.
bool has_rows(const Expired& rows) {
    const char* from = psprintf(kExpiredRows, rows.name, rows.condition);
    const auto look = [&] {
        return run_once(psprintf("SELECT %s LIMIT 1", from), {time_value(rows.before), rows.window(), rows.video_id()}, Snapshot::kFresh) >
               0;
    };
    if (look()) return true;
    if (!has_resume(rows.table)) return false;
    resume.table = InvalidOid;
    return look();
}

/// Requires: the owner's rights.
std::uint64_t delete_rows(const Expired& rows) {
    const char* from = psprintf(kExpiredRows, rows.name, rows.condition);
    const std::uint64_t found =
        run_once(psprintf("WITH gone AS (DELETE FROM %s WHERE ctid = ANY (ARRAY(SELECT ctid %s ORDER BY window_start, video_id LIMIT $4))"
                          " RETURNING window_start, video_id)"
                          " SELECT window_start, video_id, count(*) OVER () FROM gone ORDER BY window_start DESC, video_id DESC LIMIT 1",
                          rows.name, from),
                 {time_value(rows.before), rows.window(), rows.video_id(), int8_value(kRowsOfAStep)}, Snapshot::kFresh);
    if (found == 0) return 0;
    resume_behind(rows.table, DatumGetTimestampTz(cell(0, 1).value), text_cell(0, 2));
    return static_cast<std::uint64_t>(DatumGetInt64(cell(0, 3).value));
}

std::uint64_t delete_some(const Counter& counter) {
    const Argument name = text_value(counter.name);
    const Argument rows = int8_value(kRowsOfAStep);
    std::uint64_t deleted = 0;
    TimestampTz days = DT_NOBEGIN;
    bool is_free = true;
    const auto of_extension = [&] {
        const Frontiers frontiers = read_frontiers(counter);
        days = frontiers.days;
        run(deletable_statement, {name, time_value(frontiers.late_until)}, Snapshot::kFresh);
        if (!DatumGetBool(cell(0, 1).value)) return;
        is_free = begin_expiry(counter);
        if (!is_free) return;
        deleted = run(hour_lists_statement, {name, int8_value(kRowsOfAStep / 1000)}, Snapshot::kFresh);
        for (Statement* statement : {&late_statement, &dead_statement}) {
            if (deleted > 0) return;
            run(*statement, {name, time_value(frontiers.late_until), rows}, Snapshot::kFresh);
            deleted = static_cast<std::uint64_t>(DatumGetInt64(cell(0, 1).value));
        }
    };
    as_user(extension_owner(), of_extension);
    if (deleted > 0 || !is_free || TIMESTAMP_NOT_FINITE(days)) return deleted;
    const struct {
        Oid table;
        const char* condition;
    } kinds[] = {{counter.rollups[kDayRollup], ""}, {counter.late_table, "span = 'day' AND"}};
    for (const auto& kind : kinds) {
        const Expired rows = {kind.table, table_name(counter, kind.table), kind.condition, days};
        bool has_some = false;
        as_user(counter.owner, [&] { has_some = has_rows(rows); });
        if (!has_some) continue;
        as_user(extension_owner(), [&] { is_free = begin_expiry(counter); });
        if (!is_free) return 0;
        as_user(counter.owner, [&] { deleted = delete_rows(rows); });
        if (deleted > 0) return deleted;
    }
    return 0;
}

std::int32_t patience_argument(FunctionCallInfo fcinfo, int index) {
    const Interval* patience = PG_GETARG_INTERVAL_P(index);
    const std::int64_t ms = patience->time / 1000;
    if (patience->month != 0 || patience->day != 0 || ms < 1 || ms > kLongestPatienceMs)
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("argument \"lock_timeout\" must be from 1 ms to 10 s"),
                        errhint("Who reads or writes the counter waits as long.")));
    return static_cast<std::int32_t>(ms);
}

/// Runs body(counter) if the caller may administer it.
template <typename Body>
void administer(FunctionCallInfo fcinfo, Body&& body) {
    survives_longjmp<std::remove_reference_t<Body>>();
    require_read_committed("topk.expire");
    const char* name = text_argument(fcinfo, 0, "counter");
    with_spi([&] {
        const Counter counter = find_counter(name, Snapshot::kFresh);
        require_access(counter, {"admin"}, Snapshot::kFresh);
        refuse_forced_policies(counter, "Rows expire with the owner's rights; the policies could hide them.");
        body(counter);
    });
}

}  // namespace

TOPK_SQL_FUNCTION(topk_advance_expiry) {
    bool moved = false;
    administer(fcinfo, [&](const Counter& counter) { as_user(extension_owner(), [&] { moved = advance(counter); }); });
    PG_RETURN_BOOL(moved);
}

TOPK_SQL_FUNCTION(topk_delete_expired) {
    std::uint64_t deleted = 0;
    administer(fcinfo, [&](const Counter& counter) { deleted = delete_some(counter); });
    PG_RETURN_INT64(static_cast<std::int64_t>(deleted));
}

TOPK_SQL_FUNCTION(topk_drop_expired_hours) {
    const bool is_upkeep = PG_ARGISNULL(1);
    require_argument(fcinfo, 2, "skipped");
    const Drop drop = {is_upkeep ? kUpkeepPatienceMs : patience_argument(fcinfo, 1), PG_GETARG_INT32(2), is_upkeep};
    bool dropped = false;
    administer(fcinfo, [&](const Counter& counter) { dropped = drop_oldest(counter, drop); });
    PG_RETURN_BOOL(dropped);
}

TOPK_SQL_FUNCTION(topk_note_expiry_trouble) {
    const char* trouble = text_argument(fcinfo, 1, "trouble");
    require_argument(fcinfo, 2, "by_lock");
    const bool by_lock = PG_GETARG_BOOL(2);
    bool is_to_be_told = false;
    administer(fcinfo, [&](const Counter& counter) {
        as_user(extension_owner(), [&] { is_to_be_told = note_trouble(counter, trouble, by_lock); });
    });
    PG_RETURN_BOOL(is_to_be_told);
}

}  // namespace topk
