// Looking up ascending keys in the primary key of a table of hours, (window_start, video_id). Neighbours of a batch often share a leaf, and
// their leaves a parent: both are copied, and searched without locks, pins or calls of comparison functions until a key lies beyond.
// Why a copied leaf is enough for a snapshot that is older than it: a version that the snapshot sees had its entry before, VACUUM does not
// remove it while the snapshot is active, and a split moves entries of the page only, not of the copy. What is not found may have
// been inserted since. A copied parent leads to the right leaf, or to one left of it, from which the links to the right lead there: pages
// that were deleted since are not used for anything else while the snapshot is active.
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

    /// Forgets the copies: for a new snapshot, or keys that do not ascend.
    void restart();

    /// The entries of a key, in tids(); kUnknown if an index scan must tell. Requires: a snapshot is active, and older than all calls
    /// since restart(); the key is greater than that of the call before.
    int find(TimestampTz window, text* id);
    ItemPointerData* tids() { return tids_; }

  private:
    struct Key {
        TimestampTz window;
        text* id;
    };
    /// A copied page. What comes before `next` is less than all keys still to come.
    struct Copy {
        char* bytes;
        bool is_there;
        bool is_rightmost;
        OffsetNumber next;
        OffsetNumber end;

        Page page() const { return reinterpret_cast<Page>(bytes); }
        IndexTuple item(OffsetNumber offset) const {
            return reinterpret_cast<IndexTuple>(PageGetItem(page(), PageGetItemId(page(), offset)));
        }
        void take(Page from);
    };

    bool reach(const Key& key);
    bool is_within(const Copy& copy, const Key& key) const;
    bool descend_from_parent(const Key& key);
    bool descend(const Key& key);
    void copy_parent(BTStack stack);
    int compare(const Copy& copy, OffsetNumber offset, const Key& key) const;
    void skip(Copy* copy, const Key& key) const;
    bool take(IndexTuple item, int* count);

    Relation table_;
    Relation index_;
    BTScanInsert search_key_;
    Copy leaf_;
    Copy parent_;
    ItemPointerData tids_[kMaxVersions];
};

/// True for a btree on exactly these two columns (1 and 2 of the table), ascending, collation C, unique at every moment, that may be read
/// and is kept up to date.
bool is_row_key(Relation index);

}  // namespace topk
