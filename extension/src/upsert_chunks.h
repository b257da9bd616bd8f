// Adding deltas in chunks. A chunk adds to the rows that its snapshot sees, one by one, and then inserts the others, all at once, in a
// subtransaction of its own. Should somebody else be inserting one of them, the subtransaction is rolled back, and with it the chunk's
// locks, and the chunk is done again row by row as ON CONFLICT does: there a speculative insertion, not the subtransaction, lets a row
// that lost be taken back. That costs a lock and a WAL record a row more; it is also what few rows are worth.
#pragma once

#include "upsert.h"
#include "upsert_table.h"

namespace topk {

/// Runs body in a subtransaction, which is kept if body returns true; returns that. An error in body ends it, too: who catches the error
/// further up expects his own.
template <typename Body>
bool in_subtransaction(Body&& body) {
    survives_longjmp<std::remove_reference_t<Body>>();
    const MemoryContext caller = CurrentMemoryContext;
    const ResourceOwner owner = CurrentResourceOwner;
    // volatile: read after a longjmp.
    volatile bool keep = false;
    BeginInternalSubTransaction(nullptr);
    MemoryContextSwitchTo(caller);
    PG_TRY();
    {
        keep = body();
        if (keep)
            ReleaseCurrentSubTransaction();
        else
            RollbackAndReleaseCurrentSubTransaction();
    }
    PG_CATCH();
    {
        MemoryContextSwitchTo(caller);
        ErrorData* error = CopyErrorData();
        FlushErrorState();
        RollbackAndReleaseCurrentSubTransaction();
        MemoryContextSwitchTo(caller);
        CurrentResourceOwner = owner;
        ReThrowError(error);
    }
    PG_END_TRY();
    MemoryContextSwitchTo(caller);
    CurrentResourceOwner = owner;
    return keep;
}

/// Walk: `UpsertTable* next(Delta*)` tells a delta and its table, null after the last; they come in key order, and the delta is valid until
/// the next call. A copy of a walk is a bookmark.
template <typename Walk>
class UpsertChunks {
  public:
    /// `tables`: all that the walk tells, open. Memory is of the current context.
    UpsertChunks(const Walk& walk, std::span<UpsertTable> tables) : walk_(walk), tables_(tables) {}

    /// Adds `count` deltas, `chunk` at a time. Requires: read committed.
    void run(std::uint64_t count, std::uint64_t chunk);

  private:
    /// A row that the snapshot did not see, to be inserted at the end of the chunk.
    struct Waiting {
        HeapTuple row;
        UpsertTable* table;
    };

    template <typename Body>
    void each_delta(std::uint64_t count, Body&& body);
    void begin_chunk() {
        for (UpsertTable& table : tables_) table.begin();
    }
    void end_chunk() {
        for (UpsertTable& table : tables_) table.end();
    }
    bool add_chunk(std::uint64_t count);
    bool insert_waiting();
    void add_chunk_carefully(std::uint64_t count);

    Walk walk_;
    std::span<UpsertTable> tables_;
    Waiting* waiting_ = nullptr;
    std::size_t waiting_count_ = 0;
    MemoryContext chunk_memory_ = nullptr;
    MemoryContext row_memory_ = nullptr;
};

/// Runs body with the next deltas, each in fresh memory.
template <typename Walk>
template <typename Body>
void UpsertChunks<Walk>::each_delta(std::uint64_t count, Body&& body) {
    survives_longjmp<std::remove_reference_t<Body>>();
    MemoryContext caller = MemoryContextSwitchTo(row_memory_);
    Delta delta;
    for (; count > 0; --count) {
        UpsertTable* table = walk_.next(&delta);
        if (table == nullptr) break;
        CHECK_FOR_INTERRUPTS();
        body(table, delta);
        MemoryContextReset(row_memory_);
    }
    MemoryContextSwitchTo(caller);
}

/// False if the subtransaction must be rolled back.
template <typename Walk>
bool UpsertChunks<Walk>::add_chunk(std::uint64_t count) {
    begin_chunk();
    waiting_count_ = 0;
    each_delta(count, [&](UpsertTable* table, const Delta& delta) {
        if (table->add(delta)) return;
        MemoryContextSwitchTo(chunk_memory_);
        waiting_[waiting_count_++] = {table->make_row(delta), table};
        MemoryContextSwitchTo(row_memory_);
    });
    MemoryContext caller = MemoryContextSwitchTo(chunk_memory_);
    const bool all_ours = insert_waiting();
    MemoryContextSwitchTo(caller);
    end_chunk();
    return all_ours;
}

template <typename Walk>
bool UpsertChunks<Walk>::insert_waiting() {
    std::array<HeapTuple, UpsertTable::kMaxRows> rows;
    for (std::size_t next = 0; next < waiting_count_;) {
        UpsertTable* table = waiting_[next].table;
        std::size_t count = 0;
        while (count < rows.size() && next < waiting_count_ && waiting_[next].table == table) rows[count++] = waiting_[next++].row;
        if (!table->insert({rows.data(), count})) return false;
    }
    return true;
}

template <typename Walk>
void UpsertChunks<Walk>::add_chunk_carefully(std::uint64_t count) {
    begin_chunk();
    each_delta(count, [](UpsertTable* table, const Delta& delta) {
        if (!table->add(delta)) table->add_carefully(delta);
    });
    end_chunk();
}

template <typename Walk>
void UpsertChunks<Walk>::run(std::uint64_t count, std::uint64_t chunk) {
    waiting_ = static_cast<Waiting*>(palloc(std::min(chunk, count) * sizeof(Waiting)));
    chunk_memory_ = AllocSetContextCreate(CurrentMemoryContext, "topk upsert chunk", ALLOCSET_DEFAULT_SIZES);
    row_memory_ = AllocSetContextCreate(CurrentMemoryContext, "topk upsert row", ALLOCSET_SMALL_SIZES);
    for (std::uint64_t left = count; left > 0;) {
        const std::uint64_t next = std::min(chunk, left);
        const Walk bookmark = walk_;
        PushActiveSnapshot(GetTransactionSnapshot());
        if (next <= kFewRows) {
            add_chunk_carefully(next);
        } else if (!in_subtransaction([&] { return add_chunk(next); })) {
            ereport(DEBUG1, (errmsg_internal("somebody else inserts the same rows: they are added one by one")));
            walk_ = bookmark;
            add_chunk_carefully(next);
        }
        PopActiveSnapshot();
        CommandCounterIncrement();
        MemoryContextReset(chunk_memory_);
        left -= next;
    }
}

}  // namespace topk
