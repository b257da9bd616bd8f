// The walk over a flush's deltas, in chunks. A chunk adds to the rows that its snapshot sees, one by one, and then inserts the others, all
// at once, in a subtransaction of its own. Should somebody else be inserting one of them, the subtransaction is rolled back, and with it
// the chunk's locks, and the chunk is done again row by row as ON CONFLICT does: there a speculative insertion, not the subtransaction,
// lets a row that lost be taken back. That costs a lock and a WAL record a row more; it is also what few rows are worth.
#include "upsert.h"

#include "arguments.h"
#include "hour_list.h"
#include "upsert_rules.h"
#include "upsert_table.h"

namespace topk {

namespace {

constexpr const char* kOption = "topk.native_upsert";
bool native_upsert = true;

/// By name: where a test has loaded the library twice, the variable is the first one's.
bool is_wanted() {
    const char* value = GetConfigOption(kOption, true, false);
    return value == nullptr || strcmp(value, "on") == 0;
}

/// More subtransactions than a backend shows to others (64) would cost every snapshot of theirs a look into pg_subtrans.
constexpr std::uint64_t kMaxChunks = 48;
constexpr std::uint64_t kMinChunk = 4096;
/// Fewer deltas are not worth a subtransaction.
constexpr std::uint64_t kFew = 32;

/// Where the walk is. A copy is a bookmark.
class Walk {
  public:
    explicit Walk(Bytes deltas) : reader_(deltas) {}

    /// The next delta, whose id is copied to `id`; hour() is then the number of its hour among the flush's.
    bool next(Delta* delta, text* id) {
        DeltaEntry entry;
        while (!reader_.next_entry(&entry)) {
            DeltaHour hour;
            if (!reader_.next_hour(&hour)) return false;
            window_ = hour.start_ms * 1000 - kUnixEpochOffsetMicros;
            ++hours_;
        }
        SET_VARSIZE(id, VARHDRSZ + entry.id.size());
        memcpy(VARDATA(id), entry.id.data(), entry.id.size());
        *delta = {window_, id, entry.views};
        return true;
    }
    std::size_t hour() const { return hours_ - 1; }

  private:
    DeltaReader reader_;
    TimestampTz window_ = 0;
    std::size_t hours_ = 0;
};

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

class Upsert {
  public:
    explicit Upsert(const FlushArguments& flush) : flush_(flush) {}

    /// Opens the partitions of all hours. Null, or why the rows must be stored by SQL; closes them then.
    const char* open(const Counter& counter);
    void close();
    void run();

  private:
    /// A row that the snapshot did not see, to be inserted at the end of the chunk.
    struct Waiting {
        HeapTuple row;
        UpsertTable* table;
    };

    const char* open_partitions(const Counter& counter);
    UpsertTable& table() { return *table_of_hour_[walk_.hour()]; }
    template <typename Body>
    void each_delta(std::uint64_t count, Body&& body);
    void begin_chunk();
    void end_chunk();
    bool add_chunk(std::uint64_t count);
    bool insert_waiting();
    void add_chunk_carefully(std::uint64_t count);

    const FlushArguments& flush_;
    Walk walk_{flush_.delta_bytes};
    Relation parent_ = nullptr;
    UpsertTable* tables_ = nullptr;
    std::size_t table_count_ = 0;
    UpsertTable** table_of_hour_ = nullptr;
    text* id_ = nullptr;
    Waiting* waiting_ = nullptr;
    std::size_t waiting_count_ = 0;
    MemoryContext chunk_memory_ = nullptr;
    MemoryContext row_memory_ = nullptr;
};

const char* Upsert::open(const Counter& counter) {
    const char* obstacle = open_partitions(counter);
    if (obstacle != nullptr) close();
    return obstacle;
}

const char* Upsert::open_partitions(const Counter& counter) {
    parent_ = try_table_open(counter.hour_table, RowExclusiveLock);
    if (parent_ == nullptr) refuse_dropped(counter);
    if (const char* obstacle = obstacle_in_parent(parent_)) return obstacle;
    const std::size_t hours = flush_.delta_hours.size();
    tables_ = static_cast<UpsertTable*>(palloc(hours * sizeof(UpsertTable)));
    table_of_hour_ = static_cast<UpsertTable**>(palloc(hours * sizeof(UpsertTable*)));
    for (std::size_t hour = 0; hour < hours; ++hour) {
        CHECK_FOR_INTERRUPTS();
        const Oid oid = partition_at(counter, flush_.delta_hours[hour]);
        if (table_count_ == 0 || RelationGetRelid(tables_[table_count_ - 1].relation()) != oid) {
            Relation partition = OidIsValid(oid) ? try_table_open(oid, RowExclusiveLock) : nullptr;
            if (partition == nullptr) return "an hour has no partition";
            auto* opened = new (&tables_[table_count_]) UpsertTable;
            const char* obstacle = obstacle_in_partition(partition);
            if (obstacle == nullptr) obstacle = opened->open(partition);
            if (obstacle != nullptr) {
                table_close(partition, NoLock);
                return obstacle;
            }
            ++table_count_;
        }
        table_of_hour_[hour] = &tables_[table_count_ - 1];
    }
    return nullptr;
}

/// Locks stay until the transaction ends.
void Upsert::close() {
    for (UpsertTable& table : std::span(tables_, table_count_)) {
        Relation partition = table.relation();
        table.close();
        table_close(partition, NoLock);
    }
    table_close(parent_, NoLock);
}

/// Runs body with the next deltas, each in fresh memory.
template <typename Body>
void Upsert::each_delta(std::uint64_t count, Body&& body) {
    survives_longjmp<std::remove_reference_t<Body>>();
    MemoryContext caller = MemoryContextSwitchTo(row_memory_);
    Delta delta;
    for (; count > 0 && walk_.next(&delta, id_); --count) {
        CHECK_FOR_INTERRUPTS();
        body(delta);
        MemoryContextReset(row_memory_);
    }
    MemoryContextSwitchTo(caller);
}

void Upsert::begin_chunk() {
    for (UpsertTable& table : std::span(tables_, table_count_)) table.begin();
}

void Upsert::end_chunk() {
    for (UpsertTable& table : std::span(tables_, table_count_)) table.end();
}

/// False if the subtransaction must be rolled back.
bool Upsert::add_chunk(std::uint64_t count) {
    begin_chunk();
    waiting_count_ = 0;
    each_delta(count, [&](const Delta& delta) {
        if (table().add(delta)) return;
        MemoryContextSwitchTo(chunk_memory_);
        waiting_[waiting_count_++] = {table().make_row(delta), &table()};
        MemoryContextSwitchTo(row_memory_);
    });
    MemoryContext caller = MemoryContextSwitchTo(chunk_memory_);
    const bool all_ours = insert_waiting();
    MemoryContextSwitchTo(caller);
    end_chunk();
    return all_ours;
}

bool Upsert::insert_waiting() {
    std::array<HeapTuple, UpsertTable::kMaxRows> rows;
    for (std::size_t next = 0; next < waiting_count_;) {
        UpsertTable* table = waiting_[next].table;
        std::size_t count = 0;
        while (count < rows.size() && next < waiting_count_ && waiting_[next].table == table) rows[count++] = waiting_[next++].row;
        if (!table->insert({rows.data(), count})) return false;
    }
    return true;
}

void Upsert::add_chunk_carefully(std::uint64_t count) {
    begin_chunk();
    each_delta(count, [&](const Delta& delta) {
        if (!table().add(delta)) table().add_carefully(delta);
    });
    end_chunk();
}

void Upsert::run() {
    const std::uint64_t chunk = std::max(kMinChunk, flush_.delta_entries / kMaxChunks + 1);
    id_ = static_cast<text*>(palloc(VARHDRSZ + kMaxVideoIdBytes));
    waiting_ = static_cast<Waiting*>(palloc(std::min(chunk, flush_.delta_entries) * sizeof(Waiting)));
    chunk_memory_ = AllocSetContextCreate(CurrentMemoryContext, "topk upsert chunk", ALLOCSET_DEFAULT_SIZES);
    row_memory_ = AllocSetContextCreate(CurrentMemoryContext, "topk upsert row", ALLOCSET_SMALL_SIZES);
    for (std::uint64_t left = flush_.delta_entries; left > 0;) {
        const std::uint64_t count = std::min(chunk, left);
        const Walk bookmark = walk_;
        PushActiveSnapshot(GetTransactionSnapshot());
        if (count <= kFew) {
            add_chunk_carefully(count);
        } else if (!in_subtransaction([&] { return add_chunk(count); })) {
            ereport(DEBUG1, (errmsg_internal("somebody else inserts the same rows: topk.flush adds its deltas one by one")));
            walk_ = bookmark;
            add_chunk_carefully(count);
        }
        PopActiveSnapshot();
        CommandCounterIncrement();
        MemoryContextReset(chunk_memory_);
        left -= count;
    }
}

}  // namespace

void register_upsert_option() {
    const bool is_known =
        GetConfigOption(kOption, true, false) != nullptr && (GetConfigOptionFlags(kOption, true) & GUC_CUSTOM_PLACEHOLDER) == 0;
    if (is_known) return;
    DefineCustomBoolVariable(kOption, "Adds the views of topk.flush by the interfaces of heap and indexes.",
                             "Off, or where something else takes part in storing a row (see the extension's README): by SQL.",
                             &native_upsert, true, PGC_USERSET, 0, nullptr, nullptr, nullptr);
}

bool upsert_deltas(const Counter& counter, const FlushArguments& flush) {
    const char* obstacle = nullptr;
    const MemoryContext caller = CurrentMemoryContext;
    const MemoryContext memory = AllocSetContextCreate(caller, "topk upsert", ALLOCSET_DEFAULT_SIZES);
    MemoryContextSwitchTo(memory);
    if (!is_wanted()) {
        obstacle = "topk.native_upsert is off";
    } else {
        CommandCounterIncrement();
        Upsert upsert(flush);
        // Fresh: partitions that are being detached are none by then.
        PushActiveSnapshot(GetTransactionSnapshot());
        obstacle = upsert.open(counter);
        PopActiveSnapshot();
        if (obstacle == nullptr) {
            ereport(DEBUG1, (errmsg_internal("topk.flush adds its deltas natively")));
            upsert.run();
            upsert.close();
        }
    }
    if (obstacle != nullptr) ereport(DEBUG1, (errmsg_internal("topk.flush adds its deltas by SQL: %s", obstacle)));
    MemoryContextSwitchTo(caller);
    MemoryContextDelete(memory);
    return obstacle == nullptr;
}

}  // namespace topk
