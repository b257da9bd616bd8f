// Looking up ascending keys in the primary key of a table of hours, (window_start, video_id). Neighbours of a batch often share a leaf,
// so that the leaf is copied, and searched without locks, pins or calls of comparison functions until a key lies beyond it.
// Why a copy is enough for a snapshot that is older than it: a version that the snapshot sees had its entry before, VACUUM does not
// remove it while the snapshot is active, and a split moves entries of the page only, not of the copy. What is not found may have
// been inserted since.
#pragma once

#include "pg.h"

namespace topk {

class KeyWalk {
  public:
    /// More versions of one key than this are the executor's matter: it also marks the dead ones for removal.
    static constexpr int kMaxVersions = 32;
    static constexpr int kUnknown = -1;

    /// Memory is of the current context. Requires: the index is one that is_row_key accepts.
    void open(Relation table, Relation index);

    /// Forgets the copy: for a new snapshot, or keys that do not ascend.
    void restart();

    /// The entries of a key, in tids(); kUnknown if an index scan must tell. Requires: a snapshot is active, and older than all calls
    /// since restart(); the key is greater than that of the call before.
    int find(TimestampTz window, text* id);
    ItemPointerData* tids() { return tids_; }

  private:
    bool reach(TimestampTz window, text* id);
    void copy_leaf(Page page);
    bool descend();
    int compare(OffsetNumber offset, TimestampTz window, const text* id) const;
    OffsetNumber lower_bound(TimestampTz window, const text* id) const;
    bool take(IndexTuple item, int* count);

    Relation table_;
    Relation index_;
    BTScanInsert key_;
    char* page_;
    bool has_page_;
    bool is_rightmost_;
    OffsetNumber next_;  // every item before it has a lesser key than all that are still to come
    OffsetNumber end_;
    ItemPointerData tids_[kMaxVersions];
};

/// True for a btree on exactly these two columns (1 and 2 of the table), ascending, collation C, unique at every moment, that may be read
/// and is kept up to date.
bool is_row_key(Relation index);

}  // namespace topk
