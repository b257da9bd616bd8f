// topk.flush: one call adds deltas, late views and dead letters, and moves the offsets they came from. It is exactly
// once because the offsets are compared and set in the transaction of the counts.
// Locks, in order: progress rows by partition, seal (shared), partitions (if one is missing), rows in key order, rows of the hour book.
// Rows of topk.* are written as the extension's owner, the counter's tables as the counter's owner.
#include "arguments.h"
#include "counter.h"
#include "counter_lock.h"
#include "counter_plans.h"
#include "errors.h"
#include "flush_arguments.h"
#include "hour_book.h"
#include "hours.h"
#include "partition.h"
#include "upsert.h"

namespace topk {

namespace {

Statement lock_progress_statement = {
    "SELECT partition, epoch, next_offset, owner_pid, owner_backend_start FROM topk.kafka_progress_data"
    " WHERE counter = $1 AND topic = $2 AND partition = ANY ($3) ORDER BY partition FOR UPDATE",
    CURSOR_OPT_GENERIC_PLAN};

Statement frontier_statement = {"SELECT sealed_through FROM topk.counter_data WHERE name = $1"};

Statement known_hours_statement = {
    "SELECT hour_start, hour_end FROM topk.hour_map WHERE counter = $1 AND hour_start = ANY ($2) ORDER BY hour_start",
    CURSOR_OPT_GENERIC_PLAN};

Statement late_views_statement = {
    "INSERT INTO topk.late_views_data AS v (counter, hour_start, video_id, views, records, first_seen, last_seen)"
    " SELECT $1, l.hour_start, l.video_id COLLATE \"C\", sum(l.views), sum(l.records), now(), now() FROM unnest($2::topk.flush_late[]) l"
    " GROUP BY 2, 3 ORDER BY 2, 3"
    " ON CONFLICT (counter, hour_start, video_id) DO UPDATE"
    " SET views = v.views + EXCLUDED.views, records = v.records + EXCLUDED.records, last_seen = EXCLUDED.last_seen"};

// A record's timestamp is whatever its producer wrote: what does not fit a sane timestamp is stored as none.
Statement dead_letter_statement = {
    "INSERT INTO topk.dead_letter_data (counter, topic, partition, \"offset\", epoch, record_timestamp, reason, key, payload)"
    " SELECT $1, $2, d.partition, d.\"offset\", p.epoch,"
    "  CASE WHEN d.record_timestamp_ms >= 0 AND d.record_timestamp_ms < 253402300800000 THEN to_timestamp(d.record_timestamp_ms / 1000.0) "
    "END,"
    "  d.reason, d.key, d.payload"
    " FROM unnest($3::topk.flush_dead[]) d JOIN unnest($4::topk.flush_progress[]) p ON p.partition = d.partition"
    " ORDER BY d.partition, d.\"offset\""};

#ifndef TOPK_TEST_NO_COMPARE_AND_SET
#define TOPK_STILL_OURS " AND k.epoch = p.epoch AND k.next_offset = p.from_offset"
#else
#define TOPK_STILL_OURS ""
#endif

// Compares once more: a trigger of the owner may have called claim or reset_progress in this transaction.
// A row that moves nothing but the watermark is an idle advance: by the clock, and no further than the silence allows, whatever the
// clock of the consumer. Nor do records take a watermark further ahead than their events may be: what is sealed stays sealed.
// $4 is the time by the clock, at which the commit is about to make all this visible.
Statement progress_statement = {
    "UPDATE topk.kafka_progress_data k SET next_offset = p.to_offset,"
    "  last_offset = coalesce(p.last_offset, k.last_offset),"
    "  last_timestamp_ms = CASE WHEN p.last_offset IS NULL THEN k.last_timestamp_ms ELSE p.last_timestamp_ms END,"
    "  last_crc = CASE WHEN p.last_offset IS NULL THEN k.last_crc ELSE p.last_crc END,"
    "  watermark = greatest(k.watermark, p.reached), counted = k.counted + p.counted, late = k.late + p.late,"
    "  dead = k.dead + p.dead, skipped = k.skipped + p.skipped,"
    "  flushed_at = CASE WHEN p.idle THEN k.flushed_at ELSE $4 END,"
    "  visible_after = CASE WHEN p.last_offset IS NOT NULL AND isfinite(p.reached)"
    "   THEN $4 - greatest(k.watermark, p.reached) ELSE k.visible_after END,"
    "  clock_advanced_at = CASE WHEN p.idle AND p.reached > k.watermark THEN $4 ELSE k.clock_advanced_at END"
    " FROM (SELECT r.*, CASE WHEN r.watermark IS NOT NULL THEN least(r.watermark, $4 + make_interval(secs => (CASE WHEN r.idle"
    "   THEN - extract(epoch FROM c.idle_timeout) ELSE extract(epoch FROM c.max_clock_skew) END)::float8)) END AS reached"
    "  FROM topk.counter_data c, (SELECT u.*, u.from_offset = u.to_offset AND u.last_offset IS NULL AND u.watermark IS NOT NULL"
    "    AND u.counted = 0 AND u.late = 0 AND u.dead = 0 AND u.skipped = 0 AS idle FROM unnest($3::topk.flush_progress[]) u) r"
    "  WHERE c.name = $1) p"
    " WHERE k.counter = $1 AND k.topic = $2 AND k.partition = p.partition" TOPK_STILL_OURS,
    CURSOR_OPT_GENERIC_PLAN};

ArrayType* int4_array(std::span<const Progress> partitions) {
    auto* values = static_cast<Datum*>(palloc(partitions.size() * sizeof(Datum)));
    std::transform(partitions.begin(), partitions.end(), values,
                   [](const Progress& progress) { return Int32GetDatum(progress.partition); });
    return construct_array(values, static_cast<int>(partitions.size()), INT4OID, sizeof(std::int32_t), true, TYPALIGN_INT);
}

Argument instants_value(std::span<const TimestampTz> instants) {
    auto* values = static_cast<Datum*>(palloc(instants.size() * sizeof(Datum) + 1));
    std::transform(instants.begin(), instants.end(), values, [](TimestampTz instant) { return TimestampTzGetDatum(instant); });
    return {TIMESTAMPTZARRAYOID, PointerGetDatum(construct_array(values, static_cast<int>(instants.size()), TIMESTAMPTZOID,
                                                                 sizeof(TimestampTz), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE))};
}

Argument array_value(Datum array) {
    const Oid element = ARR_ELEMTYPE(DatumGetArrayTypeP(array));
    return {get_array_type(element), array};
}

/// Compares one locked progress row with what the caller believes. Raises TK001.
void compare_progress(const FlushArguments& flush, const Progress& expected, std::uint64_t row) {
    const std::int64_t epoch = DatumGetInt64(cell(row, 2).value);
    const Cell next = cell(row, 3);
    const Cell pid = cell(row, 4);
    const Cell started = cell(row, 5);
    const bool owned =
        !pid.is_null && DatumGetInt32(pid.value) == MyProcPid && !started.is_null && DatumGetTimestampTz(started.value) == MyStartTimestamp;
    if (epoch == expected.epoch && !next.is_null && DatumGetInt64(next.value) == expected.from_offset && owned) return;
    const char* found_next = next.is_null ? "none" : psprintf(INT64_FORMAT, DatumGetInt64(next.value));
    const char* found_owner = pid.is_null ? "no process" : psprintf("process %d", DatumGetInt32(pid.value));
    ereport(ERROR, (errcode(kErrorFenced),
                    errmsg("partition %d of topic \"%s\" is fenced: expected epoch " INT64_FORMAT " at offset " INT64_FORMAT
                           ", found epoch " INT64_FORMAT " at offset %s",
                           expected.partition, flush.topic, expected.epoch, expected.from_offset, epoch, found_next),
                    errdetail("The partition is owned by %s%s; this is process %d.", found_owner,
                              !owned && !pid.is_null && DatumGetInt32(pid.value) == MyProcPid ? " of an earlier session" : "", MyProcPid),
                    errhint("Discard what is not flushed, then resume with topk.claim and go back to the offsets it returns.")));
}

/// Step 2: locks the progress rows in partition order; all of them must be as the caller left them.
void lock_progress(const Counter& counter, const FlushArguments& flush) {
    const std::uint64_t found =
        run(lock_progress_statement,
            {text_value(counter.name), text_value(flush.topic), {INT4ARRAYOID, PointerGetDatum(int4_array(flush.partitions))}},
            Snapshot::kFresh);
    std::uint64_t row = 0;
    for (const Progress& expected : flush.partitions) {
        if (row == found || DatumGetInt32(cell(row, 1).value) != expected.partition)
            ereport(ERROR, (errcode(kErrorFenced),
                            errmsg("partition %d of topic \"%s\" is fenced: expected epoch " INT64_FORMAT " at offset " INT64_FORMAT
                                   ", found no progress",
                                   expected.partition, flush.topic, expected.epoch, expected.from_offset),
                            errhint("Claim the partition with topk.claim.")));
#ifndef TOPK_TEST_NO_COMPARE_AND_SET
        compare_progress(flush, expected, row);
#else
        (void)compare_progress;
#endif
        ++row;
    }
}

/// Step 4: the frontier, in a snapshot taken after the seal lock.
TimestampTz read_frontier(const Counter& counter) {
    if (run(frontier_statement, {text_value(counter.name)}, Snapshot::kFresh) == 0)
        ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("counter \"%s\" was dropped", counter.name)));
    return DatumGetTimestampTz(cell(0, 1).value);
}

void refuse_sealed(const Counter& counter, TimestampTz start, TimestampTz end, TimestampTz frontier) {
    if (end > frontier) return;
    const char* sealed_through = pstrdup(timestamptz_to_str(frontier));
    ereport(ERROR, (errcode(kErrorSealed), errmsg("hour %s of counter \"%s\" is sealed", timestamptz_to_str(start), counter.name),
                    errdetail("The frontier, sealed_through, is %s.", sealed_through),
                    errhint("Discard what is not flushed, resume with topk.claim, and decide again which records are late.")));
}

/// Steps 4 and 5 for the deltas' hours: each must be an hour, open, and have its partition.
void open_hours(const Counter& counter, std::span<const TimestampTz> hours, TimestampTz frontier) {
    struct Known {
        TimestampTz start;
        TimestampTz end;
    };
    if (hours.empty()) return;
    const std::uint64_t found = run(known_hours_statement, {text_value(counter.name), instants_value(hours)}, Snapshot::kFresh);
    auto* known = static_cast<Known*>(palloc(found * sizeof(Known) + 1));
    for (std::uint64_t row = 0; row < found; ++row)
        known[row] = {DatumGetTimestampTz(cell(row, 1).value), DatumGetTimestampTz(cell(row, 2).value)};
    SPI_freetuptable(SPI_tuptable);
    // All are judged before the first partition is made.
    const Known* next = known;
    for (const TimestampTz start : hours) {
        CHECK_FOR_INTERRUPTS();
        const bool stored = next != known + found && next->start == start;
        refuse_sealed(counter, start, stored ? (next++)->end : window_at(counter, Span::kHour, start, Snapshot::kFresh).end, frontier);
    }
    next = known;
    for (const TimestampTz start : hours) {
        CHECK_FOR_INTERRUPTS();
        const bool stored = next != known + found && next->start == start;
        if (stored) ++next;
        if (!stored || !has_partition(counter, start)) create_partition(counter, start);
    }
}

void require_stored(const Counter& counter, const char* what, std::uint64_t stored, std::uint64_t wanted) {
    if (stored == wanted) return;
    ereport(ERROR, (errcode(ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION),
                    errmsg("only " UINT64_FORMAT " of " UINT64_FORMAT " %s were stored in the tables of counter \"%s\"", stored, wanted,
                           what, counter.name),
                    errhint("Look for a trigger on the counter's tables that drops rows.")));
}

/// Step 6, deltas.
void add_deltas(const Counter& counter, const FlushArguments& flush) {
    if (flush.delta_entries == 0) return;
    // A dump may have brought the counter to a database of another encoding.
    require_utf8_database();
    std::uint64_t stored = 0;
    as_user(counter.owner, [&] {
        stored = upsert_deltas(counter, flush)
                     ? flush.delta_entries
                     : run(counter_statement(counter, CounterPlan::kAddDeltas), {{BYTEAOID, flush.deltas}}, Snapshot::kFresh);
    });
    require_stored(counter, "deltas", stored, flush.delta_entries);
}

/// The windows that still take the late views of some hours, as three parallel arrays.
struct LateWindows {
    Datum* hour_starts;
    Datum* spans;
    Datum* window_starts;
    int count;

    void add(TimestampTz hour, const char* span, TimestampTz window) {
        hour_starts[count] = TimestampTzGetDatum(hour);
        spans[count] = CStringGetTextDatum(span);
        window_starts[count++] = TimestampTzGetDatum(window);
    }
};

/// Also enters into the book how many of each hour's late views its day and its month take.
LateWindows late_windows(const Counter& counter, const FlushArguments& flush, TimestampTz frontier) {
    const std::span<const TimestampTz> hours = flush.late_hours;
    const std::size_t size = 3 * hours.size() * sizeof(Datum);
    LateWindows windows = {static_cast<Datum*>(palloc(size)), static_cast<Datum*>(palloc(size)), static_cast<Datum*>(palloc(size)), 0};
    Window day = {0, DT_NOEND, DT_NOBEGIN};
    Window month = day;
    BookHour* entry = flush.book.data();
    for (const TimestampTz hour : hours) {
        CHECK_FOR_INTERRUPTS();
        if (window_at(counter, Span::kHour, hour, Snapshot::kFresh).start != hour)
            ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                            errmsg("%s is not the start of an hour of counter \"%s\"", timestamptz_to_str(hour), counter.name),
                            errdetail("The counter's time zone is %s.", counter.time_zone), errhint("Take the hours from topk.hours.")));
        if (hour < day.start || hour >= day.end) day = window_at(counter, Span::kDay, hour, Snapshot::kFresh);
        if (hour < month.start || hour >= month.end) month = window_at(counter, Span::kMonth, hour, Snapshot::kFresh);
        while (entry->start < hour) ++entry;
        entry->late_in_day = day.end > frontier ? entry->late_views : 0;
        entry->late_in_month = month.end > frontier ? entry->late_views : 0;
        if (day.end > frontier) windows.add(hour, "day", day.label);
        if (month.end > frontier) windows.add(hour, "month", month.label);
        windows.add(hour, "all_time", DT_NOBEGIN);
    }
    return windows;
}

/// Step 6, late views: for the record in topk.late_views, and for the coarser windows in <counter>_late.
void add_late(const Counter& counter, const FlushArguments& flush, TimestampTz frontier) {
    if (flush.late_hours.empty()) return;
    const LateWindows windows = late_windows(counter, flush, frontier);
    const auto times = [&](Datum* values) {
        return Argument{TIMESTAMPTZARRAYOID, PointerGetDatum(construct_array(values, windows.count, TIMESTAMPTZOID, sizeof(TimestampTz),
                                                                             FLOAT8PASSBYVAL, TYPALIGN_DOUBLE))};
    };
    const Argument spans = {TEXTARRAYOID, PointerGetDatum(construct_array(windows.spans, windows.count, TEXTOID, -1, false, TYPALIGN_INT))};
    as_user(counter.owner, [&] {
        run(counter_statement(counter, CounterPlan::kAddLate),
            {array_value(flush.late), times(windows.hour_starts), spans, times(windows.window_starts)}, Snapshot::kFresh);
    });
    require_stored(counter, "late views", static_cast<std::uint64_t>(DatumGetInt64(cell(0, 1).value)),
                   static_cast<std::uint64_t>(DatumGetInt64(cell(0, 2).value)));
    as_user(extension_owner(), [&] { run(late_views_statement, {text_value(counter.name), array_value(flush.late)}, Snapshot::kFresh); });
}

/// Steps 6 (dead letters) and 7, with the book of hours.
void advance(const Counter& counter, const FlushArguments& flush) {
    if (flush.dead_count > 0)
        run(dead_letter_statement,
            {text_value(counter.name), text_value(flush.topic), array_value(flush.dead), array_value(flush.progress)}, Snapshot::kFresh);
    write_hour_book(counter, flush.topic, flush.partitions.front().partition, flush.book);
    const std::uint64_t advanced =
        run(progress_statement,
            {text_value(counter.name), text_value(flush.topic), array_value(flush.progress), time_value(GetCurrentTimestamp())},
            Snapshot::kFresh);
    if (advanced != flush.partitions.size())
        ereport(ERROR,
                (errcode(kErrorFenced), errmsg("partitions of topic \"%s\" were claimed or reset while they were flushed", flush.topic),
                 errhint("Look for a trigger on the counter's tables that calls functions of topk.")));
}

TimestampTz flush_all(const FlushArguments& flush) {
    const Counter counter = find_counter(flush.counter, Snapshot::kFresh);
    require_access(counter, {"ingest"}, Snapshot::kFresh);
    TimestampTz frontier = 0;
    as_user(extension_owner(), [&] {
        lock_progress(counter, flush);
        lock_counter(counter.hour_table, LockPurpose::kSeal, ShareLock);
        frontier = read_frontier(counter);
        open_hours(counter, flush.delta_hours, frontier);
    });
    add_deltas(counter, flush);
    add_late(counter, flush, frontier);
    as_user(extension_owner(), [&] { advance(counter, flush); });
    return frontier;
}

/// Runs a flush unless one is running in this session: a trigger of the owner could call flush, which would free plans
/// that are being executed.
template <typename Body>
void with_no_other_flush(Body&& body) {
    survives_longjmp<std::remove_reference_t<Body>>();
    static bool running = false;
    if (running)
        ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE), errmsg("topk.flush cannot be called from within topk.flush"),
                        errhint("Look for a trigger on the counter's tables that calls it.")));
    running = true;
    PG_TRY();
    { body(); }
    PG_FINALLY();
    { running = false; }
    PG_END_TRY();
}

}  // namespace

TOPK_SQL_FUNCTION(topk_flush) {
    require_read_committed("topk.flush");
    const FlushArguments flush = read_flush_arguments(fcinfo);
    TimestampTz frontier = 0;
    with_no_other_flush([&] { with_spi([&] { frontier = flush_all(flush); }); });
    PG_RETURN_TIMESTAMPTZ(frontier);
}

}  // namespace topk
