// The pages of a group that has pages of its own, as scans have read them: of each its best entries, and what it promises. They stay in the
// session's memory for the next scan of the group, which reads those again that have another LSN than they had.
#pragma once

#include "history.h"
#include "page.h"

namespace topk {

/// An entry, and its lead_of.
struct Entry {
    std::uint64_t lead;
    IndexTuple item;
};

/// What scans need of a group page.
struct PageCopy {
    PageState state;
    char* memory;               // of all below; null if it was not read
    std::size_t quota;          // how many of its entries were asked for
    std::span<Entry> entries;   // best first
    IndexTuple next;            // the first that was left out; null if none was
    IndexTuple read_threshold;  // null if it has none
    Histories histories;
};

class GroupCopy {
  public:
    /// What the session has of the group: owner's, until keep() or drop(). Null if it has nothing.
    static GroupCopy* take(const OpenIndex& index, std::uint64_t hash, MemoryContext owner);
    /// Of a group of which nothing was read.
    static GroupCopy* make(const OpenIndex& index, std::uint64_t hash, MemoryContext owner);
    /// The pages of the group of the index that the session has read last; none if it has none.
    static std::span<const PageCopy> last_pages(Relation index);
    /// Where the group's head is; Invalid if it has to be looked up, and told by set_head().
    BlockNumber head() const { return head_.block; }
    void set_head(BlockNumber head) { head_ = {head, InvalidBuffer, InvalidXLogRecPtr}; }
    /// Brings it up to date, with about as many of the best entries as wanted, or more. False, and without a head, if the group's pages
    /// changed hands meanwhile. The snapshot must have been taken before.
    bool read(OpenIndex& index, SnapshotData* snapshot, std::size_t wanted);
    std::span<PageCopy> pages() const { return pages_; }
    const PageState& head_state() const { return head_; }
    /// How many rows a scan will probably return: as many as the last two did at least. 0 if nobody knows.
    std::size_t expected_rows() const { return std::min(rows_[0], rows_[1]); }
    /// How many entries are read for each row, probably: some rows wait below bounds with headroom, and some entries have no row.
    double entries_a_row() const {
        constexpr double kMost = 2;
        return rows_[0] == 0 ? kEntriesARow : std::min(kMost, static_cast<double>(entries_) / static_cast<double>(rows_[0]));
    }
    static constexpr double kEntriesARow = 1.1;
    /// It is the session's. rows: how many the scan has returned; entries: how many had to be read for them.
    void keep(std::size_t rows, std::size_t entries);
    void drop() { MemoryContextDelete(memory_); }

  private:
    static GroupCopy* make(const FileLocator& file, std::uint64_t hash, MemoryContext owner);
    void put();
    bool is_current(const OpenIndex& index, PageState* state) const;
    static GroupCopy* release(const FileLocator& file, std::uint64_t hash);
    bool read_head(OpenIndex& index);
    bool read_pages(OpenIndex& index, SnapshotData* snapshot, std::size_t quota);
    bool is_head_of_same_pages(OpenIndex& index);
    void set_pages(std::span<const BlockNumber> blocks);
    void copy_page(const OpenIndex& index, Buffer buffer, std::size_t quota, PageCopy* copy);
    void free_page(PageCopy* copy);

    MemoryContext memory_;
    FileLocator file_;
    std::uint64_t hash_;
    bool may_keep_;  // pages that have changed have other LSNs
    std::uint32_t looks_;
    PageState head_;
    std::uint64_t generation_;
    std::span<PageCopy> pages_;  // by block
    std::size_t rows_[2];        // that the last two scans have returned
    std::size_t entries_;        // that the last one had to read
};

}  // namespace topk
