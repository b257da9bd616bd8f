// The rows of one group that a snapshot sees, best first, as far as the index knows them.
// Entries are read in tiers, the highest few first: a reader of ten rows need not look at thousands. A tier is a run of entries from every
// page, each best first, which are merged; within it this is the threshold algorithm: the highest bound is taken, its row read from the
// table, and emitted once no other bound ranks above its key. Below the cut (the greatest of the group's thresholds that hold for the
// snapshot) nothing is complete, and the rows end with kCut.
#pragma once

#include "history.h"
#include "page.h"

namespace topk {

/// The rows emitted, by root. They are listed, and hashed when one is first looked for: most scans never do.
class RootSet {
  public:
    explicit RootSet(MemoryContext context);
    void add(ItemPointerData root);
    bool contains(ItemPointerData root);

  private:
    void hash_listed();
    MemoryContext context_;
    std::uint64_t* listed_;
    std::size_t size_ = 0;
    std::size_t room_;
    std::uint64_t* slots_ = nullptr;
    std::size_t capacity_ = 0;
    std::size_t hashed_ = 0;  // of those listed
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
    /// Requires: the scan's snapshot is an MVCC one. Lives in the current memory context until close().
    CandidateScan(OpenIndex& index, std::uint64_t hash, IndexScanDesc scan, std::size_t expected);
    /// After kRow, root() and values() are the row's.
    Step next();
    ItemPointerData root() const { return row_.root; }
    /// Values and null flags of the index's columns in the row emitted last, until the next call.
    const Datum* values() const { return row_.values; }
    const bool* nulls() const { return row_.nulls; }
    RootSet& emitted() { return emitted_; }
    /// Meaningful after kCut.
    const Key& cut() const { return page_cut_.key; }
    void close();

  private:
    /// Entries of one page that are still to be read, best first, and the lead of the first.
    struct Run {
        std::uint64_t lead;
        IndexTuple* next;
        IndexTuple* end;
    };
    /// A row read from the table, by its key in the scan's snapshot. Values and null flags are of all columns of the index.
    struct Row {
        std::uint64_t lead;
        ItemPointerData root;
        Datum* values;
        bool* nulls;
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
    void add_run(const ItemList& items);
    void raise(Cut* cut, const Key& key);
    Key key_of(const Run& run) const { return key_in(index_, *run.next); }
    Key key_of(const Row& row) const { return topk::key_of(index_, row.values + index_.groups, row.nulls + index_.groups); }
    const Key& key_of(const Cut& cut) const { return cut.key; }
    template <typename A, typename B>
    bool ranks_above(const A& a, const B& b) {
        return a.lead != b.lead ? a.lead < b.lead : above(index_, key_of(a), key_of(b));
    }
    template <typename A>
    bool is_complete(const A& bound) {
        return (!tier_cut_.is_set || ranks_above(bound, tier_cut_)) && (!page_cut_.is_set || ranks_above(bound, page_cut_));
    }
    bool is_first(const Row& row);
    ItemPointerData pop_entry();
    bool read_row(ItemPointerData root, Row* row);
    bool is_of_group(const Datum* values, const bool* nulls);
    void keep(const Row& row);
    Row pop_row();
    Step emit(const Row& row);

    OpenIndex& index_;
    std::uint64_t hash_;
    Conditions conditions_;
    SnapshotData* snapshot_;
    RunningTransactions running_;
    MemoryContext tier_;  // of the entries read
    RootSet emitted_;
    std::size_t wanted_;  // how many entries a tier has, about
    bool collected_ = false;
    Run* runs_ = nullptr;  // a heap
    std::size_t run_count_ = 0;
    Row* rows_ = nullptr;  // a heap: those read that ranked below another bound
    std::size_t row_count_ = 0;
    std::size_t row_room_ = 0;
    Cut page_cut_;
    Cut tier_cut_;
    IndexFetchTableData* fetch_;  // the scan's: the executor then finds the row's page pinned
    TupleTableSlot* slot_;
    Row row_;                                   // the one emitted last
    std::array<Datum, INDEX_MAX_KEYS> values_;  // of the row read last
    std::array<bool, INDEX_MAX_KEYS> nulls_;
    bool has_by_value_group_;  // group_ is set: what a row of the group has in columns that are compared as they are
    std::array<Datum, INDEX_MAX_KEYS> group_;
};

}  // namespace topk
