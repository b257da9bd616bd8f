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
    /// Requires: an MVCC snapshot that stays registered; lives in the current memory context until close().
    CandidateScan(OpenIndex& index, std::uint64_t hash, Conditions conditions, SnapshotData* snapshot, std::size_t expected);
    /// After kRow, root() and values() are the row's.
    Step next();
    ItemPointerData root() const { return root_; }
    /// Values and null flags of the index's columns in the row emitted last, until the next call.
    const Datum* values() const { return values_.data(); }
    const bool* nulls() const { return nulls_.data(); }
    const RootSet& emitted() const { return emitted_; }
    /// Meaningful after kCut.
    const Key& cut() const { return page_cut_; }
    void close();

  private:
    struct Bound {
        Datum score;
        bool score_null;
        bool score_open;
        ItemPointerData root;
        IndexTuple item;  // null once the row has been read
        Datum* values;    // of all index columns, once it has
        bool* nulls;
    };

    void collect();
    bool collect_pages();
    void take_page(Page page, bool is_bucket);
    void take_entry(IndexTuple item);
    void shrink();
    void raise(Key* cut, bool* has_cut, const Key& key);
    int compare_bounds(const Bound& a, const Bound& b);
    Key key_of_bound(const Bound& bound);
    bool is_cut(const Key& key);
    bool read_row(Bound* bound);
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
    Bound* bounds_ = nullptr;  // a heap
    std::size_t size_ = 0;
    std::size_t capacity_ = 0;
    Key page_cut_;
    Key tier_cut_;
    bool has_page_cut_ = false;
    bool has_tier_cut_ = false;
    IndexFetchTableData* fetch_;
    TupleTableSlot* slot_;
    ItemPointerData root_;
    std::array<Datum, INDEX_MAX_KEYS> values_;
    std::array<bool, INDEX_MAX_KEYS> nulls_;
};

}  // namespace topk
