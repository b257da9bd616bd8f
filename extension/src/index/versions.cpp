// Reading versions and HOT chains from table pages.
#include "versions.h"

#include "toasted.h"

namespace topk {

namespace {

using Roots = std::array<OffsetNumber, MaxHeapTuplesPerPage>;

void lock_heap_page(Relation heap, BlockNumber block, Buffer* buffer) {
    *buffer = ReadBuffer(heap, block);
    LockBuffer(*buffer, BUFFER_LOCK_SHARE);
}

OffsetNumber root_on_page(Relation heap, const Roots& roots, ItemPointerData tid) {
    const OffsetNumber root = roots[ItemPointerGetOffsetNumber(&tid) - 1];
    if (!OffsetNumberIsValid(root))
        ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED),
                        errmsg("heap-only tuple (%u,%u) of table \"%s\" has no root", ItemPointerGetBlockNumber(&tid),
                               ItemPointerGetOffsetNumber(&tid), RelationGetRelationName(heap))));
    return root;
}

bool tuple_at(Relation heap, Page page, BlockNumber block, OffsetNumber offset, HeapTuple tuple) {
    const ItemId line = PageGetItemId(page, offset);
    if (!ItemIdIsNormal(line)) return false;
    tuple->t_data = reinterpret_cast<HeapTupleHeader>(PageGetItem(page, line));
    tuple->t_len = ItemIdGetLength(line);
    tuple->t_tableOid = RelationGetRelid(heap);
    ItemPointerSet(&tuple->t_self, block, offset);
    return true;
}

/// A copy of the higher of two keys, kept in the current context.
void raise_to(OpenIndex& index, IndexTuple* kept, IndexTuple item) {
    if (*kept == nullptr || above(index, key_in(index, item), key_in(index, *kept))) *kept = item;
}

void add_version(OpenIndex& index, std::uint64_t hash, IndexTuple entry, HeapTuple tuple, Buffer buffer, RowState* state) {
    TransactionId dead_after = InvalidTransactionId;
    const HTSV_Result status = HeapTupleSatisfiesVacuumHorizon(tuple, buffer, &dead_after);
    if (status == HEAPTUPLE_DEAD) return;
    std::array<Datum, INDEX_MAX_KEYS> values;
    std::array<bool, INDEX_MAX_KEYS> nulls;
    index_values(index, tuple, values.data(), nulls.data());
    IndexTuple item = entry;
    // Nothing may be fetched from a TOAST table under the index page's lock.
    const bool readable = [&] {
        for (int column = 0; column < index.groups; ++column)
            if (!nulls[column] && is_external(index, column, values[column])) return false;
        return nulls[index.groups] || !is_external(index, index.groups, values[index.groups]);
    }();
    if (readable) {
        if (hash_group(index, values.data(), nulls.data()) != hash) return;
        item = make_item(index, hash, key_of(index, &values[index.groups], &nulls[index.groups]));
    }
    if (status != HEAPTUPLE_RECENTLY_DEAD) {
        raise_to(index, &state->current, item);
        return;
    }
    const std::uint64_t xid = full_xid(dead_after);
    state->low = state->superseded == nullptr ? xid : std::min(state->low, xid);
    state->high = state->superseded == nullptr ? xid : std::max(state->high, xid);
    raise_to(index, &state->superseded, item);
}

/// Follows a HOT chain on a share-locked page.
void walk_chain(OpenIndex& index, std::uint64_t hash, IndexTuple entry, Buffer buffer, RowState* state) {
    Page page = BufferGetPage(buffer);
    const BlockNumber block = ItemPointerGetBlockNumber(&entry->t_tid);
    OffsetNumber offset = ItemPointerGetOffsetNumber(&entry->t_tid);
    TransactionId superseder = InvalidTransactionId;
    bool at_start = true;
    while (OffsetNumberIsValid(offset) && offset <= PageGetMaxOffsetNumber(page)) {
        const ItemId line = PageGetItemId(page, offset);
        if (at_start && ItemIdIsRedirected(line)) {
            offset = ItemIdGetRedirect(line);
            at_start = false;
            continue;
        }
        HeapTupleData tuple;
        if (!tuple_at(index.heap, page, block, offset, &tuple)) return;
        if (at_start && HeapTupleHeaderIsHeapOnly(tuple.t_data)) return;  // the root's line pointer was re-used
        if (TransactionIdIsValid(superseder) && !TransactionIdEquals(superseder, HeapTupleHeaderGetXmin(tuple.t_data))) return;
        add_version(index, hash, entry, &tuple, buffer, state);
        if (!HeapTupleIsHotUpdated(&tuple)) return;
        superseder = HeapTupleHeaderGetUpdateXid(tuple.t_data);
        offset = ItemPointerGetOffsetNumber(&tuple.t_data->t_ctid);
        at_start = false;
    }
}

}  // namespace

std::uint64_t full_xid(TransactionId xid) {
    const FullTransactionId next = ReadNextFullTransactionId();
    std::uint64_t full = (U64FromFullTransactionId(next) & ~std::uint64_t{0xFFFFFFFF}) | xid;
    if (full > U64FromFullTransactionId(next) && full >= (std::uint64_t{1} << 32)) full -= std::uint64_t{1} << 32;
    return full;
}

void index_values(const OpenIndex& index, HeapTuple tuple, Datum* values, bool* nulls) {
    const int2vector& columns = index.relation->rd_index->indkey;
    for (int i = 0; i < index.groups + index.keys; ++i)
        values[i] = heap_getattr(tuple, columns.values[i], RelationGetDescr(index.heap), &nulls[i]);
}

bool read_values(const OpenIndex& index, const Version& version, int columns, Datum* values, bool* nulls) {
    index_values(index, version.tuple, values, nulls);
    for (int column = 0; column < columns && version.may_vanish; ++column) {
        if (nulls[column] || !is_external(index, column, values[column])) continue;
        values[column] = fetch_stored(values[column]);
        if (values[column] == 0) return false;
    }
    return true;
}

ItemPointerData root_of(Relation heap, ItemPointerData tid) {
    if (!kSummarizing) return tid;  // every version has index entries of its own
#ifdef TOPK_TEST_HEAP_ONLY_TID
    return tid;
#endif
    Buffer buffer;
    lock_heap_page(heap, ItemPointerGetBlockNumber(&tid), &buffer);
    Page page = BufferGetPage(buffer);
    HeapTupleData tuple;
    if (tuple_at(heap, page, ItemPointerGetBlockNumber(&tid), ItemPointerGetOffsetNumber(&tid), &tuple) &&
        HeapTupleHeaderIsHeapOnly(tuple.t_data)) {
        Roots roots;
        heap_get_root_tuples(page, roots.data());
        ItemPointerSetOffsetNumber(&tid, root_on_page(heap, roots, tid));
    }
    UnlockReleaseBuffer(buffer);
    return tid;
}

ItemPointerData RootMap::root_of(Relation heap, ItemPointerData tid) {
    if (block != ItemPointerGetBlockNumber(&tid)) {
        Buffer buffer;
        lock_heap_page(heap, ItemPointerGetBlockNumber(&tid), &buffer);
        heap_get_root_tuples(BufferGetPage(buffer), roots.data());
        UnlockReleaseBuffer(buffer);
        block = ItemPointerGetBlockNumber(&tid);
    }
    ItemPointerSetOffsetNumber(&tid, root_on_page(heap, roots, tid));
    return tid;
}

bool is_within_heap(OpenIndex& index, ItemPointerData tid) {
    const BlockNumber block = ItemPointerGetBlockNumber(&tid);
    // Nobody truncates the table while a statement has it open.
    if (block >= index.heap_pages) index.heap_pages = RelationGetNumberOfBlocks(index.heap);
    return block < index.heap_pages;
}

void prefetch_rows(OpenIndex& index, const ItemList& items) {
    for (IndexTuple item : items)
        if (is_entry(item) && is_within_heap(index, item->t_tid)) PrefetchBuffer(index.heap, MAIN_FORKNUM, tid_block(item));
}

RowState row_state(OpenIndex& index, std::uint64_t hash, IndexTuple entry) {
    RowState state = {};
    if (!is_within_heap(index, entry->t_tid)) return state;
    Buffer buffer;
    lock_heap_page(index.heap, ItemPointerGetBlockNumber(&entry->t_tid), &buffer);
    walk_chain(index, hash, entry, buffer, &state);
    UnlockReleaseBuffer(buffer);
    return state;
}

PhysicalScan::PhysicalScan(const OpenIndex& index, BufferAccessStrategy strategy)
    : index_(index),
      strategy_(strategy),
      pages_(RelationGetNumberOfBlocks(index.heap)),
      versions_(static_cast<Version*>(palloc(MaxHeapTuplesPerPage * sizeof(Version)))) {}

bool PhysicalScan::next_page(std::span<Version>* versions) {
    if (block_ >= pages_) return false;
    Buffer buffer = ReadBufferExtended(index_.heap, MAIN_FORKNUM, block_, RBM_NORMAL, strategy_);
    LockBuffer(buffer, BUFFER_LOCK_SHARE);
    Page page = BufferGetPage(buffer);
    Roots roots;
    heap_get_root_tuples(page, roots.data());
    std::size_t count = 0;
    for (OffsetNumber offset = FirstOffsetNumber; offset <= PageGetMaxOffsetNumber(page); ++offset) {
        HeapTupleData tuple;
        TransactionId dead_after = InvalidTransactionId;
        if (!tuple_at(index_.heap, page, block_, offset, &tuple)) continue;
        const HTSV_Result status = HeapTupleSatisfiesVacuumHorizon(&tuple, buffer, &dead_after);
        // A heap-only tuple without a root was cut off its chain: no scan finds it, whatever its age.
        if (status == HEAPTUPLE_DEAD || !OffsetNumberIsValid(roots[offset - 1])) continue;
        Version& version = versions_[count];
        ItemPointerSet(&version.root, block_, roots[offset - 1]);
        version.tuple = heap_copytuple(&tuple);
        version.superseded_by = status == HEAPTUPLE_RECENTLY_DEAD ? full_xid(dead_after) : 0;
        version.live = status == HEAPTUPLE_LIVE || status == HEAPTUPLE_INSERT_IN_PROGRESS;
        version.may_vanish = status == HEAPTUPLE_RECENTLY_DEAD || status == HEAPTUPLE_INSERT_IN_PROGRESS;
        ++count;
    }
    UnlockReleaseBuffer(buffer);
    ++block_;
    *versions = {versions_, count};
    return true;
}

}  // namespace topk
