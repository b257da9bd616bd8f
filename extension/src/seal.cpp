// Sealing: topk.seal_step moves a counter's frontier as far as the watermarks allow; topk.hold_seal and topk.resume_seal
// are the operator's brake, on the record.
// Locks: the registry row, then the seal lock exclusively. So sealers queue at the row, one of them at most waits in the
// queue of the flushes, and a counter is dropped before or after. What is read without locks only says whether there is
// anything to do; all is read again once the locks are held.
#include "arguments.h"
#include "counter.h"
#include "counter_lock.h"
#include "hours.h"

namespace topk {

namespace {

// By the table, too: the counter may have been dropped and made again, by somebody else, since it was looked up.
Statement lock_row_statement = {"SELECT seal_held_at FROM topk.counter_data WHERE name = $1 AND hour_table = $2 FOR NO KEY UPDATE"};

// How far the partitions have got, all topics together, less the lateness. NULL if there are none, or while sealing is held. An interval
// of months or days lasts as long as its epoch says, whatever the session's time zone.
Statement reached_statement = {
    "SELECT c.sealed_through, CASE WHEN c.seal_held_at IS NULL THEN (SELECT min(p.watermark) FROM topk.kafka_progress_data p WHERE "
    "p.counter = c.name)"
    "  - make_interval(secs => extract(epoch FROM c.lateness)::float8) END"
    " FROM topk.counter_data c WHERE c.name = $1 AND c.hour_table = $2"};

// Who has the seal lock ($1 to $4: its tag) in a transaction that began more than $5 milliseconds ago.
Statement stuck_statement = {
    "SELECT a.pid FROM pg_locks l, LATERAL pg_stat_get_activity(l.pid) a WHERE l.locktype = 'advisory' AND l.granted AND l.pid <> "
    "pg_backend_pid()"
    "  AND l.database = $1 AND l.classid = $2 AND l.objid::int8 = $3 AND l.objsubid = $4"
    "  AND a.xact_start < clock_timestamp() - make_interval(secs => $5 / 1000.0) LIMIT 1"};

Statement seal_statement = {"UPDATE topk.counter_data SET sealed_through = $2 WHERE name = $1 AND sealed_through < $2"};

Statement hold_statement = {
    "WITH hold AS (INSERT INTO topk.seal_hold_data (counter, held_by, reason) VALUES ($1, $2, nullif($3, '')) RETURNING held_at)"
    " UPDATE topk.counter_data SET seal_held_at = hold.held_at FROM hold WHERE name = $1"};

Statement resume_statement = {
    "WITH hold AS (UPDATE topk.seal_hold_data SET resumed_at = clock_timestamp(), resumed_by = $2 WHERE counter = $1 AND resumed_at IS "
    "NULL)"
    " UPDATE topk.counter_data SET seal_held_at = NULL WHERE name = $1"};

[[noreturn]] void refuse_vanished(const Counter& counter) {
    ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("counter \"%s\" was dropped", counter.name)));
    pg_unreachable();
}

struct Frontier {
    TimestampTz stored;
    TimestampTz next;  ///< not less than stored

    bool stays() const { return next <= stored; }
};

/// The frontier, and where the watermarks as committed by now would have it.
Frontier read_frontier(const Counter& counter) {
    if (run(reached_statement, {text_value(counter.name), oid_value(counter.hour_table)}, Snapshot::kFresh) == 0) refuse_vanished(counter);
    const TimestampTz stored = DatumGetTimestampTz(cell(0, 1).value);
    const Cell reached = cell(0, 2);
    Frontier frontier = {stored, stored};
    // -infinity: a partition of which nobody knows how far it has got.
    if (reached.is_null || TIMESTAMP_NOT_FINITE(DatumGetTimestampTz(reached.value)) || DatumGetTimestampTz(reached.value) <= stored)
        return frontier;
    frontier.next = std::max(stored, window_at(counter, Span::kHour, DatumGetTimestampTz(reached.value), Snapshot::kFresh).start);
    return frontier;
}

/// Locks the registry's row of the counter; true if sealing is held.
bool lock_registry_row(const Counter& counter) {
    std::uint64_t found = 0;
    with_bounded_row_wait(counter.name, [&] {
        found = run(lock_row_statement, {text_value(counter.name), oid_value(counter.hour_table)}, Snapshot::kFresh);
    });
    if (found == 0) refuse_vanished(counter);
    return !cell(0, 1).is_null;
}

/// Raises 55P03 if somebody's flush has been in flight for twice as long as one would wait for it. Flushes queue behind who waits: that
/// costs them one wait then, however many sealers there are and however often they come.
void refuse_stuck_flush(const Counter& counter) {
    const int wait_ms = bounded_wait_ms();
    // Within a transaction the activity of other sessions is read once and kept: it must be of now.
    pgstat_clear_snapshot();
    if (run(stuck_statement,
            {oid_value(MyDatabaseId), oid_value(counter.hour_table), int4_value(static_cast<std::int32_t>(LockPurpose::kSeal)),
             int4_value(kPrivateClass), int4_value(wait_ms * 2)},
            Snapshot::kFresh) == 0)
        return;
    ereport(ERROR, (errcode(ERRCODE_LOCK_NOT_AVAILABLE),
                    errmsg("the frontier of counter \"%s\" has been locked for too long to wait for it again", counter.name),
                    errdetail("Process %d began a flush, or another change of the frontier, more than %d ms ago.",
                              DatumGetInt32(cell(0, 1).value), wait_ms * 2),
                    errhint("A claim ends a client that stopped in the middle of a flush.")));
}

/// Seals what can be sealed. Returns the frontier.
TimestampTz seal(const Counter& counter) {
    Frontier frontier = read_frontier(counter);
    if (frontier.stays()) return frontier.stored;
    lock_registry_row(counter);
    // Whoever held the row may have done it: flushes need not stop once more.
    frontier = read_frontier(counter);
    if (frontier.stays()) return frontier.stored;
    refuse_stuck_flush(counter);
    lock_seal(counter.hour_table, counter.name);
    // A claim may have made rows of new partitions meanwhile.
    frontier = read_frontier(counter);
    if (!frontier.stays()) run(seal_statement, {text_value(counter.name), time_value(frontier.next)}, Snapshot::kFresh);
    return frontier.next;
}

void hold(const Counter& counter, const char* reason, const char* user) {
    if (lock_registry_row(counter)) {
        ereport(NOTICE, (errmsg("sealing of counter \"%s\" is held already", counter.name),
                         errdetail("Since %s.", timestamptz_to_str(DatumGetTimestampTz(cell(0, 1).value)))));
        return;
    }
    lock_seal(counter.hour_table, counter.name);
    run(hold_statement, {text_value(counter.name), text_value(user), text_value(reason)}, Snapshot::kFresh);
}

void resume(const Counter& counter, const char* user) {
    if (!lock_registry_row(counter)) {
        ereport(NOTICE, (errmsg("sealing of counter \"%s\" is not held", counter.name)));
        return;
    }
    lock_seal(counter.hour_table, counter.name);
    run(resume_statement, {text_value(counter.name), text_value(user)}, Snapshot::kFresh);
}

/// Runs body(counter) with the extension owner's rights if the caller may administer the counter.
template <typename Body>
void administer(const char* name, Body&& body) {
    survives_longjmp<std::remove_reference_t<Body>>();
    with_spi([&] {
        const Counter counter = find_counter(name, Snapshot::kFresh);
        require_access(counter, {"admin"}, Snapshot::kFresh);
        as_user(extension_owner(), [&] { body(counter); });
    });
}

}  // namespace

TOPK_SQL_FUNCTION(topk_seal_step) {
    require_read_committed("topk.seal");
    TimestampTz frontier = 0;
    administer(text_argument(fcinfo, 0, "counter"), [&](const Counter& counter) { frontier = seal(counter); });
    PG_RETURN_TIMESTAMPTZ(frontier);
}

TOPK_SQL_FUNCTION(topk_hold_seal) {
    const char* name = text_argument(fcinfo, 0, "counter");
    const char* reason = PG_ARGISNULL(1) ? nullptr : text_argument(fcinfo, 1, "reason");
    const char* user = GetUserNameFromId(GetUserId(), false);
    administer(name, [&](const Counter& counter) { hold(counter, reason, user); });
    PG_RETURN_VOID();
}

TOPK_SQL_FUNCTION(topk_resume_seal) {
    const char* user = GetUserNameFromId(GetUserId(), false);
    administer(text_argument(fcinfo, 0, "counter"), [&](const Counter& counter) { resume(counter, user); });
    PG_RETURN_VOID();
}

}  // namespace topk
