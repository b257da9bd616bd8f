// The batch is read by a statement, whichever way it is stored.
#include "roll_up_rows.h"

#include "upsert.h"

namespace topk {

namespace {

/// Rows come in the order of the primary key, whatever the planner thinks of reading all and sorting them: it would for every batch.
void plan_for_order() {
    for (const char* setting : {"enable_seqscan", "enable_bitmapscan", "enable_sort", "jit"})
        set_config_option(setting, "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
}

bool is_null(std::uint64_t row, int column) {
    return cell(row, column).is_null;
}

/// The last result as upsert_rows takes it; nothing if a row is not fit for that.
std::span<const VideoViews> rows_to_upsert(std::uint64_t count) {
    auto* rows = static_cast<VideoViews*>(palloc(count * sizeof(VideoViews)));
    for (std::uint64_t row = 0; row < count; ++row) {
        rows[row] = {DatumGetTextPP(cell(row, 1).value), is_null(row, 2) ? 0 : DatumGetInt64(cell(row, 2).value)};
        // The source's constraints are not ours: the statement tells what is wrong with it.
        if (rows[row].views <= 0) return {};
    }
    return {rows, count};
}

/// Stores the rows of the last result by a statement. Returns how many were.
std::uint64_t store_by_statement(const Counter& counter, const Target& target, std::uint64_t count) {
    auto* ids = static_cast<Datum*>(palloc(2 * count * sizeof(Datum)));
    Datum* views = ids + count;
    auto* nulls = static_cast<bool*>(palloc(count));
    for (std::uint64_t row = 0; row < count; ++row) {
        ids[row] = cell(row, 1).value;
        views[row] = cell(row, 2).value;
        nulls[row] = is_null(row, 2);
    }
    int size[] = {static_cast<int>(count)};
    int first[] = {1};
    ArrayType* id_array = construct_array(ids, size[0], TEXTOID, -1, false, TYPALIGN_INT);
    ArrayType* views_array = construct_md_array(views, nulls, 1, size, first, INT8OID, sizeof(std::int64_t), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE);
    const char* sql = psprintf(
        "INSERT INTO %s AS r (window_start, video_id, views) SELECT $1, b.* FROM unnest($2, $3) b (video_id, views)"
        " ON CONFLICT (window_start, video_id) DO UPDATE SET views = topk.add_views(r.views, EXCLUDED.views, r.video_id)",
        table_name(counter, target.table));
    return run_once(sql, {time_value(target.window), {TEXTARRAYOID, PointerGetDatum(id_array)}, {INT8ARRAYOID, PointerGetDatum(views_array)}},
                    Snapshot::kFresh);
}

/// Memory is of the current context, but for the last id, which is of `keep`.
Batch add_rows(const Counter& counter, const Source& source, const Target& target, std::int32_t limit, MemoryContext keep) {
    const char* sql = psprintf(
        "SELECT video_id, views FROM %s WHERE window_start = $1 AND video_id > $2 AND ($3 IS NULL OR video_id <= $3) ORDER BY video_id LIMIT %d",
        table_name(counter, source.table), limit);
    const std::uint64_t count =
        run_once(sql, {time_value(source.window), text_value(source.after), text_value(source.through)}, Snapshot::kFresh);
    SPITupleTable* batch = SPI_tuptable;
    if (count == 0) return {0, nullptr};
    const char* last = MemoryContextStrdup(keep, text_cell(count - 1, 1));
    const std::span<const VideoViews> rows = rows_to_upsert(count);
    const bool is_native = !rows.empty() && upsert_rows(target.table, target.window, rows);
    const std::uint64_t stored = is_native ? count : store_by_statement(counter, target, count);
    if (stored != count)
        ereport(ERROR, (errcode(ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION),
                        errmsg("only " UINT64_FORMAT " of " UINT64_FORMAT " rows were stored in a roll-up of counter \"%s\"", stored, count,
                               counter.name),
                        errhint("Look for a trigger on the counter's tables that drops rows.")));
    SPI_freetuptable(batch);
    return {static_cast<std::int64_t>(count), last};
}

}  // namespace

Batch roll_up_rows(const Counter& counter, const Source& source, const Target& target, std::int32_t limit) {
    Batch batch;
    const MemoryContext caller = CurrentMemoryContext;
    const MemoryContext memory = AllocSetContextCreate(caller, "topk roll-up batch", ALLOCSET_DEFAULT_SIZES);
    MemoryContextSwitchTo(memory);
    as_user(counter.owner, [&] {
        plan_for_order();
        batch = add_rows(counter, source, target, limit, caller);
    });
    MemoryContextSwitchTo(caller);
    MemoryContextDelete(memory);
    return batch;
}

TOPK_SQL_FUNCTION(topk_add_views) {
    std::int64_t sum;
    if (pg_add_s64_overflow(PG_GETARG_INT64(0), PG_GETARG_INT64(1), &sum))
        ereport(ERROR, (errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
                        errmsg("the views of video \"%s\" would exceed bigint", TextDatumGetCString(PG_GETARG_DATUM(2))),
                        errhint("Correct the video's views downwards with topk.correct.")));
    PG_RETURN_INT64(sum);
}

}  // namespace topk
