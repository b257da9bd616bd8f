// The slow path of a scan: every row that meets its conditions and was not emitted yet, sorted. It answers what the candidates
// cannot: rows below the threshold, scans without a group, backward scans. The first pass keeps only the best, as most scans have a limit;
// who asks for more pays for a second one, which sorts all the rest.
#pragma once

#include "candidates.h"

namespace topk {

class Fallback {
  public:
    /// in_group: the scan's conditions fix the group, so that only score and tie-breakers are sorted by. emitted may be null.
    /// Reads and sorts at once. Lives in the current memory context until close().
    Fallback(OpenIndex& index, IndexScanDesc scan, ScanDirection direction, bool in_group, RootSet* emitted);
    /// The next row's root; false at the end.
    bool next(ItemPointerData* root);
    /// The values of the index's columns in that row, until the next.
    void get_values(Datum* values, bool* nulls);
    void close();

  private:
    void begin_sort();
    void run_pass();
    void take_rows(std::span<std::uint64_t> roots);
    bool read_btree();
    void read_heap();
    void take(ItemPointerData root, TupleTableSlot* row);

    OpenIndex& index_;
    Conditions conditions_;
    SnapshotData* snapshot_;
    ScanDirection direction_;
    bool in_group_;
    int first_;  // index column that it sorts by first
    RootSet* emitted_;
    TupleDesc desc_;  // the index's columns, then the root
    Tuplesortstate* sort_;
    std::size_t bound_;  // how many rows the pass keeps; 0: all
    std::size_t taken_;  // how many it has read
    std::size_t given_;  // how many it has returned
    TupleTableSlot* input_;
    TupleTableSlot* output_;
};

}  // namespace topk
