// topk.drop_expired_hours and topk.note_expiry_trouble: drops the oldest partition before the frontier, once no snapshot needs it and its
// locks can be had in time, and notes why one stays.
#include "counter_lock.h"
#include "expiry.h"
#include "hour_list.h"
#include "registry_rows.h"
#include "roll_up_marker.h"

namespace topk {

namespace {

constexpr std::int32_t kLongestPatienceMs = 10000;
// What a table costs those who queue behind us, once a minute at most.
constexpr std::int32_t kUpkeepPatienceMs = 100;

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

/// Notes why expired hours stay; true if that is to be told: it is something else than the last time, or an hour has gone by. by_lock:
/// maintenance waits for no table for a minute. Requires: the extension owner's rights.
bool note_trouble(const Counter& counter, const char* trouble, bool by_lock) {
    const Argument lock = {BOOLOID, BoolGetDatum(by_lock)};
    return run(trouble_statement, {text_value(counter.name), oid_value(counter.hour_table), text_value(trouble), lock}, Snapshot::kFresh) >
               0 &&
           DatumGetBool(cell(0, 1).value);
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
    const ExpiryFrontiers frontiers = read_expiry_frontiers(counter);
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
    if (is_seen_by_all(frontiers)) return true;
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

std::int32_t patience_argument(FunctionCallInfo fcinfo, int index) {
    const Interval* patience = PG_GETARG_INTERVAL_P(index);
    const std::int64_t ms = patience->time / 1000;
    if (patience->month != 0 || patience->day != 0 || ms < 1 || ms > kLongestPatienceMs)
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("argument \"lock_timeout\" must be from 1 ms to 10 s"),
                        errhint("Who reads or writes the counter waits as long.")));
    return static_cast<std::int32_t>(ms);
}

}  // namespace

TOPK_SQL_FUNCTION(topk_drop_expired_hours) {
    const bool is_upkeep = PG_ARGISNULL(1);
    require_argument(fcinfo, 2, "skipped");
    const Drop drop = {is_upkeep ? kUpkeepPatienceMs : patience_argument(fcinfo, 1), PG_GETARG_INT32(2), is_upkeep};
    bool dropped = false;
    administer_expiry(fcinfo, [&](const Counter& counter) { dropped = drop_oldest(counter, drop); });
    PG_RETURN_BOOL(dropped);
}

TOPK_SQL_FUNCTION(topk_note_expiry_trouble) {
    const char* trouble = text_argument(fcinfo, 1, "trouble");
    require_argument(fcinfo, 2, "by_lock");
    const bool by_lock = PG_GETARG_BOOL(2);
    bool is_to_be_told = false;
    administer_expiry(fcinfo, [&](const Counter& counter) {
        as_user(extension_owner(), [&] { is_to_be_told = note_trouble(counter, trouble, by_lock); });
    });
    PG_RETURN_BOOL(is_to_be_told);
}

}  // namespace topk
