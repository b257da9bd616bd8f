// Lists that a session has read and that nothing has changed since: kept in its memory, for the next scan of the same group.
//
// A scan notes which pages of the index it read and their LSNs, and the table's pages of all rows that it read, emitted or not. The rows it
// emitted are kept if these pages are all-visible, and are the rows of a later scan if, after its snapshot was taken,
//   - the index's pages have the LSNs that they had: no entry came, no bound or threshold changed;
//   - the table's pages are all-visible, and the visibility map's pages have the LSNs that they had, which rise whenever a bit is set: no
//     bit was cleared and set again, so no row that was read is another.
// A row that was not read ranked below those emitted by its bound, and its bound is as it was. Whatever changed a page later is of a
// transaction that the snapshot does not see. Snapshots that are older than the scan that was kept see the same: its pages are all-visible,
// and what they gave up of superseded versions is older than every snapshot.
#pragma once

#include "page.h"
#include "rows.h"

namespace topk {

/// The rows that rank first in a group, in order.
class KeptList {
  public:
    std::size_t size() const { return count_; }
    /// True if the group has no others.
    bool is_whole() const { return whole_; }
    /// The index's columns of a row; the tuple's TID is the root.
    IndexTuple row(std::size_t place) const { return rows_[place]; }

  private:
    friend class ListRecorder;
    friend struct KeptListAccess;
    struct IndexPage {
        BlockNumber block;
        Buffer buffer;  // where it was last
        XLogRecPtr lsn;
    };
    struct MapPage {
        XLogRecPtr lsn;
        std::size_t end;  // of its table pages
    };
    MemoryContext memory_;
    int readers_;
    bool dropped_;
    std::size_t count_;
    IndexTuple* rows_;
    bool whole_;
    std::span<IndexPage> index_pages_;
    std::span<BlockNumber> table_pages_;  // ascending
    std::span<MapPage> map_pages_;
};

/// The list of a group, if there is one and it is what the scan's snapshot sees; else null. It stays until `reader` is reset or deleted.
/// Requires: conditions on the group's columns only, which fix the group; is_keeping.
const KeptList* kept_list(OpenIndex& index, std::uint64_t hash, const Conditions& conditions, MemoryContext reader);
/// Forgets a group's list: more rows were wanted than it has.
void forget_kept_list(const OpenIndex& index, std::uint64_t hash);
/// True if lists of the index may be kept: what happens to it and its table is in the WAL, and reading has no other effects.
bool is_keeping(const OpenIndex& index);

/// An index tuple of the values as they are; null if it would be large, or a value lies in a TOAST table. palloc'ed.
IndexTuple small_tuple(TupleDesc columns, const Datum* values, const bool* nulls);

/// What one scan reads, as far as it matters for keeping its rows. A list is kept only if the scan before it read the same pages in the same
/// state. Lives in the memory context it was made in.
class ListRecorder {
  public:
    ListRecorder(OpenIndex& index, std::uint64_t hash);
    /// The group's pages are read, from the first.
    void begin_pages();
    /// Requires: the page locked.
    void add_page(Buffer buffer);
    void end_pages();
    void add_roots(std::span<const std::uint64_t> roots);
    /// True if rows are to be added.
    bool is_promising() const { return promising_; }
    /// The next row emitted; null if it cannot be kept. The tuple must stay.
    void add_row(IndexTuple row);
    /// The scan ended. whole: because the group has no more rows. Requires: its snapshot is still active.
    void finish(bool whole);

  private:
    KeptList* keep(bool whole);
    bool see_table_pages();

    OpenIndex& index_;
    std::uint64_t hash_;
    bool promising_ = true;
    bool collected_ = false;
    std::uint64_t signature_ = 0;  // of the pages
    std::uint64_t newest_history_ = 0;
    KeptList::IndexPage* pages_;
    std::size_t page_count_ = 0;
    std::size_t page_room_;
    std::uint64_t* roots_ = nullptr;
    std::size_t root_count_ = 0;
    std::size_t root_room_ = 0;
    IndexTuple* rows_ = nullptr;
    std::size_t row_count_ = 0;
    std::size_t bytes_ = 0;
    BlockNumber* table_pages_ = nullptr;
    std::size_t table_page_count_ = 0;
    KeptList::MapPage* map_pages_ = nullptr;
    std::size_t map_page_count_ = 0;
};

}  // namespace topk
