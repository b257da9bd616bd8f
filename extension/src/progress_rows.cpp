// Polling for row locks, and terminating a stopped owner.
#include "progress_rows.h"

#include "counter_lock.h"

namespace topk {

namespace {

constexpr std::int64_t kPollMs = 20;
constexpr std::int64_t kPatienceMs = 2000;
constexpr std::int64_t kGiveUpMs = 12000;

Statement lock_row_statement = {
    "SELECT epoch, cluster_id, group_id, member, next_offset FROM topk.kafka_progress_data"
    " WHERE counter = $1 AND topic = $2 AND partition = $3 FOR UPDATE SKIP LOCKED"};

Statement exists_statement = {"SELECT FROM topk.kafka_progress_data WHERE counter = $1 AND topic = $2 AND partition = $3"};

// The session is compared with the one recorded, since process ids come again; and it must be who holds the row, not a
// bystander while somebody else (topk.reset_progress, say) does: xmax is the locker's transaction, which it holds a lock on.
Statement terminate_statement = {
    "SELECT a.pid, pg_terminate_backend(a.pid) FROM topk.kafka_progress_data p, LATERAL pg_stat_get_activity(p.owner_pid) a"
    " WHERE p.counter = $1 AND p.topic = $2 AND p.partition = $3"
    " AND ($4 = '' OR p.member = $4) AND p.owner_backend_start = a.backend_start AND a.pid <> pg_backend_pid() AND EXISTS (SELECT FROM "
    "pg_locks l"
    "  WHERE l.locktype = 'transactionid' AND l.granted AND l.pid = p.owner_pid AND l.transactionid = p.xmax)"};

void terminate_owner(const ProgressKey& key, const char* only_member) {
    // Within a transaction the activity of other sessions is read once and kept: it must be of now.
    pgstat_clear_snapshot();
    if (run(terminate_statement, {text_value(key.counter), text_value(key.topic), int4_value(key.partition), text_value(only_member)},
            Snapshot::kFresh) == 0)
        return;
    ereport(LOG, (errmsg("terminated process %d, which held partition %d of topic \"%s\" of counter \"%s\" for two seconds",
                         DatumGetInt32(cell(0, 1).value), key.partition, key.topic, key.counter)));
}

void pause_between_polls() {
    WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, kPollMs, PG_WAIT_EXTENSION);
    ResetLatch(MyLatch);
    CHECK_FOR_INTERRUPTS();
}

/// Milliseconds, by a clock that does not go back.
std::int64_t monotonic_ms() {
    instr_time now;
    INSTR_TIME_SET_CURRENT(now);
    return static_cast<std::int64_t>(INSTR_TIME_GET_MILLISEC(now));
}

}  // namespace

void lock_progress_row(const ProgressKey& key, const char* only_member) {
    const std::initializer_list<Argument> arguments = {text_value(key.counter), text_value(key.topic), int4_value(key.partition)};
    const std::int64_t began = monotonic_ms();
    bool terminated = false;
    for (;;) {
        if (run(lock_row_statement, arguments, Snapshot::kFresh) > 0) return;
        SPI_freetuptable(SPI_tuptable);
        if (run(exists_statement, arguments, Snapshot::kFresh) == 0)
            ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
                            errmsg("counter \"%s\" has no partition %d of topic \"%s\"", key.counter, key.partition, key.topic),
                            errhint("topk.kafka_progress lists them.")));
        SPI_freetuptable(SPI_tuptable);
        const std::int64_t waited = monotonic_ms() - began;
        if (waited >= kGiveUpMs)
            ereport(ERROR, (errcode(ERRCODE_LOCK_NOT_AVAILABLE),
                            errmsg("could not lock partition %d of topic \"%s\" of counter \"%s\"", key.partition, key.topic, key.counter),
                            errdetail("Another transaction has held its progress row for twelve seconds."),
                            errhint("Look for it in pg_locks, and try again.")));
        if (!terminated && waited >= kPatienceMs) {
            terminate_owner(key, only_member);
            terminated = true;
        }
        pause_between_polls();
    }
}

void lock_progress_creation(const Counter& counter) {
    const std::int64_t began = monotonic_ms();
    while (!try_lock_counter(counter.hour_table, LockPurpose::kProgress, ExclusiveLock)) {
        if (monotonic_ms() - began >= kGiveUpMs)
            ereport(ERROR,
                    (errcode(ERRCODE_LOCK_NOT_AVAILABLE), errmsg("could not create the progress rows of counter \"%s\"", counter.name),
                     errdetail("Another claim has been creating progress rows for twelve seconds."),
                     errhint("Look for it in pg_locks, and try again.")));
        pause_between_polls();
    }
}

}  // namespace topk
