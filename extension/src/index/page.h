// Pages: checked when read, changed under generic WAL.
// Nobody waits for a page's lock while holding one that comes later in this order: directory nodes (root first), bucket,
// head, group pages, pages of the table. No interrupts are served under a lock.
#pragma once

#include "order.h"

namespace topk {

/// How often a way through pages that others change is gone again. Where it leads nowhere so often, a page is not of its index's last
/// state.
constexpr int kMaxRestarts = 10000;

/// Raises XX002: the index is damaged, with REINDEX as the hint.
[[noreturn]] void refuse_damage(const OpenIndex& index, BlockNumber block, const char* what);

/// The metapage must be ours and of our version.
void check_meta(OpenIndex& index);

/// Pins and locks a page and checks it. Failure: XX002.
Buffer lock_page(OpenIndex& index, BlockNumber block, int mode);
/// Locks a pinned page anew, and checks it.
void relock_page(OpenIndex& index, Buffer buffer, int mode);

/// Checks a page that the caller has pinned and locked.
void check_page(OpenIndex& index, Buffer buffer);

/// Which state of a page somebody has read.
struct PageState {
    BlockNumber block;
    Buffer buffer;  // where it was then
    XLogRecPtr lsn;
};
/// True if every change of the index's pages gives them other LSNs.
inline bool have_lsns(const OpenIndex& index) {
    return RelationNeedsWAL(index.relation);
}
/// Requires: the page locked.
inline PageState state_of(Buffer buffer) {
    return {BufferGetBlockNumber(buffer), buffer, PageGetLSN(BufferGetPage(buffer))};
}
/// True if the page is still in that state, by its LSN, without its lock. Somebody may be changing it: then it is what it was when they got
/// its lock, and whoever inserted what an earlier snapshot sees had the page before. False without an LSN, which a page also shows while it
/// is written anew. looks: how often it was asked. Now and then the page is read as others are, lest it look unused to who needs a buffer.
/// Requires: have_lsns.
bool is_unchanged(const OpenIndex& index, PageState* state, std::uint32_t looks);

/// True for a page that nothing leads to: new, or given back.
bool is_unused(Page page);
/// Sets a page's checksum.
void seal_page(Page page);

/// A page from the free space map, or a new one at the end; exclusively locked, contents to be replaced whole.
Buffer allocate_page(OpenIndex& index);

inline PageTail* page_tail(Page page) {
    return reinterpret_cast<PageTail*>(static_cast<char*>(page) + BLCKSZ - sizeof(PageTail));
}
inline PageKind page_kind(Page page) {
    return page_tail(page)->kind;
}
inline ItemTail* item_tail(Page page) {
    return reinterpret_cast<ItemTail*>(static_cast<char*>(page) + BLCKSZ - sizeof(ItemTail));
}
template <typename T>
T* page_contents(Page page) {
    return reinterpret_cast<T*>(PageGetContents(page));
}
inline NodePage* node_page(Page page) {
    return page_contents<NodePage>(page);
}
inline HeadPage* head_page(Page page) {
    return page_contents<HeadPage>(page);
}

/// Makes a page of one of the kinds with contents (not items), all zero.
void init_contents_page(Page page, PageKind kind, std::size_t contents);

/// The low `bits` bits set.
inline std::uint64_t low_bits(int bits) {
    return bits >= 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << bits) - 1;
}

/// Changes to at most four pages, written as one WAL record by commit(). Without commit nothing has happened, unless
/// the index is being built. Requires: the pages exclusively locked until commit has returned.
class Change {
  public:
    explicit Change(OpenIndex& index);
    /// The page to change. whole: nothing of what it held is kept.
    Page edit(Buffer buffer, bool whole = false);
    void commit();

  private:
    OpenIndex& index_;
    GenericXLogState* state_;
    int count_ = 0;
    Buffer buffers_[MAX_GENERIC_XLOG_PAGES];
    Page pages_[MAX_GENERIC_XLOG_PAGES];
};

// --- Pages of items: buckets and group pages ---

inline OffsetNumber item_count(Page page) {
    return PageGetMaxOffsetNumber(page);
}
inline IndexTuple item_at(Page page, OffsetNumber offset) {
    return reinterpret_cast<IndexTuple>(PageGetItem(page, PageGetItemId(page, offset)));
}
inline BlockNumber tid_block(IndexTuple item) {
    return ItemPointerGetBlockNumberNoCheck(&item->t_tid);
}
inline OffsetNumber tid_offset(IndexTuple item) {
    return ItemPointerGetOffsetNumberNoCheck(&item->t_tid);
}
inline bool is_entry(IndexTuple item) {
    return tid_block(item) != InvalidBlockNumber && tid_offset(item) != 0;
}
inline bool is_pointer(IndexTuple item) {
    return tid_offset(item) == 0;
}
/// The item of a role, or null.
IndexTuple find_role(Page page, OffsetNumber role);
inline IndexTuple find_role(Page page, Role role) {
    return find_role(page, static_cast<OffsetNumber>(role));
}
/// The entry of a group's row; InvalidOffsetNumber if there is none.
OffsetNumber find_entry(Page page, std::uint64_t hash, ItemPointerData root);

/// The items of a page to be, in palloc'ed memory.
class ItemList {
  public:
    explicit ItemList(std::size_t capacity = MaxIndexTuplesPerPage)
        : capacity_(capacity), items_(static_cast<IndexTuple*>(palloc(capacity * sizeof(IndexTuple)))) {}
    void add(IndexTuple item) {
        if (size_ == capacity_) {
            capacity_ *= 2;
            items_ = static_cast<IndexTuple*>(repalloc(items_, capacity_ * sizeof(IndexTuple)));
        }
        items_[size_++] = item;
        bytes_ += MAXALIGN(IndexTupleSize(item)) + sizeof(ItemIdData);
    }
    std::size_t size() const { return size_; }
    std::size_t bytes() const { return bytes_; }
    IndexTuple* begin() const { return items_; }
    IndexTuple* end() const { return items_ + size_; }

  private:
    std::size_t size_ = 0;
    std::size_t bytes_ = 0;
    std::size_t capacity_;
    IndexTuple* items_;
};

/// Bytes for items and their line pointers on an empty page.
constexpr std::size_t kItemSpace = BLCKSZ - SizeOfPageHeaderData - MAXALIGN(sizeof(ItemTail));

/// Puts entries in the order of a group page: best bound first.
void sort_best_first(OpenIndex& index, const ItemList& items);
/// Where an item goes among the entries [from, until) of a group page.
OffsetNumber place_of(OpenIndex& index, Page page, IndexTuple item, OffsetNumber from, OffsetNumber until);
/// The offset of the first item that is no role.
OffsetNumber first_entry(Page page);

/// Copies of a page's items.
ItemList copy_items(Page page);
/// Replaces a page by one with this tail and these items (which lie elsewhere). Requires: they fit.
void write_items(Page page, const ItemTail& tail, const ItemList& items);
/// Sets the role of an item.
IndexTuple with_role(IndexTuple item, OffsetNumber role);
inline IndexTuple with_role(IndexTuple item, Role role) {
    return with_role(item, static_cast<OffsetNumber>(role));
}
ItemTail new_tail(PageKind kind);

}  // namespace topk
