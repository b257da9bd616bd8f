// The batch is read by a statement, whichever way it is stored.
#include "roll_up_rows.h"

#include "upsert.h"

namespace topk {

namespace {

/// Ids can be much longer than those of flushes, if somebody wrote the rows by hand: so many bytes of them are stored at once.
constexpr std::size_t kSliceBytes = 16 << 20;

/// Rows come in the order of the primary key, whatever the planner thinks of reading all and sorting them: it would for every batch.
void plan_for_order() {
    constexpr std::array<const char*, 2> kSettings[] = {{"enable_seqscan", "off"},
                                                        {"enable_bitmapscan", "off"},
                                                        {"enable_sort", "off"},
                                                        {"jit", "off"},
                                                        {"max_parallel_workers_per_gather", "0"}};
    for (const auto& [name, value] : kSettings) set_config_option(name, value, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
}

/// Some of the rows of the last result: an id, and views.
struct Slice {
    std::uint64_t first;
    std::uint64_t end;

    std::uint64_t size() const { return end - first; }
    Datum id(std::uint64_t row) const { return cell(first + row, 1).value; }
    Cell views(std::uint64_t row) const { return cell(first + row, 2); }
};

Slice slice_from(std::uint64_t first, std::uint64_t count) {
    Slice slice = {first, first};
    for (std::size_t bytes = 0; slice.end < count && bytes < kSliceBytes; ++slice.end)
        bytes += toast_raw_datum_size(cell(slice.end, 1).value);
    return slice;
}

std::span<const VideoViews> rows_of(const Slice& slice) {
    auto* rows = static_cast<VideoViews*>(palloc(slice.size() * sizeof(VideoViews)));
    for (std::uint64_t row = 0; row < slice.size(); ++row) {
        const Cell views = slice.views(row);
        rows[row] = {DatumGetTextPP(slice.id(row)), views.is_null ? 0 : DatumGetInt64(views.value)};
    }
    return {rows, slice.size()};
}

/// Returns how many rows were stored.
std::uint64_t store_by_statement(const Counter& counter, const Target& target, const Slice& slice) {
    auto* ids = static_cast<Datum*>(palloc(2 * slice.size() * sizeof(Datum)));
    Datum* views = ids + slice.size();
    auto* nulls = static_cast<bool*>(palloc(slice.size()));
    for (std::uint64_t row = 0; row < slice.size(); ++row) {
        ids[row] = slice.id(row);
        views[row] = slice.views(row).value;
        nulls[row] = slice.views(row).is_null;
    }
    int size[] = {static_cast<int>(slice.size())};
    int first[] = {1};
    ArrayType* id_array = construct_array(ids, size[0], TEXTOID, -1, false, TYPALIGN_INT);
    ArrayType* views_array =
        construct_md_array(views, nulls, 1, size, first, INT8OID, sizeof(std::int64_t), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE);
    const char* sql = psprintf(
        "INSERT INTO %s AS r (window_start, video_id, views) SELECT $1, b.* FROM unnest($2, $3) b (video_id, views)"
        " ON CONFLICT (window_start, video_id) DO UPDATE SET views = topk.add_views(r.views, EXCLUDED.views, r.video_id)",
        table_name(counter, target.table));
    return run_once(sql,
                    {time_value(target.window), {TEXTARRAYOID, PointerGetDatum(id_array)}, {INT8ARRAYOID, PointerGetDatum(views_array)}},
                    Snapshot::kFresh);
}

/// True if that took a subtransaction.
bool store(const Counter& counter, const Target& target, const Slice& slice) {
    if (upsert_rows(target.table, target.window, rows_of(slice))) return slice.size() > kFewRows;
    const std::uint64_t stored = store_by_statement(counter, target, slice);
    if (stored != slice.size())
        ereport(ERROR, (errcode(ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION),
                        errmsg("only " UINT64_FORMAT " of " UINT64_FORMAT " rows were stored in a roll-up of counter \"%s\"", stored,
                               slice.size(), counter.name),
                        errhint("Look for a trigger on the counter's tables that drops rows.")));
    return false;
}

/// Resets the current memory context; the last id is of `keep`.
Batch add_rows(const Counter& counter, const Source& source, const Target& target, std::int32_t limit, MemoryContext keep) {
    // The casts are for a table whose columns somebody has changed.
    const char* sql = psprintf(
        "SELECT s.video_id::text, s.views::int8 FROM %s s"
        " WHERE s.window_start = $1 AND s.video_id > $2 AND ($3 IS NULL OR s.video_id <= $3) ORDER BY s.video_id LIMIT %d",
        table_name(counter, source.table), limit);
    const std::uint64_t count =
        run_once(sql, {time_value(source.window), text_value(source.after), text_value(source.through)}, Snapshot::kFresh);
    SPITupleTable* result = SPI_tuptable;
    Batch batch = {static_cast<std::int64_t>(count), nullptr, 0};
    if (count > 0) batch.last = MemoryContextStrdup(keep, text_cell(count - 1, 1));
    for (std::uint64_t row = 0; row < count;) {
        MemoryContextReset(CurrentMemoryContext);
        SPI_tuptable = result;
        const Slice slice = slice_from(row, count);
        if (store(counter, target, slice)) ++batch.subtransactions;
        row = slice.end;
    }
    SPI_freetuptable(result);
    return batch;
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
