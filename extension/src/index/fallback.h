// The slow path of a scan: every row that meets its conditions and was not emitted yet, sorted. It answers what the candidates
// cannot: rows below the threshold, scans without a group, backward scans.
#pragma once

#include "candidates.h"

namespace topk {

class Fallback {
  public:
    /// in_group: the conditions fix the group, so that only score and tie-breakers are sorted by. emitted may be null.
    /// Reads and sorts everything at once. Lives in the current memory context until close().
    Fallback(OpenIndex& index, Conditions conditions, SnapshotData* snapshot, ScanDirection direction, bool in_group, RootSet* emitted);
    /// The next row's root; false at the end.
    bool next(ItemPointerData* root);
    void close();

  private:
    void begin_sort(ScanDirection direction);
    void take_rows(std::span<std::uint64_t> roots);
    bool read_btree();
    void read_heap();
    void take(ItemPointerData root, TupleTableSlot* row);

    OpenIndex& index_;
    Conditions conditions_;
    SnapshotData* snapshot_;
    int first_;  // index column that the sort begins with
    RootSet* emitted_;
    TupleDesc desc_;  // sorted columns, then the root
    Tuplesortstate* sort_;
    TupleTableSlot* input_;
    TupleTableSlot* output_;
};

}  // namespace topk
