// The rows of one group that a snapshot sees, best first, as far as the index knows them.
// Entries are read in tiers, the highest few first: a reader of ten rows need not look at thousands. A tier is a run of entries from every
// page, each best first, which are merged; within it this is the threshold algorithm: the highest bounds are taken, a batch at a time,
// their rows read from the table, and each emitted once no other bound or row ranks above its key. Below the cut (the greatest of the
// group's thresholds that hold for the snapshot) nothing is complete, and the rows end with kCut.
#pragma once

#include "group_copy.h"
#include "kept_list.h"
#include "rows.h"

namespace topk {

enum class Step {
    kRow,
    kFiltered,  // a row of the group, in its turn, that does not meet the conditions
    kEnd,       // the group has no more rows
    kCut,       // rows at or below the cut may follow, unknown to the index
};

class CandidateScan {
  public:
    /// expected: how many rows will probably be asked for; 0 if nobody knows. recorder may be null.
    /// Requires: the scan's snapshot is an MVCC one. Lives in the current memory context until close().
    CandidateScan(OpenIndex& index, std::uint64_t hash, IndexScanDesc scan, std::size_t expected, ListRecorder* recorder);
    /// Before the first next(): the scan has returned this row already. It is not emitted, and counts for the size of the first tier.
    void skip(ItemPointerData root);
    /// After kRow, root() and values() are the row's.
    Step next();
    ItemPointerData root() const { return row_.root; }
    /// Values and null flags of the index's columns in the row emitted last, until the next call.
    const Datum* values() const { return row_.values; }
    const bool* nulls() const { return row_.nulls; }
    RootSet& emitted() { return emitted_; }
    /// Meaningful after kCut.
    const Key& cut() const { return page_cut_.key; }
    /// After the first next(): the cut so far; null if there is none.
    const Key* known_cut() const { return page_cut_.is_set ? &page_cut_.key : nullptr; }
    void close();

  private:
    /// Entries of one page that are still to be read, best first, and the lead of the first.
    struct Run {
        std::uint64_t lead;
        Entry* next;
        Entry* end;
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
    void take_page(const PageCopy& page);
    void add_run(std::span<Entry> entries);
    void raise(Cut* cut, IndexTuple bound);
    Key key_of(const Entry& entry) const { return key_in(index_, entry.item); }
    Key key_of(const Run& run) const { return key_of(*run.next); }
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
    ItemPointerData pop_entry();
    std::span<std::uint64_t> pop_entries();
    std::size_t needed_entries() const;
    void read_ahead();
    Row pop_row();
    Step emit(const Row& row);

    OpenIndex& index_;
    std::uint64_t hash_;
    Conditions conditions_;
    SnapshotData* snapshot_;
    RunningTransactions running_;
    MemoryContext owner_;
    MemoryContext tier_;  // of rows, runs and cuts
    Arena arena_;         // in it
    RowReader reader_;
    ListRecorder* recorder_;
    RootSet emitted_;
    std::size_t wanted_;  // how many entries a tier has, about
    bool collected_ = false;
    bool has_emitted_ = false;  // before this tier
    GroupCopy* copy_;           // of a group that has pages of its own
    Run* runs_ = nullptr;       // a heap
    std::size_t run_count_ = 0;
    Row* rows_ = nullptr;  // a heap: those read and not emitted
    std::size_t row_count_ = 0;
    std::size_t row_room_ = 0;
    std::size_t batch_;                    // how many entries are read next
    std::size_t batches_ = 0;              // of kBatches
    std::size_t entries_ = 0;              // read before the last batch
    std::span<std::uint64_t> last_leads_;  // of the last batch
    std::size_t skipped_ = 0;
    Cut page_cut_;
    Cut tier_cut_;
    Row row_;  // the one emitted last
};

}  // namespace topk
