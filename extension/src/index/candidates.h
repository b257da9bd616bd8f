// The rows of one group that a snapshot sees, best first, as far as the index knows them.
// Entries are read in tiers, the highest few first: a reader of ten rows need not look at thousands. Within a tier this is the threshold
// algorithm: the highest bound is taken, its row read from the table, and emitted once no other bound ranks above its key. Below the cut
// (the greatest of the group's thresholds that hold for the snapshot) nothing is complete, and the rows end with kCut.
#pragma once

#include "history.h"

namespace topk {

/// The rows emitted, by root.
class RootSet {
  public:
    explicit RootSet(MemoryContext context);
    void add(ItemPointerData root);
    bool contains(ItemPointerData root) const;
    bool is_empty() const { return size_ == 0; }

  private:
    void grow();
    MemoryContext context_;
    std::uint64_t* slots_;
    std::size_t capacity_;
    std::size_t size_ = 0;
};

/// Which rows belong to the list, beyond their group's hash: the conditions of a scan on the index's columns.
struct Conditions {
    ScanKey keys;
    int count;
};
/// True if the values of the index's columns meet all conditions.
bool meets(const Conditions& conditions, const Datum* values, const bool* nulls);

enum class Step {
    kRow,
    kFiltered,  // a row of the group, in its turn, that does not meet the conditions
    kEnd,       // the group has no more rows
    kCut,       // rows at or below the cut may follow, unknown to the index
};

class CandidateScan {
  public:
    /// expected: how many rows will probably be asked for; 0 if nobody knows.
    /// fetch reads the rows: the caller's, who finds the page of the row emitted last in it.
    /// Requires: an MVCC snapshot that stays registered; lives in the current memory context until close().
    CandidateScan(OpenIndex& index, std::uint64_t hash, Conditions conditions, SnapshotData* snapshot, IndexFetchTableData* fetch,
                  std::size_t expected);
    /// After kRow, root() and values() are the row's.
    Step next();
    ItemPointerData root() const { return root_; }
    /// Values and null flags of the index's columns in the row emitted last, until the next call.
    const Datum* values() const { return values_.data(); }
    const bool* nulls() const { return nulls_.data(); }
    const RootSet& emitted() const { return emitted_; }
    /// Meaningful after kCut.
    const Key& cut() const { return page_cut_.key; }
    void close();

  private:
    struct Row;
    struct Bound {
        std::uint64_t lead;
        ItemPointerData root;
        bool is_row;  // read from the table, so that this is its key
        union {
            IndexTuple item;
            Row* row;
        };
    };
    /// Nothing at or below it is complete.
    struct Cut {
        bool is_set = false;
        std::uint64_t lead;
        Key key;
    };

    void collect();
    bool collect_pages();
    void take_bucket(Page page);
    void take_page(Page page, std::size_t quota);
    bool take_entry(IndexTuple item);
    void shrink();
    void raise(Cut* cut, const Key& key);
    bool is_above(IndexTuple item, const Cut& cut);
    int compare_bounds(const Bound& a, const Bound& b);
    Key key_of_bound(const Bound& bound);
    bool is_cut(const Bound& bound, const Cut& cut);
    bool read_row(Bound* bound);
    bool is_of_group(const Datum* values, const bool* nulls);
    bool is_next(const Bound& row);
    Step emit(const Bound& row);
    void push(const Bound& bound);
    Bound pop();

    OpenIndex& index_;
    std::uint64_t hash_;
    Conditions conditions_;
    SnapshotData* snapshot_;
    RunningTransactions running_;
    MemoryContext context_;  // of this scan
    MemoryContext tier_;     // of the entries read
    RootSet emitted_;
    std::size_t wanted_;  // how many entries a tier keeps at least
    bool collected_ = false;
    Bound* bounds_ = nullptr;  // a heap; never 2 * wanted_ of them
    std::size_t size_ = 0;
    Cut page_cut_;
    Cut tier_cut_;
    IndexFetchTableData* fetch_;
    TupleTableSlot* slot_;
    ItemPointerData root_;
    std::array<Datum, INDEX_MAX_KEYS> values_;
    std::array<bool, INDEX_MAX_KEYS> nulls_;
    bool has_by_value_group_;  // group_ is set: what a row of the group has in columns that are compared as they are
    std::array<Datum, INDEX_MAX_KEYS> group_;
};

}  // namespace topk
