// What an operator calls: topk.reset_progress, topk.retire_partition and topk.status.
#include "arguments.h"
#include "counter.h"
#include "hours.h"
#include "progress_rows.h"

namespace topk {

namespace {

Statement archive_statement = {
    "INSERT INTO topk.progress_history_data SELECT p.*, $4, $5, $6, clock_timestamp() FROM topk.kafka_progress_data p"
    " WHERE p.counter = $1 AND p.topic = $2 AND p.partition = $3"};

// Going forward, the books begin where they ended and open with the offsets given up as lost; going back, they begin
// at the new offset. The epoch fences the owner; group and watermark stay, since hours sealed stay sealed.
Statement reset_statement = {
    "UPDATE topk.kafka_progress_data SET epoch = epoch + 1, cluster_id = NULL, member = NULL, owner_pid = NULL, owner_backend_start = NULL,"
    "  start_offset = least(next_offset, $4), next_offset = $4, last_offset = NULL, last_timestamp_ms = NULL, last_crc = NULL,"
    "  counted = 0, late = 0, dead = 0, skipped = 0, lost = greatest($4 - next_offset, 0)"
    " WHERE counter = $1 AND topic = $2 AND partition = $3"};

// reset_to is NULL: nobody reads on, until the partition comes back.
Statement retire_statement = {
    "WITH gone AS (DELETE FROM topk.kafka_progress_data WHERE counter = $1 AND topic = $2 AND partition = $3 RETURNING *)"
    " INSERT INTO topk.progress_history_data SELECT g.*, NULL, $4, $5, clock_timestamp() FROM gone g"};

// A partition that is read, or silent and at its end, is not gone.
Statement reader_statement = {
    "SELECT p.owner_pid FROM topk.kafka_progress_data p, LATERAL pg_stat_get_activity(p.owner_pid) a"
    " WHERE p.counter = $1 AND p.topic = $2 AND p.partition = $3 AND a.backend_start = p.owner_backend_start"
    "  AND greatest(p.flushed_at, p.clock_advanced_at) > clock_timestamp() - interval '1 minute'"};

// Everything up to here would be sealed by now if each partition were read to its end or advanced by the clock. Ten seconds are left to
// what is under way: idle advances come every two.
Statement due_statement = {
    "SELECT now() - make_interval(secs => (extract(epoch FROM lateness) + extract(epoch FROM idle_timeout) + 10)::float8)"
    " FROM topk.counter_data WHERE name = $1"};

// Whether the owning session lives, not only its process id. $2 is the last hour's end that is due: a partition that has not got there
// holds the seal back. Of an owner that is gone only the last sign of life is known.
Statement status_statement = {
    "SELECT p.topic, p.partition, p.group_id, p.member, p.owner_pid, o.alive, p.epoch, p.start_offset, p.next_offset,"
    "  p.counted, p.late, p.dead, p.skipped, p.lost, p.watermark, p.flushed_at,"
    "  c.sealed_through, CASE WHEN isfinite(p.watermark) THEN now() - p.watermark END, p.visible_after,"
    "  nullif(concat_ws('; ',"
    "   CASE WHEN p.watermark - make_interval(secs => extract(epoch FROM c.lateness)::float8) >= $2 THEN NULL"
    "    WHEN p.epoch = 0 THEN 'never claimed (start topkd)'"
    "    WHEN NOT o.alive THEN 'no owner' || coalesce(' since ' || date_trunc('second', CASE WHEN p.owner_pid IS NULL"
    "      THEN (SELECT max(h.reset_at) FROM topk.progress_history_data h WHERE h.counter = p.counter AND h.topic = p.topic AND "
    "h.partition = p.partition)"
    "      ELSE greatest(p.flushed_at, p.clock_advanced_at) END), '') || ' (start topkd)'"
    "    WHEN NOT isfinite(p.watermark) THEN 'neither a record read nor silent for idle_timeout yet'"
    "    ELSE 'reading behind: the watermark is ' || date_trunc('second', now() - p.watermark) || ' old' END,"
    "   'sealing held by the operator since ' || date_trunc('second', c.seal_held_at)"
    "    || coalesce(': ' || (SELECT s.reason FROM topk.seal_hold_data s WHERE s.counter = c.name AND s.resumed_at IS NULL), '')"
    "    || ' (topk.resume_seal)'), '')"
    " FROM topk.counter_data c JOIN topk.kafka_progress_data p ON p.counter = c.name,"
    "  LATERAL (SELECT EXISTS (SELECT FROM pg_stat_get_activity(p.owner_pid) a WHERE a.backend_start = p.owner_backend_start)) o (alive)"
    " WHERE c.name = $1 ORDER BY p.topic, p.partition"};

ProgressKey read_key(FunctionCallInfo fcinfo) {
    ProgressKey key;
    key.counter = text_argument(fcinfo, 0, "counter");
    key.topic = text_argument(fcinfo, 1, "topic");
    require_argument(fcinfo, 2, "partition");
    key.partition = PG_GETARG_INT32(2);
    return key;
}

struct ResetArguments {
    ProgressKey key;
    std::int64_t next_offset;
    const char* reason;
};

ResetArguments read_reset_arguments(FunctionCallInfo fcinfo) {
    ResetArguments reset;
    reset.key = read_key(fcinfo);
    require_argument(fcinfo, 3, "next_offset");
    reset.next_offset = PG_GETARG_INT64(3);
    if (reset.next_offset < 0)
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("argument \"next_offset\" must not be negative")));
    reset.reason = nonempty_text_argument(fcinfo, 4, "reason");
    return reset;
}

void reset_progress(const Counter& counter, const ResetArguments& reset, const char* user) {
    const Argument name = text_value(reset.key.counter);
    const Argument topic = text_value(reset.key.topic);
    const Argument partition = int4_value(reset.key.partition);
    const Argument next_offset = int8_value(reset.next_offset);
    if (!has_progress_row(reset.key)) {  // of a retired one the offset can be moved, too, before it is claimed
        lock_progress_creation(counter);
        restore_retired_rows(reset.key, reset.key.partition, nullptr);
    }
    lock_progress_row(reset.key);
    run(archive_statement, {name, topic, partition, next_offset, text_value(reset.reason), text_value(user)}, Snapshot::kFresh);
    run(reset_statement, {name, topic, partition, next_offset}, Snapshot::kFresh);
}

void refuse_reader(const ProgressKey& key) {
    // Within a transaction the activity of other sessions is read once and kept: it must be of now.
    pgstat_clear_snapshot();
    if (run(reader_statement, {text_value(key.counter), text_value(key.topic), int4_value(key.partition)}, Snapshot::kFresh) == 0) return;
    ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                    errmsg("partition %d of topic \"%s\" of counter \"%s\" is being read", key.partition, key.topic, key.counter),
                    errdetail("Its owner, process %d, has flushed it, or advanced it by the clock, within a minute.",
                              DatumGetInt32(cell(0, 1).value)),
                    errhint("Retire what Kafka does not have any more. If it does not, try again in a minute.")));
}

/// The row goes to the history, with its books. Under the lock of who makes rows: a claim finds it there, or makes it anew from the
/// history.
void retire(const Counter& counter, const ProgressKey& key, const char* reason, const char* user) {
    lock_progress_creation(counter);
    lock_progress_row(key);
    refuse_reader(key);
    run(retire_statement, {text_value(key.counter), text_value(key.topic), int4_value(key.partition), text_value(reason), text_value(user)},
        Snapshot::kFresh);
}

}  // namespace

TOPK_SQL_FUNCTION(topk_reset_progress) {
    const ResetArguments reset = read_reset_arguments(fcinfo);
    const char* user = GetUserNameFromId(GetUserId(), false);
    with_spi([&] {
        const Counter counter = find_counter(reset.key.counter, Snapshot::kFresh);
        require_access(counter, {"admin"}, Snapshot::kFresh);
        as_user(extension_owner(), [&] { reset_progress(counter, reset, user); });
    });
    PG_RETURN_VOID();
}

// As the SQL of 1.2 calls it: older libraries find no retired partition.
TOPK_SQL_FUNCTION(topk_reset_progress_1_2) {
    return topk_reset_progress(fcinfo);
}

TOPK_SQL_FUNCTION(topk_retire_partition) {
    const ProgressKey key = read_key(fcinfo);
    const char* reason = nonempty_text_argument(fcinfo, 3, "reason");
    const char* user = GetUserNameFromId(GetUserId(), false);
    with_spi([&] {
        const Counter counter = find_counter(key.counter, Snapshot::kFresh);
        require_access(counter, {"admin"}, Snapshot::kFresh);
        as_user(extension_owner(), [&] { retire(counter, key, reason, user); });
    });
    PG_RETURN_VOID();
}

TOPK_SQL_FUNCTION(topk_status) {
    const char* name = text_argument(fcinfo, 0, "counter");
    InitMaterializedSRF(fcinfo, 0);
    const auto* result = reinterpret_cast<ReturnSetInfo*>(fcinfo->resultinfo);
    with_spi([&] {
        const Counter counter = find_counter(name, Snapshot::kCaller);
        require_access(counter, {"read", "admin"}, Snapshot::kCaller);
        as_user(extension_owner(), [&] {
            run(due_statement, {text_value(counter.name)}, Snapshot::kCaller);
            const TimestampTz due = window_at(counter, Span::kHour, DatumGetTimestampTz(cell(0, 1).value), Snapshot::kCaller).start;
            run(status_statement, {text_value(counter.name), time_value(due)}, Snapshot::kCaller);
        });
        put_rows(result);
    });
    return 0;
}

}  // namespace topk
