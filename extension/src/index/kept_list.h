// Lists that a session has read and that nothing has changed since: kept in its memory, for the next scan of the same group.
//
// A scan notes the pages of the index that it read, with their LSNs, and the rows that it read, emitted or not. Those it emitted are the
// rows of a later scan, too, if after its snapshot was taken
//   - the index's pages have the LSNs that they had: no entry came, no bound or threshold changed;
//   - every row that was read is as it was: its page is all-visible, as it was then, and the visibility map's page has the LSN that it
//     had, which rises when a bit is set, so that none was cleared and set again. Rows on pages that were not all-visible are read anew.
// A row that was not read ranks below those emitted by its bound. What changes a page afterwards is of a transaction that the snapshot does
// not see. The snapshot may be older than the first scan's, or come from another session: all-visible pages are visible to all, and it must
// not see what the index's pages have given up of superseded versions.
#pragma once

#include "page.h"
#include "rows.h"

namespace topk {

/// The rows that rank first in a group, in order. In memory of its own.
struct KeptList {
    struct IndexPage {
        BlockNumber block;
        Buffer buffer;  // where it was last
        XLogRecPtr lsn;
    };
    struct MapPage {
        XLogRecPtr lsn;
        std::size_t end;  // where its table pages end in table_pages
    };
    struct OtherRow {
        std::uint64_t root;
        IndexTuple row;  // null: none of the group was seen
    };
    MemoryContext memory;
    int readers;
    bool is_whole;  // the group has no other rows
    bool is_forgotten;
    std::uint32_t served;
    std::uint64_t last_ended;    // the newest transaction of the pages' histories
    std::span<IndexTuple> rows;  // of all columns of the index; t_tid is the root
    std::span<IndexPage> index_pages;
    std::span<BlockNumber> table_pages;  // those that are all-visible, ascending
    std::span<MapPage> map_pages;        // of the visibility map
    std::span<OtherRow> other_rows;      // read from other pages, by root
};

/// True if lists of the index may be kept: what changes it and its table is in the WAL, and reading rows has no other effects.
bool is_keeping(const OpenIndex& index);

/// The list of a group, if there is one and the scan's snapshot sees the same; else null. It stays until `reader` is reset or deleted.
/// Requires: is_keeping, and conditions that fix the group and are on no other columns.
const KeptList* kept_list(OpenIndex& index, std::uint64_t hash, const Conditions& conditions, SnapshotData* snapshot, MemoryContext reader);

/// Forgets a group's list: more rows are wanted than it has.
void forget_list(const OpenIndex& index, std::uint64_t hash);

/// Room for an index tuple that is not large.
struct alignas(MAXIMUM_ALIGNOF) SmallTuple {
    char bytes[320];
};
/// Makes an index tuple of a row: its values as they are, and its root. Null if it would be large, or a value lies in a TOAST table.
IndexTuple small_tuple(SmallTuple* room, TupleDesc columns, const Datum* values, const bool* nulls, ItemPointerData root);

/// Keeps what one scan reads, if the scan before it read the same pages in the same state: a list that changes all the time costs next to
/// nothing. Lives in the memory context it was made in. Requires: is_keeping.
class ListRecorder {
  public:
    ListRecorder(OpenIndex& index, std::uint64_t hash, SnapshotData* snapshot)
        : index_(index), hash_(hash), snapshot_(snapshot), memory_(CurrentMemoryContext) {}
    /// The group's pages are read, all of them, between these two; once or more often.
    void begin_pages();
    void end_pages();
    /// Requires: the page locked.
    void add_page(Buffer buffer);
    /// Rows are read.
    void add_roots(std::span<const std::uint64_t> roots);
    /// True if add_row is of any use.
    bool wants_rows() const { return wants_rows_; }
    /// The next row emitted; null if it cannot be kept, and then none are.
    void add_row(IndexTuple row);
    /// The scan ends. whole: the group has no more rows. Requires: its snapshot is still held.
    void finish(bool whole);

  private:
    template <typename T>
    struct List {
        std::size_t size = 0;
        std::size_t room = 0;
        T* items = nullptr;
        void add(MemoryContext memory, const T& item);
        std::span<T> all() const { return {items, size}; }
    };
    IndexTuple copied(IndexTuple row);
    void sort_out_pages(List<std::uint64_t>* other_roots);
    void read_others(std::span<std::uint64_t> roots);
    KeptList* keep(bool whole);

    OpenIndex& index_;
    std::uint64_t hash_;
    SnapshotData* snapshot_;
    MemoryContext memory_;
    bool wants_rows_ = false;
    bool was_read_ = false;
    bool changed_ = false;         // while it was read
    bool refused_ = false;         // a row
    std::uint64_t signature_ = 0;  // of the pages read
    std::uint64_t last_ended_ = 0;
    std::size_t bytes_ = 0;  // of rows, and other rows
    List<KeptList::IndexPage> index_pages_;
    List<std::uint64_t> roots_;
    List<IndexTuple> rows_;
    List<BlockNumber> table_pages_;
    List<KeptList::MapPage> map_pages_;
    List<KeptList::OtherRow> other_rows_;
};

}  // namespace topk
