// Row versions as they lie in the table, whoever may see them, and the HOT roots that entries name.
// A version whose inserter aborted is no version. One that is dead to every snapshot of this server still counts while it is
// there: a snapshot of a standby may be older than all of them.
#pragma once

#include "page.h"

namespace topk {

/// The root of the HOT chain of a tuple. Requires: the tuple cannot be pruned (it is ours, or visible to a snapshot we hold).
ItemPointerData root_of(Relation heap, ItemPointerData tid);

/// Roots of visible tuples, remembering the last page. Trivially destructible; holds nothing.
struct RootMap {
    BlockNumber block = InvalidBlockNumber;
    std::array<OffsetNumber, MaxHeapTuplesPerPage> roots;
    ItemPointerData root_of(Relation heap, ItemPointerData tid);
};

/// What lies behind an entry: the highest key among versions nobody has superseded for good, and among the others.
struct RowState {
    IndexTuple current;  // null if there is none
    IndexTuple superseded;
    std::uint64_t low, high;  // the transactions that superseded them, if superseded is set
};

/// False for an entry that points past the end of the table, which was truncated since: no row.
bool is_within_heap(OpenIndex& index, ItemPointerData tid);
/// Asks the kernel to read the table pages of the entries.
void prefetch_rows(OpenIndex& index, const ItemList& items);

/// Looks up the versions of a row that belong to the group, in the table's page. An entry's own bound stands for a key that can't be
/// read here. Requires: the index page that holds the entry exclusively locked, so that versions added meanwhile come to it later.
RowState row_state(OpenIndex& index, std::uint64_t hash, IndexTuple entry);

/// One version found by a physical scan; the tuple is a copy.
struct Version {
    ItemPointerData root;
    HeapTuple tuple;
    bool live;
    std::uint64_t superseded_by;  // the transaction that did for good; 0 if none did
    bool may_vanish;              // or be aborted: no snapshot keeps what it has in TOAST tables
};

/// Visits every version in the table, in physical order, under no lock.
class PhysicalScan {
  public:
    PhysicalScan(const OpenIndex& index, BufferAccessStrategy strategy);
    /// The versions of the next page; they live in the current memory context. False at the end.
    bool next_page(std::span<Version>* versions);
    BlockNumber pages() const { return pages_; }
    BlockNumber done() const { return block_; }

  private:
    const OpenIndex& index_;
    BufferAccessStrategy strategy_;
    BlockNumber pages_;
    BlockNumber block_ = 0;
    Version* versions_;
};

/// The columns of the index in a tuple; values point into it.
void index_values(const OpenIndex& index, HeapTuple tuple, Datum* values, bool* nulls);

/// The same of a version. False if one of the first so many is gone from its TOAST table, as can be of one that is dead, or was aborted: no
/// snapshot can read it. If it may vanish, they are fetched into the current memory context.
bool read_values(const OpenIndex& index, const Version& version, int columns, Datum* values, bool* nulls);

/// A transaction id with its epoch, given that it is at most 2^31 before the next one.
std::uint64_t full_xid(TransactionId xid);

}  // namespace topk
