// Heads and promises; splitting a group page.
#include "group.h"

#include "eviction.h"
#include "versions.h"

namespace topk {

namespace {

/// Halves a group page by the next bit of its rows' hashes, unless somebody else has since it was judged at that depth.
void split_group_page(OpenIndex& index, std::uint64_t hash, BlockNumber head_block, BlockNumber page_block, int bit) {
    Buffer head, group;
    if (!lock_head(index, head_block, hash, BUFFER_LOCK_EXCLUSIVE, &head)) return;
    if (!lock_group_page(index, page_block, head_block, hash, BUFFER_LOCK_EXCLUSIVE, &group)) {
        UnlockReleaseBuffer(head);
        return;
    }
    Page page = BufferGetPage(group);
    if (item_tail(page)->depth != bit) {
        UnlockReleaseBuffer(group);
        UnlockReleaseBuffer(head);
        return;
    }
    Buffer spare = allocate_page(index);
    const Promise promise = read_promise(page);
    ItemTail low = *item_tail(page), high = low;
    low.depth = high.depth = static_cast<std::uint16_t>(bit + 1);
    high.cover |= std::uint64_t{1} << bit;
    ItemList zeros, ones;
    add_promise(promise, &zeros, &low);
    add_promise(promise, &ones, &high);
    for (IndexTuple item : copy_items(page))
        if (is_entry(item)) (hash_root(item->t_tid) & (std::uint64_t{1} << bit) ? ones : zeros).add(item);

    Change change(index);
    HeadPage* slots = head_page(change.edit(head));
    if (slots->depth == bit) {
        std::copy_n(slots->slots, std::size_t{1} << bit, slots->slots + (std::size_t{1} << bit));
        ++slots->depth;
    }
    for (std::uint64_t i = 0; i <= low_bits(slots->depth); ++i)
        if ((i & low_bits(bit + 1)) == high.cover) slots->slots[i] = BufferGetBlockNumber(spare);
    ++slots->generation;
    write_items(change.edit(group), low, zeros);
    write_items(change.edit(spare, true), high, ones);
    change.commit();
    UnlockReleaseBuffer(group);
    UnlockReleaseBuffer(head);
    UnlockReleaseBuffer(spare);
}

/// A copy; null if a page has none. Requires the head locked.
IndexTuple lowest_insert_threshold(OpenIndex& index, std::uint64_t hash, BlockNumber head_block, const HeadPage& head) {
    IndexTuple lowest = nullptr;
    for (BlockNumber block : pages_of(head)) {
        Buffer group;
        if (!lock_group_page(index, block, head_block, hash, BUFFER_LOCK_SHARE, &group))
            refuse_damage(index, block, "it is not its group's");
        IndexTuple bound = find_role(BufferGetPage(group), Role::kInsertThreshold);
        if (bound != nullptr && (lowest == nullptr || above(index, key_in(index, lowest), key_in(index, bound))))
            lowest = CopyIndexTuple(bound);
        UnlockReleaseBuffer(group);
        if (bound == nullptr) return nullptr;
    }
    return lowest;
}

}  // namespace

void init_head(Page page, std::uint64_t hash, BlockNumber group_page) {
    init_contents_page(page, PageKind::kHead, sizeof(HeadPage));
    HeadPage* head = head_page(page);
    head->hash = hash;
    head->generation = pg_prng_uint64(&pg_global_prng_state);
    head->slots[0] = group_page;
}

ItemTail group_tail(std::uint64_t hash, BlockNumber head) {
    ItemTail tail = new_tail(PageKind::kGroup);
    tail.group_hash = hash;
    tail.head = head;
    return tail;
}

IndexTuple make_pointer(OpenIndex& index, std::uint64_t hash, BlockNumber head) {
    Key nothing;
    nothing.open_from = 0;
    IndexTuple item = make_item(index, hash, nothing);
    ItemPointerSetBlockNumber(&item->t_tid, head);
    ItemPointerSetOffsetNumber(&item->t_tid, static_cast<OffsetNumber>(Role::kPointer));
    return item;
}

bool lock_head(OpenIndex& index, BlockNumber block, std::uint64_t hash, int mode, Buffer* buffer) {
    *buffer = lock_page(index, block, mode);
    Page page = BufferGetPage(*buffer);
    if (page_kind(page) == PageKind::kHead && head_page(page)->hash == hash) {
        if (head_page(page)->depth > kSlotBits) refuse_damage(index, block, "its depth is out of bounds");
        return true;
    }
    UnlockReleaseBuffer(*buffer);
    return false;
}

bool lock_group_page(OpenIndex& index, BlockNumber block, BlockNumber head, std::uint64_t hash, int mode, Buffer* buffer) {
    *buffer = lock_page(index, block, mode);
    Page page = BufferGetPage(*buffer);
    if (page_kind(page) == PageKind::kGroup && item_tail(page)->head == head && item_tail(page)->group_hash == hash) {
        if (item_tail(page)->depth > kSlotBits || item_tail(page)->histories > kMaxHistories)
            refuse_damage(index, block, "its tail is out of bounds");
        return true;
    }
    UnlockReleaseBuffer(*buffer);
    return false;
}

std::span<BlockNumber> pages_of(const HeadPage& head) {
    const std::size_t slots = std::size_t{1} << head.depth;
    auto* blocks = static_cast<BlockNumber*>(palloc(slots * sizeof(BlockNumber)));
    std::copy_n(head.slots, slots, blocks);
    std::sort(blocks, blocks + slots);
    return {blocks, static_cast<std::size_t>(std::unique(blocks, blocks + slots) - blocks)};
}

bool may_skip(OpenIndex& index, const HeadPage& head, const Key& key) {
    if (head.skip_size == 0) return false;
    auto* bound = reinterpret_cast<IndexTuple>(const_cast<char*>(head.skip));
    return !above(index, key, key_in(index, bound));
}

Promise read_promise(Page page) {
    Promise promise = {};
    const auto copy = [](IndexTuple item) { return item == nullptr ? nullptr : CopyIndexTuple(item); };
    promise.read = copy(find_role(page, Role::kReadThreshold));
    promise.insert = copy(find_role(page, Role::kInsertThreshold));
    const ItemTail* tail = item_tail(page);
    promise.histories.size = tail->histories;
    for (std::size_t i = 0; i < tail->histories; ++i) {
        const auto role = static_cast<OffsetNumber>(static_cast<std::size_t>(Role::kHistory) + i);
        promise.histories.items[i] = {tail->history[i], copy(find_role(page, role))};
    }
    return promise;
}

void add_promise(const Promise& promise, ItemList* items, ItemTail* tail) {
    const auto add = [items](IndexTuple item, OffsetNumber role) {
        if (item != nullptr) items->add(with_role(CopyIndexTuple(item), role));
    };
    add(promise.read, static_cast<OffsetNumber>(Role::kReadThreshold));
    add(promise.insert, static_cast<OffsetNumber>(Role::kInsertThreshold));
    tail->histories = static_cast<std::uint16_t>(promise.histories.size);
    for (std::size_t i = 0; i < promise.histories.size; ++i) {
        tail->history[i] = promise.histories.items[i].range;
        add(promise.histories.items[i].bound, static_cast<OffsetNumber>(static_cast<std::size_t>(Role::kHistory) + i));
    }
}

void update_skip(OpenIndex& index, std::uint64_t hash, BlockNumber head_block) {
    // Few evictions raise the lowest of the thresholds: most need not keep inserts and lists of the group waiting.
    for (const int mode : {BUFFER_LOCK_SHARE, BUFFER_LOCK_EXCLUSIVE}) {
        Buffer head;
        if (!lock_head(index, head_block, hash, mode, &head)) return;
        const HeadPage* content = head_page(BufferGetPage(head));
        IndexTuple lowest = lowest_insert_threshold(index, hash, head_block, *content);
        const std::size_t size = lowest == nullptr ? 0 : IndexTupleSize(lowest);
        const bool changed = content->skip_size != size || (size > 0 && memcmp(content->skip, lowest, size) != 0);
        if (changed && mode == BUFFER_LOCK_EXCLUSIVE) {
            Change change(index);
            HeadPage* fresh = head_page(change.edit(head));
            memset(fresh->skip, 0, sizeof(fresh->skip));
            fresh->skip_size = static_cast<std::uint16_t>(size);
            if (size > 0) memcpy(fresh->skip, lowest, size);
            change.commit();
        }
        UnlockReleaseBuffer(head);
        if (!changed) return;
    }
}

void make_room(OpenIndex& index, std::uint64_t hash, BlockNumber head, BlockNumber page) {
    Buffer group;
    if (!index.building) {
        if (!lock_group_page(index, page, head, hash, BUFFER_LOCK_SHARE, &group)) return;
        const ItemList items = copy_items(BufferGetPage(group));
        UnlockReleaseBuffer(group);
        prefetch_rows(index, items);
    }
    if (!lock_group_page(index, page, head, hash, BUFFER_LOCK_EXCLUSIVE, &group)) return;
    const int depth = item_tail(BufferGetPage(group))->depth;
    const Outcome outcome = tidy_or_evict(index, hash, group);
    UnlockReleaseBuffer(group);
    if (outcome == Outcome::kMustSplit) split_group_page(index, hash, head, page, depth);
    if (outcome == Outcome::kEvicted) update_skip(index, hash, head);
}

}  // namespace topk
