// topk.advance_expiry: moves the frontiers of expiry over what is old enough. Nothing expires that is not rolled up: they stay behind the
// markers, which never go back. They wait for the final lists of hours and of days, too, though not for ever (refresh.h).
#include "counter_lock.h"
#include "expiry.h"
#include "hour_list.h"
#include "refresh.h"
#include "registry_rows.h"
#include "retention.h"
#include "roll_up_marker.h"

namespace topk {

namespace {

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

Statement lock_row_statement = {"SELECT FROM topk.counter_data WHERE name = $1 AND hour_table = $2 FOR NO KEY UPDATE"};

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
    const ExpiryFrontiers frontiers = read_expiry_frontiers(counter);
    const TimestampTz hours_bound = std::min({frontiers.hours_until, markers.of[kDayRollup].window, first_unlisted_hour(counter)});
    // Not before everybody has seen the last move, whose partitions wait for that: a horizon that is always older than the last of many
    // moves would keep them for ever.
    const bool may_move = is_seen_by_all(frontiers) || FullTransactionIdEquals(frontiers.mover, GetTopFullTransactionIdIfAny());
    const TimestampTz hours = may_move ? std::max(frontiers.hours, last_partition_end(counter, hours_bound)) : frontiers.hours;
    const TimestampTz days_bound = std::min(
        {frontiers.days_until, hours, markers.of[kMonthRollup].window, markers.of[kAllTimeRollup].window, first_unlisted_day(counter)});
    const TimestampTz days = std::max(frontiers.days, last_day_end(counter, frontiers.days, days_bound));
    return {hours, days, hours > frontiers.hours || days > frontiers.days};
}

/// Who corrects an hour, or revises one, reads the frontiers under the seal lock: he has committed by now, and a list of the revision
/// before is no final one, or he will read what is written here. The row comes before the seal, as in sealing. Requires: the extension
/// owner's rights.
void hold_corrections_up(const Counter& counter) {
    const auto lock_row = [&] { run(lock_row_statement, {text_value(counter.name), oid_value(counter.hour_table)}, Snapshot::kFresh); };
    with_bounded_row_wait(counter.name, lock_row);
    lock_seal(counter.hour_table, counter.name, ShareLock);
}

/// Requires: the extension owner's rights.
bool advance(const Counter& counter) {
    // Without locks first: who has nothing to do writes nothing.
    if (!next_frontiers(counter).moves || !begin_expiry(counter)) return false;
    hold_corrections_up(counter);
    Advance next = {};
    const auto refuse = [&](int waited_ms) {
        ereport(ERROR, (errcode(ERRCODE_LOCK_NOT_AVAILABLE),
                        errmsg("could not lock the hour table of counter \"%s\" in %d ms", counter.name, waited_ms),
                        errhint("The next run tries again. If that does not help, look in pg_locks for who keeps the table.")));
    };
    with_bounded_wait([&] { next = next_frontiers(counter); }, refuse);
    std::uint64_t moved = 0;
    with_bounded_row_wait(counter.name, [&] {
        moved =
            run(advance_statement, {text_value(counter.name), oid_value(counter.hour_table), time_value(next.hours), time_value(next.days)},
                Snapshot::kFresh);
    });
    return moved > 0;
}

}  // namespace

ExpiryFrontiers read_expiry_frontiers(const Counter& counter) {
    if (run(frontiers_statement, {text_value(counter.name), oid_value(counter.hour_table)}, Snapshot::kFresh) == 0)
        ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("counter \"%s\" was dropped", counter.name)));
    const auto at = [](int column) { return DatumGetTimestampTz(cell(0, column).value); };
    ExpiryFrontiers frontiers = {at(1),
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

/// By the same horizon as VACUUM's: snapshots of this database, prepared transactions, replication slots, and standbys that give feedback.
bool is_seen_by_all(const ExpiryFrontiers& frontiers) {
    if (!frontiers.has_mover) return true;
    const FullTransactionId next = ReadNextFullTransactionId();
    // It is of another server, by a dump: whoever sees the counter here sees it as it was restored.
    if (!FullTransactionIdPrecedes(frontiers.mover, next)) return true;
    Relation registry = open_registry("counter_data");
    const TransactionId oldest = GetOldestNonRemovableTransactionId(registry);
    table_close(registry, AccessShareLock);
    const std::uint32_t age = XidFromFullTransactionId(next) - oldest;
    return U64FromFullTransactionId(frontiers.mover) < U64FromFullTransactionId(next) - age;
}

bool begin_expiry(const Counter& counter) {
    hold_counter(counter);
    return try_lock_counter(counter.hour_table, LockPurpose::kExpiry, ExclusiveLock);
}

TOPK_SQL_FUNCTION(topk_advance_expiry) {
    bool moved = false;
    administer_expiry(fcinfo, [&](const Counter& counter) { as_user(extension_owner(), [&] { moved = advance(counter); }); });
    PG_RETURN_BOOL(moved);
}

}  // namespace topk
