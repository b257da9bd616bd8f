// The reverse of growing: group pages that emptied are joined, and a group that has become small moves back into its bucket. Each step is
// one WAL record, and only complete pages take part, so that nothing is promised that does not hold.
#include "directory.h"
#include "refill.h"

namespace topk {

namespace {

bool is_complete(Page page) {
    return find_role(page, Role::kReadThreshold) == nullptr && find_role(page, Role::kInsertThreshold) == nullptr &&
           item_tail(page)->histories == 0;
}

std::size_t bytes_on(Page page) {
    return kItemSpace - PageGetExactFreeSpace(page);
}

/// Joins a slot's page of this depth with the one that it once split from, if both fit half a page. Requires: the head exclusively locked.
void join(OpenIndex& index, Buffer head, std::uint64_t hash, std::size_t slot, int depth) {
    const std::size_t bit = std::size_t{1} << (depth - 1);
    const BlockNumber head_block = BufferGetBlockNumber(head);
    const BlockNumber low_block = head_page(BufferGetPage(head))->slots[slot];
    const BlockNumber high_block = head_page(BufferGetPage(head))->slots[slot | bit];
    if (low_block == high_block) return;  // it did not split so far
    Buffer low, high;
    if (!lock_group_page(index, low_block, head_block, hash, BUFFER_LOCK_EXCLUSIVE, &low))
        refuse_damage(index, low_block, "it is not its group's");
    if (!lock_group_page(index, high_block, head_block, hash, BUFFER_LOCK_EXCLUSIVE, &high))
        refuse_damage(index, high_block, "it is not its group's");
    Page low_page = BufferGetPage(low), high_page = BufferGetPage(high);
    ItemTail tail = *item_tail(low_page);
    const ItemTail other = *item_tail(high_page);
    const bool joined = tail.depth == depth && other.depth == depth && (tail.cover | bit) == other.cover && (tail.cover & bit) == 0 &&
                        is_complete(low_page) && is_complete(high_page) && bytes_on(low_page) + bytes_on(high_page) <= kItemSpace / 2;
    if (joined) {
        --tail.depth;
        ItemList items = copy_items(low_page);
        for (IndexTuple item : copy_items(high_page)) items.add(item);
        sort_best_first(index, items);
        Change change(index);
        HeadPage* content = head_page(change.edit(head));
        std::replace(content->slots, content->slots + (std::size_t{1} << content->depth), high_block, low_block);
        ++content->generation;
        write_items(change.edit(low), tail, items);
        init_contents_page(change.edit(high, true), PageKind::kFree, 0);
        change.commit();
    }
    UnlockReleaseBuffer(high);
    UnlockReleaseBuffer(low);
    if (joined) RecordFreeIndexPage(index.relation, high_block);
}

/// Joins what can be joined, the deepest pages first: what was joined may be joined again. The head's depth follows.
void join_pages(OpenIndex& index, Buffer head, std::uint64_t hash) {
    const HeadPage* content = head_page(BufferGetPage(head));
    int depth = content->depth;
    for (int bits = depth; bits > 0; --bits)
        for (std::size_t slot = 0; slot < std::size_t{1} << (bits - 1); ++slot) join(index, head, hash, slot, bits);
    const auto same_halves = [content](int half_bits) {
        const std::size_t half = std::size_t{1} << half_bits;
        return std::equal(content->slots, content->slots + half, content->slots + half);
    };
    while (depth > 0 && same_halves(depth - 1)) --depth;
    if (depth == content->depth) return;
    Change change(index);
    HeadPage* fresh = head_page(change.edit(head));
    fresh->depth = static_cast<std::uint16_t>(depth);
    ++fresh->generation;
    change.commit();
}

/// Moves the entries of a group's only page into its bucket. Requires: bucket and head exclusively locked.
void demote(OpenIndex& index, Buffer bucket, Buffer head, std::uint64_t hash) {
    const HeadPage* content = head_page(BufferGetPage(head));
    const BlockNumber head_block = BufferGetBlockNumber(head);
    const BlockNumber block = content->slots[0];
    Buffer group;
    if (content->depth != 0) return;
    if (!lock_group_page(index, block, head_block, hash, BUFFER_LOCK_EXCLUSIVE, &group))
        refuse_damage(index, block, "it is not its group's");
    Page page = BufferGetPage(group), bucket_page = BufferGetPage(bucket);
    const OffsetNumber pointer = find_pointer(bucket_page, hash);
    const bool fits = is_complete(page) && bytes_on(page) <= kItemSpace / 4 && bytes_on(page) <= PageGetExactFreeSpace(bucket_page);
    const bool ours = pointer != InvalidOffsetNumber && tid_block(item_at(bucket_page, pointer)) == head_block;
    if (fits && ours) {
        const ItemTail tail = *item_tail(bucket_page);
        ItemList items;
        for (IndexTuple item : copy_items(bucket_page))
            if (!is_pointer(item) || hash_in(item) != hash) items.add(item);
        for (IndexTuple item : copy_items(page)) items.add(item);
        Change change(index);
        write_items(change.edit(bucket), tail, items);
        init_contents_page(change.edit(head, true), PageKind::kFree, 0);
        init_contents_page(change.edit(group, true), PageKind::kFree, 0);
        change.commit();
    }
    UnlockReleaseBuffer(group);
    if (fits && ours) {
        RecordFreeIndexPage(index.relation, block);
        RecordFreeIndexPage(index.relation, head_block);
    }
}

}  // namespace

void shrink_group(OpenIndex& index, const GroupHead& group) {
    MemoryContext caller = MemoryContextSwitchTo(index.scratch);
    bool has_complete = false;  // most large groups have none: all their pages have thresholds
    visit_pages(index, group, [&](Page page) {
        has_complete = is_complete(page);
        return !has_complete;
    });
    if (has_complete) {
        Buffer bucket = lock_bucket(index, group.hash, BUFFER_LOCK_EXCLUSIVE);
        Buffer head;
        if (lock_head(index, group.head, group.hash, BUFFER_LOCK_EXCLUSIVE, &head)) {
            join_pages(index, head, group.hash);
            demote(index, bucket, head, group.hash);
            UnlockReleaseBuffer(head);
        }
        UnlockReleaseBuffer(bucket);
    }
    MemoryContextSwitchTo(caller);
    MemoryContextReset(index.scratch);
}

}  // namespace topk
