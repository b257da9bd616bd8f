// One row at a time, but for the insertion of many.
#include "upsert_table.h"

#include "list_table.h"

namespace topk {

namespace {

constexpr AttrNumber kViewsColumn = 3;

/// Where an int8 that follows a timestamptz and a text is in a row without NULLs.
std::int64_t* views_in(HeapTuple row) {
    char* data = reinterpret_cast<char*>(row->t_data) + row->t_data->t_hoff;
    const char* id = data + sizeof(TimestampTz);
    return reinterpret_cast<std::int64_t*>(data + DOUBLEALIGN(sizeof(TimestampTz) + VARSIZE_ANY(id)));
}

[[noreturn]] void refuse_sum(Relation table, const Delta& delta) {
    const char* window = pstrdup(timestamptz_to_str(delta.window));
    ereport(ERROR, (errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
                    errmsg("the views of video \"%s\" would exceed bigint", text_to_cstring(delta.id)),
                    errdetail("It is the sum for window_start %s in \"%s\".", window, RelationGetRelationName(table)),
                    errhint("Correct the video's views downwards with topk.correct.")));
    pg_unreachable();
}

/// Whether it is the row that the delta is for. With old_snapshot_threshold (before 17) VACUUM need not wait for the snapshot, and the
/// place that a copied entry points to may have become another row's.
bool is_of(HeapTuple row, const Delta& delta) {
    const char* data = reinterpret_cast<char*>(row->t_data) + row->t_data->t_hoff;
    const text* id = DatumGetTextPP(PointerGetDatum(data + sizeof(TimestampTz)));
    const std::size_t size = VARSIZE_ANY_EXHDR(delta.id);
    return *reinterpret_cast<const TimestampTz*>(data) == delta.window && VARSIZE_ANY_EXHDR(id) == size &&
           memcmp(VARDATA_ANY(id), VARDATA_ANY(delta.id), size) == 0;
}

bool is_plain(Relation index) {
    return heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, nullptr) &&
           heap_attisnull(index->rd_indextuple, Anum_pg_index_indexprs, nullptr) && !index->rd_index->indisunique &&
           !index->rd_index->indisexclusion;
}

}  // namespace

const char* UpsertTable::open(Relation table) {
    table_ = table;
    state_ = CreateExecutorState();
    MemoryContext caller = MemoryContextSwitchTo(state_->es_query_cxt);
    info_ = makeNode(ResultRelInfo);
    InitResultRelInfo(info_, table, 0, nullptr, 0);
    ExecOpenIndices(info_, true);
    key_number_ = -1;
    const bool is_ours = find_indexes();
    if (is_ours) {
        key_index_ = info_->ri_IndexRelationDescs[key_number_];
        key_indexes_ = list_make1_oid(RelationGetRelid(key_index_));
        walk_.open(table, key_index_);
        found_ = table_slot_create(table, nullptr);
        new_row_ = table_slot_create(table, nullptr);
        buffer_ = InvalidBuffer;
        batch_ = nullptr;
    }
    MemoryContextSwitchTo(caller);
    if (is_ours) return nullptr;
    ExecCloseIndices(info_);
    FreeExecutorState(state_);
    return key_number_ < 0 ? "a partition's or roll-up's primary key is not ours"
                           : "a partition or roll-up has other unique indexes, or indexes on expressions";
}

/// The primary key, and none but plain indexes beside it.
bool UpsertTable::find_indexes() {
    const Oid key = primary_key_index(table_);
    bool others_plain = true;
    for (int i = 0; i < info_->ri_NumIndices; ++i) {
        Relation index = info_->ri_IndexRelationDescs[i];
        if (RelationGetRelid(index) != key)
            others_plain = others_plain && is_plain(index);
        else if (is_row_key(index))
            key_number_ = i;
    }
    return key_number_ >= 0 && others_plain;
}

void UpsertTable::close() {
    ExecDropSingleTupleTableSlot(found_);
    ExecDropSingleTupleTableSlot(new_row_);
    for (std::size_t i = 0; batch_ != nullptr && i < kMaxRows; ++i) ExecDropSingleTupleTableSlot(batch_[i]);
    ExecCloseIndices(info_);
    FreeExecutorState(state_);
}

void UpsertTable::begin() {
    command_ = GetCurrentCommandId(true);
    walk_.restart();
}

/// Lets go of all buffers, also of those that indexes keep pinned: they belong to the subtransaction.
void UpsertTable::end() {
    for (int i = 0; i < info_->ri_NumIndices; ++i) end_insertions(info_->ri_IndexRelationDescs[i], info_->ri_IndexRelationInfo[i]);
    let_go_of_page();
    ExecClearTuple(found_);
    ExecClearTuple(new_row_);
}

void UpsertTable::let_go_of_page() {
    if (BufferIsValid(buffer_)) ReleaseBuffer(buffer_);
    buffer_ = InvalidBuffer;
}

bool UpsertTable::add(const Delta& delta) {
    HeapTuple row = find(delta);
    if (row == nullptr) return false;
    if (update(row, delta)) return true;
    // Somebody has changed or deleted it since the snapshot. VACUUM need not wait for the page as long as we may wait for him.
    let_go_of_page();
    add_carefully(delta);
    return true;
}

/// The version of the row that the snapshot sees; null if it sees none. Valid until the next call.
HeapTuple UpsertTable::find(const Delta& delta) {
    const int entries = walk_.find(delta.window, delta.id);
    if (entries == KeyWalk::kUnknown) return fetch_by_scan(delta);
    for (int i = 0; i < entries; ++i)
        if (HeapTuple row = fetch(walk_.tids()[i]); row != nullptr && is_of(row, delta)) return row;
    return nullptr;
}

/// The same of the row that an entry points to.
HeapTuple UpsertTable::fetch(ItemPointerData tid) {
    read(ItemPointerGetBlockNumber(&tid));
    LockBuffer(buffer_, BUFFER_LOCK_SHARE);
    const bool is_seen = heap_hot_search_buffer(&tid, table_, buffer_, GetActiveSnapshot(), &in_buffer_, nullptr, true);
    LockBuffer(buffer_, BUFFER_LOCK_UNLOCK);
    if (!is_seen) return nullptr;
    in_buffer_.t_self = tid;
    return &in_buffer_;
}

/// An index scan prunes whatever page is emptier than the fillfactor wants, which all pages are that were filled once: that would be most
/// of the cost. Here a page is pruned when there is room for a few more versions only.
void UpsertTable::read(BlockNumber block) {
    constexpr Size kLittleRoom = BLCKSZ / 16;
    if (BufferIsValid(buffer_) && BufferGetBlockNumber(buffer_) == block) return;
    buffer_ = ReleaseAndReadBuffer(buffer_, table_, block);
    // A guess without a lock, as heap_page_prune_opt makes one, too.
    Page page = BufferGetPage(buffer_);
    if (PageIsFull(page) || PageGetHeapFreeSpace(page) < kLittleRoom) heap_page_prune_opt(table_, buffer_);
}

HeapTuple UpsertTable::fetch_by_scan(const Delta& delta) {
    ScanKeyData key[2];
    fix_column(&key[0], 1, TIMESTAMPTZOID, TimestampTzGetDatum(delta.window));
    fix_column(&key[1], 2, TEXTOID, PointerGetDatum(delta.id));
    IndexScanDesc scan = begin_index_scan(table_, key_index_, GetActiveSnapshot(), 2);
    index_rescan(scan, key, 2, nullptr, 0);
    const bool is_there = index_getnext_slot(scan, ForwardScanDirection, found_);
    index_endscan(scan);
    return is_there ? ExecFetchSlotHeapTuple(found_, false, nullptr) : nullptr;
}

HeapTuple UpsertTable::added(HeapTuple old, const Delta& delta) const {
    if (HeapTupleHasNulls(old))
        ereport(ERROR, (errcode(ERRCODE_NOT_NULL_VIOLATION), errmsg("a row of \"%s\" has NULL views", RelationGetRelationName(table_)),
                        errhint("Validate the table's constraints.")));
    HeapTuple version = heap_copytuple(old);
    std::int64_t* views = views_in(version);
    if (pg_add_s64_overflow(*views, delta.views, views)) refuse_sum(table_, delta);
    return version;
}

/// Replaces a version. False if it is not the newest any more.
bool UpsertTable::update(HeapTuple old, const Delta& delta) {
    HeapTuple version = added(old, delta);
    NewEntries entries;
    const TM_Result result = update_tuple(table_, &old->t_self, version, command_, &entries);
    switch (result) {
        case TM_Ok:
            if (entries != NewEntries::kNone) enter(version, entries == NewEntries::kSummarizing, UNIQUE_CHECK_YES, true);
            break;
        case TM_Updated:
        case TM_Deleted:
            break;
        default:
            elog(ERROR, "unexpected result %d of an update of \"%s\"", static_cast<int>(result), RelationGetRelationName(table_));
    }
    heap_freetuple(version);
    return result == TM_Ok;
}

/// Enters a version into the indexes, the key first. False if the key is another row's, and the check is a partial one.
bool UpsertTable::enter(HeapTuple row, bool only_summarizing, IndexUniqueCheck check, bool is_update) {
    const char* id = reinterpret_cast<char*>(row->t_data) + row->t_data->t_hoff + sizeof(TimestampTz);
    const Datum columns[3] = {TimestampTzGetDatum(*reinterpret_cast<const TimestampTz*>(id - sizeof(TimestampTz))), PointerGetDatum(id),
                              Int64GetDatum(*views_in(row))};
    const auto enter_into = [&](int number, IndexUniqueCheck unique, bool unchanged) {
        IndexInfo* index = info_->ri_IndexRelationInfo[number];
        Datum values[INDEX_MAX_KEYS];
        bool nulls[INDEX_MAX_KEYS] = {};
        for (int i = 0; i < index->ii_NumIndexAttrs; ++i) values[i] = columns[index->ii_IndexAttrNumbers[i] - 1];
        return index_insert(info_->ri_IndexRelationDescs[number], values, nulls, &row->t_self, table_, unique, unchanged, index);
    };
    if (!only_summarizing && !enter_into(key_number_, check, is_update) && check == UNIQUE_CHECK_PARTIAL) return false;
    for (int i = 0; i < info_->ri_NumIndices; ++i) {
        if (i == key_number_ || !info_->ri_IndexRelationInfo[i]->ii_ReadyForInserts) continue;
        if (only_summarizing && !is_summarizing(info_->ri_IndexRelationDescs[i])) continue;
        const IndexInfo* index = info_->ri_IndexRelationInfo[i];
        const bool has_views =
            std::count(index->ii_IndexAttrNumbers, index->ii_IndexAttrNumbers + index->ii_NumIndexAttrs, kViewsColumn) > 0;
        enter_into(i, UNIQUE_CHECK_NO, is_update && !has_views);
    }
    return true;
}

void UpsertTable::add_carefully(const Delta& delta) {
    while (!try_carefully(delta)) CHECK_FOR_INTERRUPTS();
}

HeapTuple UpsertTable::make_row(const Delta& delta) const {
    Datum values[3] = {TimestampTzGetDatum(delta.window), PointerGetDatum(delta.id), Int64GetDatum(delta.views)};
    bool nulls[3] = {};
    return heap_form_tuple(RelationGetDescr(table_), values, nulls);
}

/// One round of ON CONFLICT DO UPDATE: locks the row if one is there, so that it can be updated, else inserts it speculatively. False if
/// the row was gone, or there, by then.
bool UpsertTable::try_carefully(const Delta& delta) {
    ItemPointerData there;
    ExecForceStoreHeapTuple(make_row(delta), new_row_, true);
    if (!is_free_key(info_, new_row_, state_, key_indexes_, &there)) {
        TM_FailureData failure;
        const TM_Result result =
            table_tuple_lock(table_, &there, GetActiveSnapshot(), found_, command_, LockTupleNoKeyExclusive, LockWaitBlock, 0, &failure);
        if (result == TM_Updated || result == TM_Deleted) return false;
        if (result != TM_Ok)
            elog(ERROR, "unexpected result %d of a lock in \"%s\"", static_cast<int>(result), RelationGetRelationName(table_));
        return update(ExecFetchSlotHeapTuple(found_, false, nullptr), delta);
    }
    const TransactionId xid = GetCurrentTransactionId();
    const std::uint32_t token = SpeculativeInsertionLockAcquire(xid);
    table_tuple_insert_speculative(table_, new_row_, command_, 0, nullptr, token);
    const bool is_ours = insert_speculative_entries(info_, new_row_, state_, key_indexes_);
    table_tuple_complete_speculative(table_, new_row_, token, is_ours);
    SpeculativeInsertionLockRelease(xid);
    ResetPerTupleExprContext(state_);
    return is_ours;
}

bool UpsertTable::insert(std::span<HeapTuple> rows) {
    if (batch_ == nullptr) {
        batch_ = static_cast<TupleTableSlot**>(MemoryContextAlloc(state_->es_query_cxt, kMaxRows * sizeof(TupleTableSlot*)));
        MemoryContext caller = MemoryContextSwitchTo(state_->es_query_cxt);
        // A copy: references to the relation's own are counted, and would have to end with the subtransaction.
        TupleDesc columns = CreateTupleDescCopy(RelationGetDescr(table_));
        std::generate_n(batch_, kMaxRows, [columns] { return MakeSingleTupleTableSlot(columns, &TTSOpsHeapTuple); });
        MemoryContextSwitchTo(caller);
    }
    for (std::size_t i = 0; i < rows.size(); ++i) ExecStoreHeapTuple(rows[i], batch_[i], true);
    heap_multi_insert(table_, batch_, static_cast<int>(rows.size()), command_, 0, nullptr);
    // What it toasted it stored as another tuple.
    for (std::size_t i = 0; i < rows.size(); ++i) rows[i]->t_self = batch_[i]->tts_tid;
    const bool all_ours = std::all_of(rows.begin(), rows.end(), [this](HeapTuple row) {
        CHECK_FOR_INTERRUPTS();
        return enter(row, false, UNIQUE_CHECK_PARTIAL, false);
    });
    for (std::size_t i = 0; i < rows.size(); ++i) ExecClearTuple(batch_[i]);
    return all_ours;
}

}  // namespace topk
