// Polling for row locks, terminating a stopped owner, and putting retired partitions back.
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

// The books of the new life begin where those of the last one ended: no record of the log is read twice, and none is left out. Fingerprint
// and cluster stay, so that a topic made again is told; the epoch fences who had the partition.
Statement restore_statement = {
    "INSERT INTO topk.kafka_progress_data (counter, topic, partition, cluster_id, group_id, epoch, start_offset, next_offset, last_offset,"
    "  last_timestamp_ms, last_crc, watermark, flushed_at, visible_after, clock_advanced_at)"
    " SELECT h.counter, h.topic, h.partition, h.cluster_id, coalesce($5, h.group_id), h.epoch + 1, h.next_offset, h.next_offset, "
    "h.last_offset,"
    "  h.last_timestamp_ms, h.last_crc, h.watermark, h.flushed_at, h.visible_after, h.clock_advanced_at"
    " FROM (SELECT DISTINCT ON (partition) * FROM topk.progress_history_data"
    "  WHERE counter = $1 AND topic = $2 AND partition BETWEEN $3 AND $4 ORDER BY partition, epoch DESC) h"
    " WHERE h.reset_to IS NULL AND NOT EXISTS (SELECT FROM topk.kafka_progress_data k"
    "  WHERE k.counter = $1 AND k.topic = $2 AND k.partition = h.partition)"};

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

bool find_and_lock_progress_row(const ProgressKey& key, const char* only_member) {
    const std::initializer_list<Argument> arguments = {text_value(key.counter), text_value(key.topic), int4_value(key.partition)};
    const std::int64_t began = monotonic_ms();
    bool terminated = false;
    for (;;) {
        if (run(lock_row_statement, arguments, Snapshot::kFresh) > 0) return true;
        SPI_freetuptable(SPI_tuptable);
        if (run(exists_statement, arguments, Snapshot::kFresh) == 0) return false;
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

void lock_progress_row(const ProgressKey& key, const char* only_member) {
    if (find_and_lock_progress_row(key, only_member)) return;
    ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
                    errmsg("counter \"%s\" has no partition %d of topic \"%s\"", key.counter, key.partition, key.topic),
                    errhint("topk.kafka_progress lists them.")));
}

bool has_progress_row(const ProgressKey& key) {
    return run(exists_statement, {text_value(key.counter), text_value(key.topic), int4_value(key.partition)}, Snapshot::kFresh) > 0;
}

void lock_progress_creation(const Counter& counter) {
    const std::int64_t began = monotonic_ms();
    while (!try_lock_counter(counter.hour_table, LockPurpose::kProgress, ExclusiveLock)) {
        if (monotonic_ms() - began >= kGiveUpMs)
            ereport(ERROR,
                    (errcode(ERRCODE_LOCK_NOT_AVAILABLE), errmsg("could not make or retire partitions of counter \"%s\"", counter.name),
                     errdetail("Another transaction has been making or retiring some for twelve seconds."),
                     errhint("Look for it in pg_locks, and try again.")));
        pause_between_polls();
    }
    // It may have been dropped, even made again, until the lock came.
    if (find_counter(counter.name, Snapshot::kFresh).hour_table != counter.hour_table)
        ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("counter \"%s\" was dropped", counter.name)));
}

void restore_retired_rows(const ProgressKey& first, std::int32_t last, const char* group_id) {
    const Argument group = group_id == nullptr ? Argument{TEXTOID, 0, true} : text_value(group_id);
    run(restore_statement, {text_value(first.counter), text_value(first.topic), int4_value(first.partition), int4_value(last), group},
        Snapshot::kFresh);
}

}  // namespace topk
