// topk.claim: a session takes Kafka partitions over, which fences whoever had them, or resumes those it still has.
// Locks progress rows in partition order, so it waits for a flush in flight and that flush counts. All its reading and
// writing of topk.* is done with the extension owner's rights, after the check of the caller's.
#include "arguments.h"
#include "counter.h"
#include "progress_rows.h"

namespace topk {

namespace {

constexpr std::int32_t kMaxPartitions = 100000;

struct Asked {
    std::int32_t partition;
    std::int64_t log_start;
    std::int64_t log_end;
    std::int64_t epoch;
    const char* status;
};

struct ClaimArguments {
    const char* counter;
    const char* topic;
    const char* cluster_id;
    const char* group_id;
    const char* member;
    std::int32_t partition_count;
    std::span<Asked> asked;  ///< partitions ascending
    bool resume;             ///< epochs were given
    bool take_over;
};

Statement count_statement = {
    "SELECT count(*) > 0 OR EXISTS (SELECT FROM topk.progress_history_data h WHERE h.counter = $1 AND h.topic = $2),"
    "  count(*) FILTER (WHERE partition < $3) FROM topk.kafka_progress_data WHERE counter = $1 AND topic = $2"};

// Only the missing ones: the conflict with a row that a flush in flight has written would wait for that flush, without end if its client
// stopped.
Statement create_statement = {
    "INSERT INTO topk.kafka_progress_data (counter, topic, partition, group_id, start_offset, next_offset)"
    " SELECT $1, $2, g.partition, $4, $5, $5 FROM generate_series(0, $3 - 1) g (partition)"
    " WHERE NOT EXISTS (SELECT FROM topk.kafka_progress_data k WHERE k.counter = $1 AND k.topic = $2 AND k.partition = g.partition)"
    " ON CONFLICT (counter, topic, partition) DO NOTHING"};

Statement other_group_statement = {
    "SELECT group_id FROM topk.kafka_progress_data WHERE counter = $1 AND group_id <> $2 ORDER BY topic, partition LIMIT 1"};

Statement all_rows_statement = {"SELECT topic, partition FROM topk.kafka_progress_data WHERE counter = $1 ORDER BY topic, partition"};

Statement regroup_statement = {"UPDATE topk.kafka_progress_data SET group_id = $2 WHERE counter = $1"};

Statement claim_statement = {
    "UPDATE topk.kafka_progress_data SET epoch = epoch + 1, cluster_id = $4, group_id = $5, member = $6, owner_pid = $7,"
    "  owner_backend_start = $8, start_offset = coalesce(start_offset, $9), next_offset = coalesce(next_offset, $9)"
    " WHERE counter = $1 AND topic = $2 AND partition = $3"};

Statement resume_statement = {
    "UPDATE topk.kafka_progress_data SET owner_pid = $4, owner_backend_start = $5 WHERE counter = $1 AND topic = $2 AND partition = $3"};

Statement retired_statement = {
    "SELECT FROM topk.progress_history_data WHERE counter = $1 AND topic = $2 AND partition = $3 AND reset_to IS NULL"};

Statement answer_statement = {
    "SELECT s.partition, s.status, k.epoch, k.next_offset, k.last_offset, k.last_timestamp_ms, k.last_crc, k.watermark, c.sealed_through,"
    "  c.time_zone, c.lateness, c.max_clock_skew, c.max_age, c.idle_timeout"
    " FROM unnest($3, $4) s (partition, status)"
    " JOIN topk.kafka_progress_data k ON k.counter = $1 AND k.topic = $2 AND k.partition = s.partition"
    " JOIN topk.counter_data c ON c.name = $1 ORDER BY s.partition"};

[[noreturn]] void refuse(const char* what) {
    ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("%s", what)));
    pg_unreachable();
}

/// The elements of a one-dimensional array without NULLs.
std::span<Datum> elements(FunctionCallInfo fcinfo, int index, const char* name, Oid type) {
    require_argument(fcinfo, index, name);
    ArrayType* array = PG_GETARG_ARRAYTYPE_P(index);
    if (ARR_NDIM(array) > 1 || array_contains_nulls(array)) refuse(psprintf("argument \"%s\" must have one dimension and no nulls", name));
    Datum* values;
    int count;
    const bool wide = type == INT8OID;
    deconstruct_array(array, type, wide ? 8 : 4, true, wide ? TYPALIGN_DOUBLE : TYPALIGN_INT, &values, nullptr, &count);
    return {values, static_cast<std::size_t>(count)};
}

void read_asked(FunctionCallInfo fcinfo, ClaimArguments* claim) {
    const auto partitions = elements(fcinfo, 6, "partitions", INT4OID);
    const auto starts = elements(fcinfo, 7, "log_starts", INT8OID);
    const auto ends = elements(fcinfo, 8, "log_ends", INT8OID);
    const auto epochs = claim->resume ? elements(fcinfo, 9, "epochs", INT8OID) : std::span<Datum>{};
    if (starts.size() != partitions.size() || ends.size() != partitions.size() || (claim->resume && epochs.size() != partitions.size()))
        refuse("arguments \"partitions\", \"log_starts\", \"log_ends\" and \"epochs\" must be of the same length");
    auto* asked = static_cast<Asked*>(palloc(partitions.size() * sizeof(Asked) + 1));
    for (std::size_t i = 0; i < partitions.size(); ++i) {
        asked[i] = {DatumGetInt32(partitions[i]), DatumGetInt64(starts[i]), DatumGetInt64(ends[i]),
                    claim->resume ? DatumGetInt64(epochs[i]) : 0, nullptr};
        if (asked[i].partition < 0 || asked[i].partition >= claim->partition_count)
            refuse(psprintf("partition %d is not one of the %d of topic \"%s\"", asked[i].partition, claim->partition_count, claim->topic));
        if (asked[i].log_start < 0 || asked[i].log_end < asked[i].log_start)
            refuse(psprintf("the log of partition %d cannot reach from " INT64_FORMAT " to " INT64_FORMAT, asked[i].partition,
                            asked[i].log_start, asked[i].log_end));
    }
    claim->asked = {asked, partitions.size()};
    std::sort(claim->asked.begin(), claim->asked.end(),
              [](const Asked& left, const Asked& right) { return left.partition < right.partition; });
    for (std::size_t i = 1; i < claim->asked.size(); ++i)
        if (asked[i - 1].partition == asked[i].partition) refuse(psprintf("partition %d is asked for twice", asked[i].partition));
}

ClaimArguments read_claim_arguments(FunctionCallInfo fcinfo) {
    ClaimArguments claim = {};
    claim.counter = nonempty_text_argument(fcinfo, 0, "counter");
    claim.topic = nonempty_text_argument(fcinfo, 1, "topic");
    claim.cluster_id = nonempty_text_argument(fcinfo, 2, "cluster_id");
    claim.group_id = nonempty_text_argument(fcinfo, 3, "group_id");
    claim.member = nonempty_text_argument(fcinfo, 4, "member");
    require_argument(fcinfo, 5, "partition_count");
    claim.partition_count = PG_GETARG_INT32(5);
    if (claim.partition_count < 1 || claim.partition_count > kMaxPartitions)
        refuse(psprintf("argument \"partition_count\" must be from 1 to %d", kMaxPartitions));
    claim.resume = !PG_ARGISNULL(9);
    claim.take_over = !PG_ARGISNULL(10) && PG_GETARG_BOOL(10);
    read_asked(fcinfo, &claim);
    return claim;
}

[[noreturn]] void refuse_group(const ClaimArguments& claim, const char* recorded) {
    ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                    errmsg("counter \"%s\" is fed by consumer group \"%s\", not by \"%s\"", claim.counter, recorded, claim.group_id),
                    errdetail("Two groups on one counter would count every record twice."),
                    errhint("Stop the other group, then take the counter over with --take-over (argument take_over of topk.claim).")));
    pg_unreachable();
}

/// The group that rows of the counter are recorded for, if it is not the caller's; else null.
const char* other_group(const ClaimArguments& claim) {
    return run(other_group_statement, {text_value(claim.counter), text_value(claim.group_id)}, Snapshot::kFresh) == 0 ? nullptr
                                                                                                                      : text_cell(0, 1);
}

bool has_all_rows(const ClaimArguments& claim, bool* topic_known) {
    run(count_statement, {text_value(claim.counter), text_value(claim.topic), int4_value(claim.partition_count)}, Snapshot::kFresh);
    *topic_known = DatumGetBool(cell(0, 1).value);
    return DatumGetInt64(cell(0, 2).value) == claim.partition_count;
}

/// Locks every row of the counter, whatever its topic, and records the caller's group on all of them.
void take_counter_over(const ClaimArguments& claim) {
    const std::uint64_t count = run(all_rows_statement, {text_value(claim.counter)}, Snapshot::kFresh);
    auto* keys = static_cast<ProgressKey*>(palloc(count * sizeof(ProgressKey) + 1));
    for (std::uint64_t row = 0; row < count; ++row) keys[row] = {claim.counter, text_cell(row, 1), DatumGetInt32(cell(row, 2).value)};
    for (std::uint64_t row = 0; row < count; ++row) {
        lock_progress_row(keys[row]);
        SPI_freetuptable(SPI_tuptable);
    }
    run(regroup_statement, {text_value(claim.counter), text_value(claim.group_id)}, Snapshot::kFresh);
}

/// Makes missing rows and settles which group the counter has. New rows carry the group from the start, and their
/// creation is serialised, so that of two groups that come at once only one gets in.
void settle_rows(const Counter& counter, const ClaimArguments& claim) {
    bool topic_known;
    if (has_all_rows(claim, &topic_known) && other_group(claim) == nullptr) return;
    lock_progress_creation(counter);
    const char* recorded = other_group(claim);
    if (recorded != nullptr && (!claim.take_over || claim.resume)) refuse_group(claim, recorded);
    if (recorded != nullptr) take_counter_over(claim);
    if (has_all_rows(claim, &topic_known)) return;
    // Retired ones that Kafka has after all go on where they were.
    restore_retired_rows({claim.counter, claim.topic, 0}, claim.partition_count - 1, claim.group_id);
    // The whole log of a partition that appeared later is ours; of those there from the start, what the first claim finds.
    const Argument first = {INT8OID, Int64GetDatum(0), !topic_known};
    run(create_statement,
        {text_value(claim.counter), text_value(claim.topic), int4_value(claim.partition_count), text_value(claim.group_id), first},
        Snapshot::kFresh);
}

/// The status of a partition whose row is locked, its columns in the last result.
const char* judge(const ClaimArguments& claim, const Asked& asked) {
    const std::int64_t epoch = DatumGetInt64(cell(0, 1).value);
    const char* cluster_id = text_cell(0, 2);
    const char* group_id = text_cell(0, 3);
    const char* member = text_cell(0, 4);
    const Cell next = cell(0, 5);
    if (group_id != nullptr && strcmp(group_id, claim.group_id) != 0) refuse_group(claim, group_id);
    if (cluster_id != nullptr && strcmp(cluster_id, claim.cluster_id) != 0)
        ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                        errmsg("partition %d of topic \"%s\" belongs to another cluster: recorded \"%s\", found \"%s\"", asked.partition,
                               claim.topic, cluster_id, claim.cluster_id),
                        errdetail("Its offsets mean nothing in this cluster."),
                        errhint("Connect to the recorded cluster, or give its offsets up with topk.reset_progress.")));
    if (claim.resume && (next.is_null || epoch != asked.epoch || member == nullptr || strcmp(member, claim.member) != 0)) return "fenced";
    if (!next.is_null && DatumGetInt64(next.value) < asked.log_start) return "below_start";
    if (!next.is_null && DatumGetInt64(next.value) > asked.log_end) return "beyond_end";
    return "ok";
}

/// The partition was there when the rows were settled. To put it back means to wait for others while rows are locked: the next claim does.
[[noreturn]] void refuse_vanished(const ClaimArguments& claim, std::int32_t partition) {
    if (run(retired_statement, {text_value(claim.counter), text_value(claim.topic), int4_value(partition)}, Snapshot::kFresh) > 0)
        ereport(ERROR, (errcode(ERRCODE_LOCK_NOT_AVAILABLE),
                        errmsg("partition %d of topic \"%s\" of counter \"%s\" was retired while it was claimed", partition, claim.topic,
                               claim.counter),
                        errhint("Claim it again, and it goes on where it was.")));
    ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
                    errmsg("counter \"%s\" has no partition %d of topic \"%s\"", claim.counter, partition, claim.topic),
                    errhint("topk.kafka_progress lists them.")));
    pg_unreachable();
}

void claim_partition(const ClaimArguments& claim, Asked* asked) {
    // A resume ends its own former session only: a member that was fenced meanwhile must not disturb the new owner.
    if (!find_and_lock_progress_row({claim.counter, claim.topic, asked->partition}, claim.resume ? claim.member : ""))
        refuse_vanished(claim, asked->partition);
    asked->status = judge(claim, *asked);
    SPI_freetuptable(SPI_tuptable);
    if (strcmp(asked->status, "ok") != 0) return;
    if (claim.resume)
        run(resume_statement,
            {text_value(claim.counter), text_value(claim.topic), int4_value(asked->partition), int4_value(MyProcPid),
             time_value(MyStartTimestamp)},
            Snapshot::kFresh);
    else
        run(claim_statement,
            {text_value(claim.counter), text_value(claim.topic), int4_value(asked->partition), text_value(claim.cluster_id),
             text_value(claim.group_id), text_value(claim.member), int4_value(MyProcPid), time_value(MyStartTimestamp),
             int8_value(asked->log_start)},
            Snapshot::kFresh);
}

/// A topic may have a hundred thousand partitions: each is claimed in memory that the next one uses again.
void claim_partitions(const ClaimArguments& claim) {
    const MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext, "topk claim of a partition", ALLOCSET_DEFAULT_SIZES);
    for (Asked& asked : claim.asked) {
        const MemoryContext caller = MemoryContextSwitchTo(scratch);
        claim_partition(claim, &asked);
        MemoryContextSwitchTo(caller);
        MemoryContextReset(scratch);
    }
}

void answer(const ClaimArguments& claim, const ReturnSetInfo* result) {
    auto* partitions = static_cast<Datum*>(palloc(claim.asked.size() * sizeof(Datum) + 1));
    auto* statuses = static_cast<Datum*>(palloc(claim.asked.size() * sizeof(Datum) + 1));
    for (std::size_t i = 0; i < claim.asked.size(); ++i) {
        partitions[i] = Int32GetDatum(claim.asked[i].partition);
        statuses[i] = CStringGetTextDatum(claim.asked[i].status);
    }
    const int count = static_cast<int>(claim.asked.size());
    run(answer_statement,
        {text_value(claim.counter),
         text_value(claim.topic),
         {INT4ARRAYOID, PointerGetDatum(construct_array(partitions, count, INT4OID, 4, true, TYPALIGN_INT))},
         {TEXTARRAYOID, PointerGetDatum(construct_array(statuses, count, TEXTOID, -1, false, TYPALIGN_INT))}},
        Snapshot::kFresh);
    put_rows(result);
}

}  // namespace

TOPK_SQL_FUNCTION(topk_claim) {
    require_read_committed("topk.claim");
    ClaimArguments claim = read_claim_arguments(fcinfo);
    InitMaterializedSRF(fcinfo, 0);
    const auto* result = reinterpret_cast<ReturnSetInfo*>(fcinfo->resultinfo);
    with_spi([&] {
        const Counter counter = find_counter(claim.counter, Snapshot::kFresh);
        require_access(counter, {"ingest"}, Snapshot::kFresh);
        as_user(extension_owner(), [&] {
            settle_rows(counter, claim);
            claim_partitions(claim);
            answer(claim, result);
        });
    });
    return 0;
}

// As the SQL of 1.2 calls it: older libraries, which know no retired partitions and would read them anew, have no such name.
TOPK_SQL_FUNCTION(topk_claim_1_2) {
    return topk_claim(fcinfo);
}

}  // namespace topk
