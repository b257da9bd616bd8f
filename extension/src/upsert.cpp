// Which way rows are added, and the two sources of rows: the deltas of a flush, which go to an hour table's partitions, and a batch of a
// roll-up, which goes to one table.
#include "upsert.h"

#include "arguments.h"
#include "hour_list.h"
#include "upsert_chunks.h"
#include "upsert_rules.h"

namespace topk {

namespace {

constexpr const char* kOption = "topk.native_upsert";
bool native_upsert = true;

/// By name: where a test has loaded the library twice, the variable is the first one's.
bool is_wanted() {
    const char* value = GetConfigOption(kOption, true, false);
    return value == nullptr || strcmp(value, "on") == 0;
}

constexpr std::uint64_t kMinChunk = 4096;

/// The partitions of a flush's hours.
class HourPartitions {
  public:
    /// Opens them. Null, or why the rows must be stored by SQL; closes them then. Memory is of the current context.
    const char* open(const Counter& counter, std::span<const TimestampTz> hours);
    /// Locks stay until the transaction ends.
    void close();
    std::span<UpsertTable> tables() const { return {tables_, count_}; }
    UpsertTable* of_hour(std::size_t number) const { return of_hour_[number]; }

  private:
    const char* open_all(const Counter& counter, std::span<const TimestampTz> hours);

    Relation parent_ = nullptr;
    UpsertTable* tables_ = nullptr;
    std::size_t count_ = 0;
    UpsertTable** of_hour_ = nullptr;
};

/// Opens a table that rows are stored in, and that a statement would name or not. Null, or why that is SQL's; it is closed then.
const char* open_table(Oid oid, bool is_named, UpsertTable* opened) {
    Relation table = OidIsValid(oid) ? try_table_open(oid, RowExclusiveLock) : nullptr;
    if (table == nullptr) return "a partition or roll-up is missing";
    const char* obstacle = is_named ? obstacle_to_statement(table) : nullptr;
    if (obstacle == nullptr) obstacle = obstacle_to_rows(table);
    if (obstacle == nullptr) obstacle = opened->open(table);
    if (obstacle != nullptr) table_close(table, NoLock);
    return obstacle;
}

void close_table(UpsertTable* opened) {
    Relation table = opened->relation();
    opened->close();
    table_close(table, NoLock);
}

const char* HourPartitions::open(const Counter& counter, std::span<const TimestampTz> hours) {
    // Fresh: partitions that are being detached are none by then.
    PushActiveSnapshot(GetTransactionSnapshot());
    const char* obstacle = open_all(counter, hours);
    PopActiveSnapshot();
    if (obstacle != nullptr) close();
    return obstacle;
}

const char* HourPartitions::open_all(const Counter& counter, std::span<const TimestampTz> hours) {
    parent_ = try_table_open(counter.hour_table, RowExclusiveLock);
    if (parent_ == nullptr) refuse_dropped(counter);
    if (const char* obstacle = obstacle_to_statement(parent_)) return obstacle;
    tables_ = static_cast<UpsertTable*>(palloc(hours.size() * sizeof(UpsertTable)));
    of_hour_ = static_cast<UpsertTable**>(palloc(hours.size() * sizeof(UpsertTable*)));
    for (std::size_t hour = 0; hour < hours.size(); ++hour) {
        CHECK_FOR_INTERRUPTS();
        const Oid partition = partition_at(counter, hours[hour]);
        if (count_ == 0 || RelationGetRelid(tables_[count_ - 1].relation()) != partition) {
            if (const char* obstacle = open_table(partition, false, new (&tables_[count_]) UpsertTable)) return obstacle;
            ++count_;
        }
        of_hour_[hour] = &tables_[count_ - 1];
    }
    return nullptr;
}

void HourPartitions::close() {
    for (UpsertTable& table : tables()) close_table(&table);
    table_close(parent_, NoLock);
}

/// Through the deltas of a flush.
class FlushWalk {
  public:
    FlushWalk(Bytes deltas, const HourPartitions* partitions)
        : reader_(deltas), partitions_(partitions), id_(static_cast<text*>(palloc(VARHDRSZ + kMaxVideoIdBytes))) {}

    UpsertTable* next(Delta* delta) {
        DeltaEntry entry;
        while (!reader_.next_entry(&entry)) {
            DeltaHour hour;
            if (!reader_.next_hour(&hour)) return nullptr;
            window_ = hour.start_ms * 1000 - kUnixEpochOffsetMicros;
            table_ = partitions_->of_hour(hours_++);
        }
        SET_VARSIZE(id_, VARHDRSZ + entry.id.size());
        memcpy(VARDATA(id_), entry.id.data(), entry.id.size());
        *delta = {window_, id_, entry.views};
        return table_;
    }

  private:
    DeltaReader reader_;
    const HourPartitions* partitions_;
    text* id_;
    TimestampTz window_ = 0;
    std::size_t hours_ = 0;
    UpsertTable* table_ = nullptr;
};

/// Through rows of one window.
class RowWalk {
  public:
    RowWalk(TimestampTz window, std::span<const VideoViews> rows, UpsertTable* table) : window_(window), rows_(rows), table_(table) {}

    UpsertTable* next(Delta* delta) {
        if (next_ == rows_.size()) return nullptr;
        const VideoViews& row = rows_[next_++];
        *delta = {window_, row.id, row.views};
        return table_;
    }

  private:
    TimestampTz window_;
    std::span<const VideoViews> rows_;
    UpsertTable* table_;
    std::size_t next_ = 0;
};

void tell_native(const char* who) {
    ereport(DEBUG1, (errmsg_internal("%s adds its rows natively", who)));
}

constexpr const char* kFlush = "topk.flush";
constexpr const char* kRollUp = "topk.roll_up_step";

const char* add_deltas(const Counter& counter, const FlushArguments& flush) {
    HourPartitions partitions;
    if (const char* obstacle = partitions.open(counter, flush.delta_hours)) return obstacle;
    tell_native(kFlush);
    UpsertChunks(FlushWalk(flush.delta_bytes, &partitions), partitions.tables())
        .run(flush.delta_entries, std::max(kMinChunk, flush.delta_entries / kMaxSubtransactions + 1));
    partitions.close();
    return nullptr;
}

const char* add_rows(Oid rollup, TimestampTz window, std::span<const VideoViews> rows) {
    // The source's constraints are not ours: the statement tells what is wrong.
    if (!std::all_of(rows.begin(), rows.end(), [](const VideoViews& row) { return row.views > 0; })) return "views are not positive";
    UpsertTable table;
    if (const char* obstacle = open_table(rollup, true, &table)) return obstacle;
    tell_native(kRollUp);
    UpsertChunks(RowWalk(window, rows, &table), std::span(&table, 1)).run(rows.size(), rows.size());
    close_table(&table);
    return nullptr;
}

/// True if add added: it says why rows are SQL's otherwise, and is not asked if the option is off.
template <typename Add>
bool add_natively(const char* who, Add&& add) {
    survives_longjmp<std::remove_reference_t<Add>>();
    const MemoryContext caller = CurrentMemoryContext;
    const MemoryContext memory = AllocSetContextCreate(caller, "topk upsert", ALLOCSET_DEFAULT_SIZES);
    MemoryContextSwitchTo(memory);
    const char* obstacle = "topk.native_upsert is off";
    if (is_wanted()) {
        CommandCounterIncrement();
        obstacle = add();
    }
    if (obstacle != nullptr) ereport(DEBUG1, (errmsg_internal("%s adds its rows by SQL: %s", who, obstacle)));
    MemoryContextSwitchTo(caller);
    MemoryContextDelete(memory);
    return obstacle == nullptr;
}

}  // namespace

void register_upsert_option() {
    const bool is_known =
        GetConfigOption(kOption, true, false) != nullptr && (GetConfigOptionFlags(kOption, true) & GUC_CUSTOM_PLACEHOLDER) == 0;
    if (is_known) return;
    DefineCustomBoolVariable(kOption, "Adds the rows of topk.flush and of roll-ups by the interfaces of heap and indexes.",
                             "Off, or where something else takes part in storing a row (see the extension's README): by SQL.",
                             &native_upsert, true, PGC_USERSET, 0, nullptr, nullptr, nullptr);
}

bool upsert_deltas(const Counter& counter, const FlushArguments& flush) {
    return add_natively(kFlush, [&] { return add_deltas(counter, flush); });
}

bool upsert_rows(Oid rollup, TimestampTz window, std::span<const VideoViews> rows) {
    return add_natively(kRollUp, [&] { return add_rows(rollup, window, rows); });
}

}  // namespace topk
