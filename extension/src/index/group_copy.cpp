// Reading a group's pages, and keeping what was read.
#include "group_copy.h"

#include "group.h"

namespace topk {

namespace {

constexpr std::size_t kGroups = 64;  // of which a session has copies
constexpr std::size_t kMostBytes = 2 * 1024 * 1024;
constexpr std::size_t kMostBytesOfOne = kMostBytes / 8;

struct Kept {
    std::uint64_t hash;
    std::uint64_t used;
    std::size_t bytes;
    GroupCopy* copy;  // null: nothing is kept here
};
std::array<Kept, kGroups> kept_copies;
std::size_t kept_bytes = 0;
std::uint64_t uses = 0;

/// True if a page that has the LSN that it had need not be looked at.
bool may_keep(const OpenIndex& index) {
    return have_lsns(index) && !snapshots_grow_too_old() && !is_file_new(index.relation);
}

}  // namespace

GroupCopy* GroupCopy::take(const OpenIndex& index, std::uint64_t hash, MemoryContext owner) {
    GroupCopy* copy = release(file_of(index.relation), hash);
    if (copy == nullptr) return nullptr;
    MemoryContextSetParent(copy->memory_, owner);  // which frees it should there be an error
    copy->may_keep_ = may_keep(index);
    return copy;
}

/// Takes a group's copy from those that are kept; null if there is none.
GroupCopy* GroupCopy::release(const FileLocator& file, std::uint64_t hash) {
    const auto kept = std::find_if(kept_copies.begin(), kept_copies.end(), [&](const Kept& one) {
        return one.hash == hash && one.copy != nullptr && is_same_file(one.copy->file_, file);
    });
    if (kept == kept_copies.end()) return nullptr;
    kept_bytes -= kept->bytes;
    GroupCopy* copy = kept->copy;
    kept->copy = nullptr;
    return copy;
}

std::span<const PageCopy> GroupCopy::last_pages(Relation index) {
    const Kept* last = nullptr;
    for (const Kept& one : kept_copies)
        if (one.copy != nullptr && (last == nullptr || one.used > last->used) && is_same_file(one.copy->file_, file_of(index))) last = &one;
    return last == nullptr ? std::span<const PageCopy>() : last->copy->pages_;
}

GroupCopy* GroupCopy::make(const OpenIndex& index, std::uint64_t hash, MemoryContext owner) {
    GroupCopy* copy = make(file_of(index.relation), hash, owner);
    copy->may_keep_ = may_keep(index);
    return copy;
}

GroupCopy* GroupCopy::make(const FileLocator& file, std::uint64_t hash, MemoryContext owner) {
    MemoryContext memory = AllocSetContextCreate(owner, "topk group copy", ALLOCSET_DEFAULT_SIZES);
    auto* copy = static_cast<GroupCopy*>(MemoryContextAllocZero(memory, sizeof(GroupCopy)));
    copy->memory_ = memory;
    copy->file_ = file;
    copy->hash_ = hash;
    copy->head_.block = InvalidBlockNumber;
    return copy;
}

void GroupCopy::keep(std::size_t rows, std::size_t entries) {
    if (!may_keep_) {
        drop();
        return;
    }
    GroupCopy* kept = this;
    if (MemoryContextMemAllocated(memory_, false) > kMostBytesOfOne) {  // what is known of its scans stays
        kept = make(file_, hash_, MemoryContextGetParent(memory_));
        kept->rows_[0] = rows_[0];
        drop();
    }
    kept->rows_[1] = kept->rows_[0];
    kept->rows_[0] = rows;
    kept->entries_ = entries;
    kept->put();
}

/// In place of an older one of the group. Those that were used longest ago make room.
void GroupCopy::put() {
    if (GroupCopy* older = release(file_, hash_)) older->drop();
    const std::size_t bytes = MemoryContextMemAllocated(memory_, false);
    Kept* place;
    while ((place = std::find_if(kept_copies.begin(), kept_copies.end(), [](const Kept& one) { return one.copy == nullptr; })) ==
               kept_copies.end() ||
           kept_bytes + bytes > kMostBytes) {
        const Kept& oldest = *std::min_element(kept_copies.begin(), kept_copies.end(), [](const Kept& a, const Kept& b) {
            return a.copy != nullptr && (b.copy == nullptr || a.used < b.used);
        });
        release(oldest.copy->file_, oldest.hash)->drop();
    }
    *place = {hash_, ++uses, bytes, this};
    kept_bytes += bytes;
    MemoryContextSetParent(memory_, TopMemoryContext);
}

/// In the state that was copied, as far as that can be told without its lock.
bool GroupCopy::is_current(const OpenIndex& index, PageState* state) const {
    return may_keep_ && is_unchanged(index, state, looks_);
}

bool GroupCopy::read(OpenIndex& index, SnapshotData* snapshot, std::size_t wanted) {
    ++looks_;
    const bool is_read = is_current(index, &head_) || read_head(index);
    // Rows are spread over the pages by their hashes: few pages have many more of the best than their share.
    const double share = static_cast<double>(wanted) / static_cast<double>(std::max<std::size_t>(1, pages_.size()));
    const auto quota = (static_cast<std::size_t>(share + 2 * std::sqrt(share)) + 5) / 4 * 4;
    if (is_read && read_pages(index, snapshot, quota) && is_head_of_same_pages(index)) return true;
    head_.block = InvalidBlockNumber;
    return false;
}

bool GroupCopy::read_head(OpenIndex& index) {
    Buffer buffer;
    if (!lock_head(index, head_.block, hash_, BUFFER_LOCK_SHARE, &buffer)) return false;
    const HeadPage* content = head_page(BufferGetPage(buffer));
    head_ = state_of(buffer);
    const bool is_same = !pages_.empty() && content->generation == generation_;
    generation_ = content->generation;
    std::span<BlockNumber> blocks;
    if (!is_same) blocks = pages_of(*content);
    UnlockReleaseBuffer(buffer);
    if (!is_same) set_pages(blocks);
    return true;
}

/// What was read of those that it had before stays.
void GroupCopy::set_pages(std::span<const BlockNumber> blocks) {
    auto* pages = static_cast<PageCopy*>(MemoryContextAllocZero(memory_, blocks.size() * sizeof(PageCopy)));
    auto old = pages_.begin();
    for (std::size_t i = 0; i < blocks.size(); ++i) {
        for (; old != pages_.end() && old->state.block < blocks[i]; ++old) free_page(&*old);
        if (old != pages_.end() && old->state.block == blocks[i])
            pages[i] = *old++;
        else
            pages[i].state.block = blocks[i];
    }
    for (; old != pages_.end(); ++old) free_page(&*old);
    if (!pages_.empty()) pfree(pages_.data());
    pages_ = {pages, blocks.size()};
}

bool GroupCopy::read_pages(OpenIndex& index, SnapshotData* snapshot, std::size_t quota) {
    for (PageCopy& page : pages_) {
        const bool has_enough = page.memory != nullptr && (page.quota >= quota || page.next == nullptr);
        if (has_enough && is_current(index, &page.state)) continue;
        CHECK_FOR_INTERRUPTS();
        Buffer buffer;
        if (!lock_group_page(index, page.state.block, head_.block, hash_, BUFFER_LOCK_SHARE, &buffer)) return false;
        refuse_old_snapshot(snapshot, index.relation, BufferGetPage(buffer));
        copy_page(index, buffer, quota, &page);
        UnlockReleaseBuffer(buffer);
    }
    return true;
}

/// Looked at after the pages: they were the group's all the while. (All pages of a WAL record have its LSN before any of their locks goes.)
bool GroupCopy::is_head_of_same_pages(OpenIndex& index) {
    if (is_current(index, &head_)) return true;
    Buffer buffer;
    if (!lock_head(index, head_.block, hash_, BUFFER_LOCK_SHARE, &buffer)) return false;
    const bool is_same = head_page(BufferGetPage(buffer))->generation == generation_;
    if (is_same) head_ = state_of(buffer);
    UnlockReleaseBuffer(buffer);
    return is_same;
}

void GroupCopy::free_page(PageCopy* copy) {
    if (copy->memory == nullptr) return;
    pfree(copy->memory);
    copy->memory = nullptr;
}

/// Requires: the page locked.
void GroupCopy::copy_page(const OpenIndex& index, Buffer buffer, std::size_t quota, PageCopy* copy) {
    Page page = BufferGetPage(buffer);
    const OffsetNumber count = item_count(page);
    const OffsetNumber first = first_entry(page);
    const auto entries = static_cast<OffsetNumber>(std::min<std::size_t>(quota, static_cast<std::size_t>(count + 1 - first)));
    const auto end = static_cast<OffsetNumber>(std::min<int>(first + entries, count));  // the last item that is copied
    std::size_t bytes = 0;
    for (OffsetNumber offset = FirstOffsetNumber; offset <= end; ++offset) bytes += MAXALIGN(IndexTupleSize(item_at(page, offset)));

    free_page(copy);
    auto* memory = static_cast<char*>(MemoryContextAlloc(memory_, entries * sizeof(Entry) + bytes));
    *copy = {};
    copy->state = state_of(buffer);
    copy->memory = memory;
    copy->quota = quota;
    copy->entries = {reinterpret_cast<Entry*>(memory), entries};
    char* place = memory + entries * sizeof(Entry);
    const ItemTail* tail = item_tail(page);
    for (OffsetNumber offset = FirstOffsetNumber; offset <= end; ++offset) {
        IndexTuple item = item_at(page, offset);
        const std::size_t size = IndexTupleSize(item);
        item = static_cast<IndexTuple>(memcpy(place, item, size));
        place += MAXALIGN(size);
        const OffsetNumber role = tid_offset(item);
        const auto history = static_cast<std::size_t>(role) - static_cast<std::size_t>(Role::kHistory);  // far beyond all if it is none
        if (offset >= first + entries)
            copy->next = item;
        else if (offset >= first)
            copy->entries[offset - first] = {lead_of(index, item), item};
        else if (role == static_cast<OffsetNumber>(Role::kReadThreshold))
            copy->read_threshold = item;
        else if (history < tail->histories && copy->histories.size < kMaxHistories)
            copy->histories.items[copy->histories.size++] = {tail->history[history], item};
    }
}

}  // namespace topk
