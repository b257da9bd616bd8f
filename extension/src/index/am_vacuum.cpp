// VACUUM. Entries are hints: one that names a removed row does no harm, so bulk deletion is house-keeping, and re-used TIDs need no care.
#include "am.h"
#include "group.h"
#include "populate.h"
#include "refill.h"

namespace topk {

namespace {

IndexBulkDeleteResult* result_or_new(IndexBulkDeleteResult* result) {
    if (result == nullptr) result = static_cast<IndexBulkDeleteResult*>(palloc0(sizeof(IndexBulkDeleteResult)));
    result->estimated_count = true;
    return result;
}

/// Removes the entries of dead rows from an item page. How many.
std::size_t remove_dead(OpenIndex& index, Buffer buffer, IndexBulkDeleteCallback callback, void* state) {
    Page page = BufferGetPage(buffer);
    const ItemList items = copy_items(page);
    ItemList kept;
    for (IndexTuple item : items)
        if (!is_entry(item) || !callback(&item->t_tid, state)) kept.add(item);
    if (kept.size() == items.size()) return 0;
    const ItemTail tail = *item_tail(page);
    Change change(index);
    write_items(change.edit(buffer), tail, kept);
    change.commit();
    return items.size() - kept.size();
}

/// Records pages that were given back, or made just before a crash and never used; returns how many there are.
BlockNumber collect_free(OpenIndex& index, BufferAccessStrategy strategy) {
    BlockNumber found = 0;
    const BlockNumber blocks = RelationGetNumberOfBlocks(index.relation);
    for (BlockNumber block = kFirstBucketBlock; block < blocks; ++block) {
        vacuum_point();
        Buffer buffer = ReadBufferExtended(index.relation, MAIN_FORKNUM, block, RBM_NORMAL, strategy);
        LockBuffer(buffer, BUFFER_LOCK_SHARE);
        const bool is_free = is_unused(BufferGetPage(buffer));
        UnlockReleaseBuffer(buffer);
        if (!is_free) continue;
        RecordFreeIndexPage(index.relation, block);
        ++found;
    }
    return found;
}

/// CREATE INDEX CONCURRENTLY asks which rows it need not insert again, at a time when no version comes any more past the index. Those that
/// did since it was built are inserted now, also what has been superseded: a standby's snapshot may be as old.
void validate(Relation relation, IndexBulkDeleteCallback callback, void* state) {
    Relation heap = table_open(IndexGetRelation(RelationGetRelid(relation), false), NoLock);
    insert_all_versions(*open_index(relation, heap), callback, state);
    table_close(heap, NoLock);
}

}  // namespace

extern "C" IndexBulkDeleteResult* topk_bulkdelete(IndexVacuumInfo* info, IndexBulkDeleteResult* result, IndexBulkDeleteCallback callback,
                                                  void* state) {
    result = result_or_new(result);
    if (!info->index->rd_index->indisvalid) {
        if (info->report_progress) validate(info->index, callback, state);
        return result;  // VACUUM of what a failed CREATE INDEX CONCURRENTLY left may as well keep its entries, which are hints
    }
    OpenIndex* index = open_index(info->index, nullptr);
    const BlockNumber blocks = RelationGetNumberOfBlocks(info->index);
    for (BlockNumber block = kFirstBucketBlock; block < blocks; ++block) {
        vacuum_point();
        MemoryContext caller = MemoryContextSwitchTo(index->scratch);
        Buffer buffer = ReadBufferExtended(info->index, MAIN_FORKNUM, block, RBM_NORMAL, info->strategy);
        LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
        if (!PageIsNew(BufferGetPage(buffer))) {
            check_page(*index, buffer);
            const PageKind kind = page_kind(BufferGetPage(buffer));
            if (kind == PageKind::kBucket || kind == PageKind::kGroup)
                result->tuples_removed += static_cast<double>(remove_dead(*index, buffer, callback, state));
        }
        UnlockReleaseBuffer(buffer);
        MemoryContextSwitchTo(caller);
        MemoryContextReset(index->scratch);
    }
    result->num_pages = blocks;
    return result;
}

extern "C" IndexBulkDeleteResult* topk_vacuumcleanup(IndexVacuumInfo* info, IndexBulkDeleteResult* result) {
    if (info->analyze_only) return result;
    result = result_or_new(result);
    Relation heap = table_open(IndexGetRelation(RelationGetRelid(info->index), false), NoLock);
    OpenIndex* index = open_index(info->index, heap);
    const std::span<GroupHead> heads = list_heads(*index);
    auto* poor = static_cast<GroupHead*>(MemoryContextAllocHuge(CurrentMemoryContext, (heads.size() + 1) * sizeof(GroupHead)));
    std::size_t poor_count = 0;
    for (const GroupHead& group : heads) {
        vacuum_point();
        if (needs_refill(*index, group) && is_refill_due(*index, group)) poor[poor_count++] = group;
    }
    refill(*index, {poor, poor_count}, info->strategy);
    for (const GroupHead& group : heads) {
        vacuum_point();
        shrink_group(*index, group);
    }
    result->pages_free = collect_free(*index, info->strategy);
    result->num_pages = RelationGetNumberOfBlocks(info->index);
    result->num_index_tuples = info->num_heap_tuples;
    IndexFreeSpaceMapVacuum(info->index);
    table_close(heap, NoLock);
    return result;
}

}  // namespace topk
