// The path of a version: group's head or bucket, group page, entry. A version in the long tail ends at the head's skip bound, one
// whose row's bound has headroom at a shared look at its page.
#include "insert.h"

#include "group.h"
#include "versions.h"

namespace topk {

namespace {

/// The version, and its root once that is known.
struct Arrival {
    std::uint64_t hash;
    const Key& key;
    ItemPointerData tid;
    bool has_root;
    std::uint64_t root_hash;
};

void find_root(OpenIndex& index, Arrival* arrival) {
    arrival->tid = root_of(index.heap, arrival->tid);
    arrival->has_root = true;
    arrival->root_hash = hash_root(arrival->tid);
}

/// True if the page needs no change: the version may be skipped, or an entry covers it.
bool is_settled(OpenIndex& index, Page page, const Arrival& arrival) {
    IndexTuple threshold = find_role(page, Role::kInsertThreshold);
    if (threshold != nullptr && !above(index, arrival.key, key_in(index, threshold))) return true;
    const OffsetNumber offset = find_entry(page, arrival.hash, arrival.tid);
#ifdef TOPK_TEST_OVERWRITE_BOUND
    return false;
#endif
    return offset != InvalidOffsetNumber && !above(index, arrival.key, key_in(index, item_at(page, offset)));
}

/// Where the row's entry goes: on a group page by its bound, of which an old one is not above; in a bucket, where it is or last.
OffsetNumber place_in(OpenIndex& index, Page page, IndexTuple item, OffsetNumber old) {
    const OffsetNumber end = old != InvalidOffsetNumber ? old : static_cast<OffsetNumber>(item_count(page) + 1);
    return page_kind(page) == PageKind::kGroup ? place_of(index, page, item, first_entry(page), end) : end;
}

/// Moves the line pointer of an entry that was raised up to its place.
void move_up(Page page, OffsetNumber from, OffsetNumber to) {
    ItemIdData* lines = PageGetItemId(page, FirstOffsetNumber) - 1;
    std::rotate(lines + to, lines + from, lines + from + 1);
}

/// Adds or raises the row's entry on an exclusively locked page. False if it does not fit.
bool put(OpenIndex& index, Buffer buffer, const Arrival& arrival) {
    Page page = BufferGetPage(buffer);
    const OffsetNumber offset = find_entry(page, arrival.hash, arrival.tid);
    const bool is_new = offset == InvalidOffsetNumber;
    IndexTuple item = is_new ? make_item(index, arrival.hash, arrival.key) : make_raised_item(index, arrival.hash, arrival.key);
    item->t_tid = arrival.tid;
    const std::size_t size = IndexTupleSize(item);
    const std::size_t grows =
        is_new ? MAXALIGN(size) : MAXALIGN(size) - std::min(MAXALIGN(size), MAXALIGN(IndexTupleSize(item_at(page, offset))));
    if (is_new ? PageGetFreeSpace(page) < grows : PageGetExactFreeSpace(page) < grows) return false;
    Change change(index);
    Page changed = change.edit(buffer);
    auto* bytes = reinterpret_cast<Item>(item);
    const OffsetNumber place = place_in(index, page, item, offset);
    const bool done = is_new ? PageAddItem(changed, bytes, size, place, false, false) != InvalidOffsetNumber
                             : PageIndexTupleOverwrite(changed, offset, bytes, size);
    if (!done) elog(ERROR, "could not store an entry");
    if (!is_new) move_up(changed, offset, place);
    change.commit();
    return true;
}

/// Tries the group's bucket, whose share-locked buffer it releases. True when done.
bool try_bucket(OpenIndex& index, Buffer bucket, const Arrival& arrival) {
    const bool settled = arrival.has_root && is_settled(index, BufferGetPage(bucket), arrival);
    UnlockReleaseBuffer(bucket);
    if (settled) return true;
    if (!arrival.has_root) return false;
    bucket = lock_bucket(index, arrival.hash, BUFFER_LOCK_EXCLUSIVE);
    if (find_pointer(BufferGetPage(bucket), arrival.hash) != InvalidOffsetNumber) {
        UnlockReleaseBuffer(bucket);
        return false;
    }
    const bool done = is_settled(index, BufferGetPage(bucket), arrival) || put(index, bucket, arrival);
    UnlockReleaseBuffer(bucket);
    if (!done) grow_bucket(index, arrival.hash);
    return done;
}

/// Tries a group's page. True when done; false if the page is another's by now, or was full and no longer is.
bool try_group_page(OpenIndex& index, BlockNumber head, BlockNumber block, const Arrival& arrival) {
    bool full = false;
    for (const int mode : {BUFFER_LOCK_SHARE, BUFFER_LOCK_EXCLUSIVE}) {
        Buffer buffer;
        if (!lock_group_page(index, block, head, arrival.hash, mode, &buffer)) return false;
        Page page = BufferGetPage(buffer);
        const bool mine = holds_row(page, arrival.root_hash);
        bool done = mine && is_settled(index, page, arrival);
        if (mine && !done && mode == BUFFER_LOCK_EXCLUSIVE) {
            done = put(index, buffer, arrival);
            full = !done;
        }
        UnlockReleaseBuffer(buffer);
        if (done) return true;
        if (!mine) return false;
    }
    if (full) make_room(index, arrival.hash, head, block);
    return false;
}

/// Tries the pages of a group that has its own. True when done.
bool try_group(OpenIndex& index, BlockNumber head_block, Arrival* arrival) {
    Buffer head;
    if (!lock_head(index, head_block, arrival->hash, BUFFER_LOCK_SHARE, &head)) {
        index.known_head = InvalidBlockNumber;
        return false;
    }
    index.known_hash = arrival->hash;
    index.known_head = head_block;
    const HeadPage* content = head_page(BufferGetPage(head));
    const bool skipped = may_skip(index, *content, arrival->key);
    BlockNumber block = InvalidBlockNumber;
    if (!skipped && arrival->has_root) block = page_of_row(*content, arrival->root_hash);
    UnlockReleaseBuffer(head);
    if (skipped) return true;
    return block != InvalidBlockNumber && try_group_page(index, head_block, block, *arrival);
}

}  // namespace

void insert_version(OpenIndex& index, std::uint64_t hash, const Key& key, ItemPointerData tid, bool is_root) {
    MemoryContext caller = MemoryContextSwitchTo(index.scratch);
    Arrival arrival = {hash, key, tid, false, 0};
    if (is_root) {
        arrival.has_root = true;
        arrival.root_hash = hash_root(tid);
    }
    for (int restarts = 0;; ++restarts) {
        CHECK_FOR_INTERRUPTS();
        if (restarts == kMaxRestarts) refuse_damage(index, kRootBlock, "it leads to a group without its pages");
        // The tail needs no root; what gets past the head the first time does.
        if (restarts > 0 && !arrival.has_root) find_root(index, &arrival);
        Buffer bucket;
        const bool known = index.known_head != InvalidBlockNumber && index.known_hash == hash;
        const BlockNumber head = known ? index.known_head : find_head(index, hash, &bucket);
        if (head == InvalidBlockNumber ? try_bucket(index, bucket, arrival) : try_group(index, head, &arrival)) break;
    }
    MemoryContextSwitchTo(caller);
    MemoryContextReset(index.scratch);
}

}  // namespace topk
