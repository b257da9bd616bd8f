// Opening and reading the lists of a cover.
#include "list_source.h"

#include "index/scan.h"

namespace topk {

namespace {

constexpr const char* kNoIndex = "a table has no topk index, or no primary key, that can be used";
static_assert(kMaxMergedLists == 256);
constexpr const char* kTooMany = "there are more than 256 lists";

Statement hours_statement = {
    "SELECT hour_start, day_start FROM topk.hour_map WHERE counter = $1 AND hour_start >= $2 AND hour_start < $3 ORDER BY hour_start LIMIT "
    "$4"};

struct StoredHour {
    TimestampTz start;
    TimestampTz day_start;
};

/// The stored hours of the cover, one more than can be merged at most. palloc'ed.
std::span<StoredHour> stored_hours(const Counter& counter, const Cover& cover) {
    const std::uint64_t count =
        run(hours_statement, {text_value(counter.name), time_value(cover.start), time_value(cover.end), int8_value(kMaxMergedLists + 1)},
            Snapshot::kCaller);
    auto* hours = static_cast<StoredHour*>(palloc(count * sizeof(StoredHour)));
    for (std::uint64_t row = 0; row < count; ++row)
        hours[row] = {DatumGetTimestampTz(cell(row, 1).value), DatumGetTimestampTz(cell(row, 2).value)};
    SPI_freetuptable(SPI_tuptable);
    return {hours, count};
}

/// The part of a day's rows that an hour holds, by guess: as much as each of the hours that have begun.
double share_of_day(const StoredHour& hour) {
    const TimestampTz now = GetCurrentTransactionStartTimestamp();
    const double begun = std::ceil(static_cast<double>(now - hour.day_start) / USECS_PER_HOUR);
    const bool is_today = begun > 0 && begun <= 24;
    if (is_today && hour.start > now) return 0;
    return 1 / (is_today ? begun : 24);
}

double estimated_rows(Relation table) {
    BlockNumber pages;
    double rows, all_visible;
    estimate_rel_size(table, nullptr, &pages, &rows, &all_visible);
    return rows;
}

}  // namespace

const char* ListSource::open(const Counter& counter, const Cover& cover, std::int32_t k) {
    arena_.begin(CurrentMemoryContext);
    seed_ = pg_prng_uint64(&pg_global_prng_state);
    expected_ = static_cast<std::size_t>(k + k / 4 + 16);
    table_count_ = list_count_ = 0;
    if (cover.rollup != kNoRollup) {
        Table* rollup = open_table(counter.rollups[cover.rollup], 1);
        Table* late = open_table(counter.late_table, 2);
        if (rollup == nullptr || late == nullptr) return kNoIndex;
        constexpr const char* kNames[kRollups] = {"day roll-up", "month roll-up", "all-time roll-up"};
        add_list(rollup, {kNames[cover.rollup], cover.label, rollup->rows}, nullptr);
        add_list(late, {"late additions", cover.label, late->rows / kRollups}, span_name(cover.rollup));
    }
    return open_hours(counter, cover);
}

/// Every hour that a partition was made for. A partition without any was made by hand: nobody knows what its hours are.
const char* ListSource::open_hours(const Counter& counter, const Cover& cover) {
    const std::span<StoredHour> hours = stored_hours(counter, cover);
    if (list_count_ + hours.size() > kMaxMergedLists) return kTooMany;
    std::span<Partition> partitions;
    if (!partitions_within(counter, cover.start, cover.end, &partitions)) return "there is a default partition";
    std::size_t next = 0;
    for (const Partition& partition : partitions) {
        while (next < hours.size() && hours[next].start < partition.start) ++next;
        if (next == hours.size() || hours[next].start >= partition.end) return "a partition was made by hand";
        Table* table = open_table(partition.table, 1);
        if (table == nullptr) return kNoIndex;
        for (; next < hours.size() && hours[next].start < partition.end; ++next)
            add_list(table, {"hour", hours[next].start, table->rows * share_of_day(hours[next])}, nullptr);
    }
    return nullptr;
}

/// Null if the table cannot serve lists.
ListSource::Table* ListSource::open_table(Oid table, int groups) {
    Table* opened = &tables_[table_count_];
    if (!open_list_table(table, groups, &opened->open)) return nullptr;
    ++table_count_;
    opened->look_ups = nullptr;
    opened->row = nullptr;
    if (opened->open.top_index == nullptr || opened->open.key_index == nullptr) return nullptr;
    opened->rows = estimated_rows(opened->open.relation);
    return opened;
}

void ListSource::add_list(Table* table, const List& list, const char* span) {
    lists_[list_count_] = list;
    Reader* reader = &readers_[list_count_++];
    reader->table = table;
    const int groups = table->open.groups;
    if (span != nullptr) fix_column(&reader->key[0], 1, TEXTOID, CStringGetTextDatum(span));
    fix_column(&reader->key[static_cast<std::size_t>(groups - 1)], groups, TIMESTAMPTZOID, TimestampTzGetDatum(list.window));
    fix_column(&reader->key[static_cast<std::size_t>(groups)], groups + 1, TEXTOID, 0);
    reader->scan = begin_index_scan(table->open.relation, table->open.top_index, GetActiveSnapshot(), groups);
    index_rescan(reader->scan, reader->key.data(), groups, nullptr, 0);
    expect_values(reader->scan, expected_);
}

void ListSource::close() {
    for (std::size_t i = 0; i < list_count_; ++i) index_endscan(readers_[i].scan);
    for (std::size_t i = 0; i < table_count_; ++i) {
        if (tables_[i].look_ups != nullptr) index_endscan(tables_[i].look_ups);
        if (tables_[i].row != nullptr) ExecDropSingleTupleTableSlot(tables_[i].row);
        close_list_table(tables_[i].open);
    }
}

ListState ListSource::next(std::size_t list, ListRow* row) {
    const Reader& reader = readers_[list];
    const auto score = static_cast<std::size_t>(reader.table->open.groups);
    const auto id_of = [](Datum value) {
        const text* id = DatumGetTextPP(value);
        return std::string_view(VARDATA_ANY(id), VARSIZE_ANY_EXHDR(id));
    };
    switch (next_candidate(reader.scan)) {
        case Step::kCut: {
            // Open columns rank above all: the greatest score, the least id.
            const Key& cut = cut_of(reader.scan);
            const bool has_score = cut.open_from > 0 && !cut.nulls[0];
            *row = {has_score ? DatumGetInt64(cut.values[0]) : PG_INT64_MAX, {}};
            if (has_score && cut.open_from > 1 && !cut.nulls[1]) row->id = id_of(cut.values[1]);
            return ListState::kCut;
        }
        case Step::kRow: {
            std::array<Datum, 4> values;
            std::array<bool, 4> nulls;
            get_values(reader.scan, values.data(), nulls.data());
            *row = {DatumGetInt64(values[score]), id_of(values[score + 1])};
            return ListState::kOpen;
        }
        default:
            return ListState::kExhausted;
    }
}

void ListSource::look_up(std::size_t list, std::span<MergedVideo*> videos, std::int64_t* values) {
    Reader& reader = readers_[list];
    Table& table = *reader.table;
    const int columns = table.open.groups + 1;
    if (table.look_ups == nullptr) {
        table.look_ups = begin_index_scan(table.open.relation, table.open.key_index, GetActiveSnapshot(), columns);
        table.row = table_slot_create(table.open.relation, nullptr);
    }
    for (std::size_t i = 0; i < videos.size(); ++i) {
        CHECK_FOR_INTERRUPTS();
        reader.key[static_cast<std::size_t>(columns - 1)].sk_argument = PointerGetDatum(videos[i]->id.data() - VARHDRSZ);  // as kept
        index_rescan(table.look_ups, reader.key.data(), columns, nullptr, 0);
        values[i] = 0;
        if (!index_getnext_slot(table.look_ups, ForwardScanDirection, table.row)) continue;
        bool is_null;
        const Datum views = slot_getattr(table.row, table.open.views_column(), &is_null);
        if (!is_null) values[i] = DatumGetInt64(views);
    }
    if (table.row != nullptr) ExecClearTuple(table.row);
}

/// As a text value, whose header comes before the id: it is what the key is looked up by.
std::string_view ListSource::keep(std::string_view id) {
    auto* copy = static_cast<char*>(arena_.take(VARHDRSZ + id.size()));
    SET_VARSIZE(copy, VARHDRSZ + id.size());
    memcpy(copy + VARHDRSZ, id.data(), id.size());
    return {copy + VARHDRSZ, id.size()};
}

}  // namespace topk
