// Lists that a session has read and that nothing has changed since: kept in its memory, for the next scan of the same group.
//
// A scan notes the pages of the index that it read, with their LSNs, and the rows that it read, emitted or not. Those it emitted are the
// rows of a later scan, too, if after its snapshot was taken
//   - the index's pages have the LSNs that they had: no entry came, no bound or threshold changed;
//   - every row that was read is as it was: its page is all-visible, as it was then, and the visibility map's page has the LSN that it
//     had, which rises when a bit is set, so that none was cleared and set again. Rows on pages that were not all-visible are read anew.
// A row that was not read ranks below those emitted by its bound. Only what was read before a row was emitted tells whether it comes next,
// so the rows are in sections, of what one or more batches brought: who wants ten is not delayed by what was read for a thousand. What
// changes a page afterwards is of a transaction that the snapshot does not see. The snapshot may be older than the first scan's, or come
// from another session: all-visible pages are visible to all, and it must not see what the index's pages have given up of superseded
// versions.
#pragma once

#include "history.h"
#include "page.h"
#include "rows.h"

namespace topk {

/// The rows that rank first in a group, in order. In memory of its own; what is added to it is, too.
struct KeptList {
    struct MapPage {
        XLogRecPtr lsn;
        std::size_t end;  // where its table pages end in table_pages
    };
    struct OtherRow {
        std::uint64_t root;
        IndexTuple row;  // null: none of the group was seen
    };
    /// Rows that follow one another, and what was read for them, after those before.
    struct Section {
        std::span<IndexTuple> rows;          // of all columns of the index; t_tid is the root
        std::span<BlockNumber> table_pages;  // those that are all-visible, ascending
        std::span<MapPage> map_pages;        // of the visibility map
        std::span<OtherRow> other_rows;      // read from other pages, by root
        Section* next;
    };
    MemoryContext memory;
    int readers;
    bool is_whole;   // the group has no other rows
    bool is_closed;  // what follows cannot be kept
    bool is_forgotten;
    std::uint32_t served;
    std::uint64_t last_ended;  // the newest transaction of the pages' histories
    std::span<PageState> index_pages;
    Section* first;
    Section* last;
    std::size_t row_count;
    std::size_t section_count;
    std::size_t bytes;  // of the rows, and the other rows
};

/// True if lists of the index may be kept: what changes it and its table is in the WAL, and reading rows has no other effects.
bool is_keeping(const OpenIndex& index);

/// The rows that a kept list has for a snapshot.
class KeptScan {
  public:
    KeptScan(OpenIndex& index, std::uint64_t hash, SnapshotData* snapshot) : index_(index), hash_(hash), snapshot_(snapshot) {}
    /// False if there is no list of the group, or not even its first rows are the snapshot's. It stays until `reader` is reset or deleted.
    /// Requires: is_keeping, and conditions that fix the group and are on no other columns.
    bool begin(const Conditions& conditions, MemoryContext reader);
    /// The next row; null if there is none, and then it has emitted what it can.
    IndexTuple next();
    /// After the last row: the group has no more.
    bool is_whole() const { return !failed_ && list_->is_whole; }
    /// After the last row: the list if those that follow may be added to it, else null.
    KeptList* open_list() const { return failed_ || list_->is_closed || list_->is_forgotten ? nullptr : list_; }
    /// After the last row: visits the roots of all that it has emitted.
    template <typename Visit>
    void for_each_row(Visit&& visit) const {
        survives_longjmp<std::remove_reference_t<Visit>>();
        for (const KeptList::Section* section = list_->first;; section = section->next) {
            for (IndexTuple row : section->rows) visit(row->t_tid);
            if (section == section_) return;
        }
    }

  private:
    OpenIndex& index_;
    std::uint64_t hash_;
    SnapshotData* snapshot_;
    KeptList* list_ = nullptr;
    KeptList::Section* section_ = nullptr;
    std::size_t given_ = 0;  // of the section
    bool failed_ = false;    // the next section is not what the snapshot sees
};

/// Room for an index tuple that is not large.
struct alignas(MAXIMUM_ALIGNOF) SmallTuple {
    char bytes[320];
};
/// Makes an index tuple of a row: its values as they are, and its root. Null if it would be large, or a value lies in a TOAST table.
IndexTuple small_tuple(SmallTuple* room, TupleDesc columns, const Datum* values, const bool* nulls, ItemPointerData root);

/// Keeps what one scan reads, if the scan before it read the same pages in the same state: a list that changes all the time costs next to
/// nothing. Or what it reads beyond a list that was too short. Lives in the memory context it was made in. Requires: is_keeping.
class ListRecorder {
  public:
    /// begun: the list that the scan has emitted, and that what follows is added to; null if it starts with the first row.
    ListRecorder(OpenIndex& index, std::uint64_t hash, SnapshotData* snapshot, KeptList* begun)
        : index_(index),
          hash_(hash),
          snapshot_(snapshot),
          memory_(CurrentMemoryContext),
          begun_(begun),
          begun_end_(begun == nullptr ? nullptr : begun->last),
          begun_rows_(begun == nullptr ? 0 : begun->row_count),
          section_begin_(begun_rows_),
          bytes_(begun == nullptr ? 0 : begun->bytes) {}
    /// The group's pages are read, all of them, between these two; once or more often.
    void begin_pages();
    void end_pages();
    void add_page(const PageState& page, const Histories& histories);
    /// Rows are read.
    void add_roots(std::span<const std::uint64_t> roots);
    /// True if add_row is of any use.
    bool wants_rows() const { return wants_rows_; }
    /// The next row emitted; null if it cannot be kept, and then no more are.
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
    /// How many there were when a section ended.
    struct Mark {
        std::size_t rows = 0;
        std::size_t roots = 0;
    };
    IndexTuple copied(IndexTuple row);
    void sort_out_pages(std::span<std::uint64_t> roots);
    bool read_others();
    KeptList::Section* copied_section(MemoryContext memory, std::span<IndexTuple> rows);
    KeptList* make_list(bool whole);
    void keep(KeptList* list);

    OpenIndex& index_;
    std::uint64_t hash_;
    SnapshotData* snapshot_;
    MemoryContext memory_;
    KeptList* begun_;
    KeptList::Section* begun_end_;
    std::size_t begun_rows_;
    std::size_t section_begin_;  // counting from the group's first row
    bool wants_rows_ = false;
    bool was_read_ = false;
    bool changed_ = false;         // while it was read
    bool refused_ = false;         // a row, and all after it
    std::uint64_t signature_ = 0;  // of the pages read
    std::uint64_t last_ended_ = 0;
    std::size_t bytes_;  // of the list's rows, and other rows
    List<PageState> index_pages_;
    List<std::uint64_t> roots_;
    List<IndexTuple> rows_;
    List<Mark> marks_;
    // Of one section
    List<std::uint64_t> other_roots_;
    List<BlockNumber> table_pages_;
    List<KeptList::MapPage> map_pages_;
    List<KeptList::OtherRow> other_rows_;
};

}  // namespace topk
