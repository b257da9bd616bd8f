// A partition of an hour table, or a roll-up, opened to add deltas to its rows by the interfaces of heap and indexes, as the executor
// would. Locks: a row is locked by its update, or by the insertion of its key into the primary key. Whoever waits for a key holds no key
// that is greater: add() takes keys in order, insert() never waits. So flushes never wait for each other in a circle, whatever keys they
// share.
#pragma once

#include "key_walk.h"
#include "pg.h"

namespace topk {

struct Delta {
    TimestampTz window;
    text* id;  ///< not toasted; may be overwritten once the call is over
    std::int64_t views;
};

class UpsertTable {
  public:
    /// At most so many rows in insert().
    static constexpr std::size_t kMaxRows = 256;

    /// Opens the table's indexes. Null, or why rows for it must be stored by SQL. Memory is of the current context; what add() and
    /// insert() use is freed by them. Requires: table is open and locked, as ROW EXCLUSIVE, until close().
    const char* open(Relation table);
    void close();
    Relation relation() const { return table_; }

    /// Between begin and end: a snapshot is active, and no subtransaction begins or ends.
    void begin();
    void end();

    /// Adds to the row that the snapshot sees, in the newest version of it. False if it sees none, and nothing is done: the key is new, or
    /// somebody has inserted it since.
    bool add(const Delta& delta);

    /// Adds to the row, or inserts it, and waits for who does so with the same key.
    void add_carefully(const Delta& delta);

    /// A row to be inserted, in the current context.
    HeapTuple make_row(const Delta& delta) const;

    /// Inserts rows whose keys were not there, and frees them. False if somebody else inserts, or has inserted, one of them: then the
    /// subtransaction must be rolled back, which takes back all of them. Never waits for another transaction.
    bool insert(std::span<HeapTuple> rows);

  private:
    bool find_indexes();
    HeapTuple find(const Delta& delta);
    HeapTuple fetch(ItemPointerData tid);
    HeapTuple fetch_by_scan(const Delta& delta);
    void read(BlockNumber block);
    void let_go_of_page();
    HeapTuple added(HeapTuple old, const Delta& delta) const;
    bool update(HeapTuple old, const Delta& delta);
    bool try_carefully(const Delta& delta);
    bool enter(HeapTuple row, bool only_summarizing, IndexUniqueCheck check, bool is_update);

    Relation table_;
    EState* state_;
    ResultRelInfo* info_;
    Relation key_index_;
    int key_number_;
    List* key_indexes_;  // its oid
    KeyWalk walk_;
    Buffer buffer_;  // pinned: the table's page looked at last
    HeapTupleData in_buffer_;
    TupleTableSlot* found_;
    TupleTableSlot* new_row_;
    TupleTableSlot** batch_;
    CommandId command_;
};

}  // namespace topk
