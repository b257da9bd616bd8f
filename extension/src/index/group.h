// The pages of one large group: a head, and 1, 2, 4 … kSlots group pages, a row's page by the hash of its root. A page that
// is full halves until the group keeps `capacity` candidates; after that it evicts its lowest and raises its thresholds.
// Thresholds and histories are each page's own, changed under its lock. The head's skip bound, changed under the head's lock, may
// lag below them, never run ahead; thresholds fall only during a refill, under the head's lock.
#pragma once

#include "history.h"
#include "page.h"

namespace topk {

void init_head(Page page, std::uint64_t hash, BlockNumber group_page);
ItemTail group_tail(std::uint64_t hash, BlockNumber head);
/// A bucket's item that points to a head.
IndexTuple make_pointer(OpenIndex& index, std::uint64_t hash, BlockNumber head);

/// Locks a head; false, and nothing locked, if the block is not (any more) the group's head.
bool lock_head(OpenIndex& index, BlockNumber block, std::uint64_t hash, int mode, Buffer* buffer);
/// Locks a group page of that head; false if it is none.
bool lock_group_page(OpenIndex& index, BlockNumber block, BlockNumber head, std::uint64_t hash, int mode, Buffer* buffer);

/// The page of a row.
inline BlockNumber page_of_row(const HeadPage& head, std::uint64_t root_hash) {
    return head.slots[root_hash & low_bits(head.depth)];
}
inline bool holds_row(Page page, std::uint64_t root_hash) {
    return (root_hash & low_bits(item_tail(page)->depth)) == item_tail(page)->cover;
}

/// The distinct pages of a group, in slot order. palloc'ed.
std::span<BlockNumber> pages_of(const HeadPage& head);

struct GroupHead {
    std::uint64_t hash;
    BlockNumber head;
};

/// Visits the pages of a group, share-locked one after the other, while visit returns true.
template <typename Visit>
void visit_pages(OpenIndex& index, const GroupHead& group, Visit&& visit) {
    survives_longjmp<std::remove_reference_t<Visit>>();
    Buffer buffer;
    if (!lock_head(index, group.head, group.hash, BUFFER_LOCK_SHARE, &buffer)) return;
    const std::span<BlockNumber> pages = pages_of(*head_page(BufferGetPage(buffer)));
    UnlockReleaseBuffer(buffer);
    bool more = true;
    for (std::size_t i = 0; i < pages.size() && more; ++i) {
        CHECK_FOR_INTERRUPTS();
        if (!lock_group_page(index, pages[i], group.head, group.hash, BUFFER_LOCK_SHARE, &buffer)) continue;
        more = visit(BufferGetPage(buffer));
        UnlockReleaseBuffer(buffer);
    }
}

/// True if no key at or below the head's skip bound needs an entry, and this one is.
bool may_skip(OpenIndex& index, const HeadPage& head, const Key& key);

/// Makes room on a group page that had none for its row: drops entries without rows, else splits it, else evicts. The caller then begins
/// anew. Failure: none but damage.
void make_room(OpenIndex& index, std::uint64_t hash, BlockNumber head, BlockNumber page);

/// What a group page promises, in memory.
struct Promise {
    IndexTuple read;    // null: everything has an entry
    IndexTuple insert;  // null: everything needs one
    Histories histories;
};
Promise read_promise(Page page);
/// Adds the promise's items to a page to be, and its ranges to the tail.
void add_promise(const Promise& promise, ItemList* items, ItemTail* tail);

/// Brings the head's skip bound up to its pages' insert thresholds.
void update_skip(OpenIndex& index, std::uint64_t hash, BlockNumber head);

}  // namespace topk
