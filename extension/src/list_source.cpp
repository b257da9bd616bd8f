// Opening and reading the lists of a cover.
#include "list_source.h"

#include "add_up.h"

namespace topk {

namespace {

constexpr const char* kNoIndex = "a table has no topk index, or no primary key, that can be used";
static_assert(kMaxMergedLists == 256);
constexpr const char* kTooMany = "there are more than 256 lists";
constexpr std::size_t kMaxPreparedParts = 1024;

/// The part of a day's rows that an hour holds, by guess: as much as each of the hours that have begun.
double share_of_day(TimestampTz hour, TimestampTz day) {
    const TimestampTz now = GetCurrentTransactionStartTimestamp();
    const double begun = std::ceil(static_cast<double>(now - day) / USECS_PER_HOUR);
    const bool is_today = begun > 0 && begun <= 24;
    if (is_today && hour > now) return 0;
    return 1 / (is_today ? begun : 24);
}

double estimated_rows(Relation table) {
    BlockNumber pages;
    double rows, all_visible;
    estimate_rel_size(table, nullptr, &pages, &rows, &all_visible);
    return rows;
}

/// How many windows the table has rows of, when it was analysed last; 1 if it never was.
double estimated_windows(const ListTable& table) {
    HeapTuple tuple = SearchSysCache3(STATRELATTINH, ObjectIdGetDatum(RelationGetRelid(table.relation)),
                                      Int16GetDatum(static_cast<AttrNumber>(table.groups)), BoolGetDatum(false));
    if (!HeapTupleIsValid(tuple)) return 1;
    const double distinct = reinterpret_cast<Form_pg_statistic>(GETSTRUCT(tuple))->stadistinct;
    ReleaseSysCache(tuple);
    return distinct < 0 ? std::max(1.0, -distinct * table.relation->rd_rel->reltuples) : std::max(1.0, distinct);
}

/// Lists that are empty have nothing of what was guessed for all of them: the others have it.
void share_out(std::span<ListSource::List> lists, double guessed) {
    double of_others = 0;
    for (const ListSource::List& list : lists) of_others += list.rows;
    if (of_others <= 0) return;
    for (ListSource::List& list : lists) list.rows *= guessed / of_others;
}

bool has_score(const Key& cut) {
    return cut.open_from > 0 && !cut.nulls[0];
}

/// Open columns rank above all.
std::int64_t score_of(const Key& cut) {
    return has_score(cut) ? DatumGetInt64(cut.values[0]) : PG_INT64_MAX;
}

/// What is in no block no snapshot sees.
bool is_empty(Relation table) {
    return RELKIND_HAS_STORAGE(table->rd_rel->relkind) && RelationGetNumberOfBlocks(table) == 0;
}

/// False of a table that was dropped.
bool is_empty(Oid table) {
    Relation relation = try_table_open(table, AccessShareLock);
    if (relation == nullptr) return false;
    const bool found = is_empty(relation);
    table_close(relation, NoLock);
    return found;
}

const char* name_of(const Part& part) {
    constexpr const char* kRollupNames[kRollups] = {"day roll-up", "month roll-up", "all-time roll-up"};
    return part.table == PartOf::kHours ? "hour" : part.table == PartOf::kLate ? "late additions" : kRollupNames[part.rollup];
}

}  // namespace

const char* ListSource::open(const Counter& counter, const Cover& cover, std::int32_t k) {
    arena_.begin(CurrentMemoryContext);
    seed_ = pg_prng_uint64(&pg_global_prng_state);
    expected_ = static_cast<std::size_t>(k + k / 4 + 16);
    const std::size_t parts = cover.windows.size() + cover.hours.size();
    make_room(parts + 1);
    const std::size_t of_prepared = cover.prepared_windows + cover.prepared_hours;
    if (parts - of_prepared + (cover.prepared != nullptr) > kMaxMergedLists || of_prepared > kMaxPreparedParts) return kTooMany;
    if (cover.prepared != nullptr) open_prepared(cover.prepared);
    const char* obstacle = open_windows(counter, cover);
    return obstacle == nullptr ? open_hours(counter, cover) : obstacle;
}

void ListSource::make_room(std::size_t parts) {
    tables_ = arena_.take_array<Table>(parts);
    readers_ = arena_.take_array<Reader>(parts);
    lists_ = arena_.take_array<List>(parts);
    list_readers_ = arena_.take_array<Reader*>(parts);
    table_count_ = reader_count_ = list_count_ = 0;
    prepared_ = {};
}

/// As list 0, whose estimated rows are those of its parts. The table of their places is at most half full.
void ListSource::open_prepared(const PreparedSums* sums) {
    lists_[list_count_] = {"prepared sums", sums->since, false, 0};
    list_readers_[list_count_++] = nullptr;
    prepared_.sums = sums;
    prepared_.slot_count = std::bit_ceil(2 * sums->sums.size() + 1);
    prepared_.slots = arena_.take_array<std::uint32_t>(prepared_.slot_count);
    std::fill_n(prepared_.slots, prepared_.slot_count, 0);
    std::uint32_t place = 0;
    for (const PreparedSum& sum : sums->sums) {
        std::size_t at = hash(sum.video_id) & (prepared_.slot_count - 1);
        while (prepared_.slots[at] != 0) at = (at + 1) & (prepared_.slot_count - 1);
        prepared_.slots[at] = ++place;
    }
}

const char* ListSource::open_windows(const Counter& counter, const Cover& cover) {
    std::size_t number = 0;
    for (const Part& part : cover.windows) {
        const bool is_late = part.table == PartOf::kLate;
        Table* table = open_table(is_late ? counter.late_table : counter.rollups[part.rollup], is_late ? 2 : 1);
        if (table == nullptr) return kNoIndex;
        const double parts = is_late ? static_cast<double>(kRollups) : estimated_windows(table->open);
        add_part(table, part, table->rows / parts, number++ < cover.prepared_windows);
    }
    return nullptr;
}

/// A partition with rows of none of the hours was made by hand: nobody knows what its hours are. One without rows was made since the
/// snapshot. Requires: every hour has a partition.
const char* ListSource::open_hours(const Counter& counter, const Cover& cover) {
    std::size_t next = 0;
    for (const HourRange& range : cover.ranges) {
        std::span<Partition> partitions;
        if (!partitions_within(counter, range.since, range.until, &partitions)) return "there is a default partition";
        for (const Partition& partition : partitions) {
            const TimestampTz end = std::min(partition.end, range.until);
            if (next == cover.hours.size() || cover.hours[next].window >= end) {
                if (is_empty(partition.table)) continue;
                return "a partition was made by hand";
            }
            Table* table = open_table(partition.table, 1);
            if (table == nullptr) return kNoIndex;
            const std::size_t first = list_count_;
            double guessed = 0;
            // Most days that were made ahead have no hour yet.
            const bool empty = is_empty(table->open.relation);
            for (; next < cover.hours.size() && cover.hours[next].window < end; ++next) {
                if (empty) continue;
                const Part& hour = cover.hours[next];
                const bool is_prepared = next < cover.prepared_hours;
                const double rows = table->rows * share_of_day(hour.window, partition.start);
                add_part(table, hour, rows, is_prepared);
                if (!is_prepared) guessed += rows;
            }
            share_out({lists_ + first, list_count_ - first}, guessed);
        }
    }
    return nullptr;
}

/// Null if the table cannot serve lists.
ListSource::Table* ListSource::open_table(Oid table, int groups) {
    for (std::size_t i = 0; i < table_count_; ++i)
        if (RelationGetRelid(tables_[i].open.relation) == table) return &tables_[i];
    Table* opened = &tables_[table_count_];
    if (!open_list_table(table, groups, &opened->open)) return nullptr;
    ++table_count_;
    opened->look_ups = nullptr;
    opened->row = nullptr;
    if (opened->open.top_index == nullptr || opened->open.key_index == nullptr) return nullptr;
    opened->rows = estimated_rows(opened->open.relation);
    return opened;
}

void ListSource::add_part(Table* table, const Part& part, double rows, bool is_prepared) {
    Reader* reader = new (&readers_[reader_count_++]) Reader;
    reader->table = table;
    reader->scan = nullptr;
    reader->is_begun = false;
    reader->beyond = part.beyond == nullptr ? std::string_view() : std::string_view(part.beyond);
    reader->is_prepared = is_prepared;
    const int groups = table->open.groups;
    if (part.table == PartOf::kLate) fix_column(&reader->key[0], 1, TEXTOID, CStringGetTextDatum(span_name(part.rollup)));
    fix_column(&reader->key[static_cast<std::size_t>(groups - 1)], groups, TIMESTAMPTZOID, TimestampTzGetDatum(part.window));
    fix_column(&reader->key[static_cast<std::size_t>(groups)], groups + 1, TEXTOID, 0);
    if (is_prepared)
        lists_[0].rows += rows;
    else
        begin_list(reader, part, rows);
}

/// Takes the first step, which the merge would take anyway: most of a young counter's windows are empty, and no estimate tells.
void ListSource::begin_list(Reader* reader, const Part& part, double rows) {
    const int groups = reader->table->open.groups;
    reader->scan = begin_index_scan(reader->table->open.relation, reader->table->open.top_index, GetActiveSnapshot(), groups);
    index_rescan(reader->scan, reader->key.data(), groups, nullptr, 0);
    expect_values(reader->scan, expected_);
    reader->first = next_candidate(reader->scan);
    lists_[list_count_] = {name_of(part), part.window, part.beyond != nullptr, reader->first == Step::kEnd ? 0 : rows};
    list_readers_[list_count_++] = reader;
}

void ListSource::close() {
    for (std::size_t i = 0; i < reader_count_; ++i)
        if (readers_[i].scan != nullptr) index_endscan(readers_[i].scan);
    for (std::size_t i = 0; i < table_count_; ++i) {
        if (tables_[i].look_ups != nullptr) index_endscan(tables_[i].look_ups);
        if (tables_[i].row != nullptr) ExecDropSingleTupleTableSlot(tables_[i].row);
        close_list_table(tables_[i].open);
    }
}

ListState ListSource::next(std::size_t list, ListRow* row) {
    if (list_readers_[list] == nullptr) return next_prepared(row);
    Reader* reader = list_readers_[list];
    if (reader->beyond.empty()) return next_row(reader, row);
    return next_beyond(reader->beyond, row, [&](ListRow* next) {
        CHECK_FOR_INTERRUPTS();
        return next_row(reader, next);
    });
}

/// The next row of the whole window.
ListState ListSource::next_row(Reader* reader, ListRow* row) {
    const auto score = static_cast<std::size_t>(reader->table->open.groups);
    const auto id_of = [](Datum value) {
        const text* id = DatumGetTextPP(value);
        return std::string_view(VARDATA_ANY(id), VARSIZE_ANY_EXHDR(id));
    };
    const Step step = reader->is_begun ? next_candidate(reader->scan) : reader->first;
    reader->is_begun = true;
    switch (step) {
        case Step::kCut: {
            // Open columns rank above all: the least id.
            const Key& cut = cut_of(reader->scan);
            *row = {score_of(cut), {}};
            if (has_score(cut) && cut.open_from > 1 && !cut.nulls[1]) row->id = id_of(cut.values[1]);
            return ListState::kCut;
        }
        case Step::kRow: {
            std::array<Datum, 4> values;
            std::array<bool, 4> nulls;
            get_values(reader->scan, values.data(), nulls.data());
            *row = {DatumGetInt64(values[score]), id_of(values[score + 1])};
            return ListState::kOpen;
        }
        default:
            return ListState::kExhausted;
    }
}

std::int64_t ListSource::floor(std::size_t list) const {
    if (list_readers_[list] == nullptr) {
        const PreparedSums& prepared = *prepared_.sums;
        return prepared.is_complete || prepared.sums.empty() ? 0 : prepared.sums.back().views;
    }
    const Key* cut = known_cut_of(list_readers_[list]->scan);
    return cut == nullptr ? 0 : score_of(*cut);
}

/// What was not prepared ranks below the last of it.
ListState ListSource::next_prepared(ListRow* row) {
    const std::span<const PreparedSum> sums = prepared_.sums->sums;
    const bool is_at_end = prepared_.next == sums.size();
    if (is_at_end && (prepared_.sums->is_complete || sums.empty())) return ListState::kExhausted;
    const PreparedSum& sum = sums[is_at_end ? sums.size() - 1 : prepared_.next++];
    *row = {sum.views, sum.video_id};
    return is_at_end ? ListState::kCut : ListState::kOpen;
}

const PreparedSum* ListSource::find_prepared(const MergedVideo& video) const {
    const std::size_t mask = prepared_.slot_count - 1;
    for (std::size_t at = video.hash & mask; prepared_.slots[at] != 0; at = (at + 1) & mask) {
        const PreparedSum& sum = prepared_.sums->sums[prepared_.slots[at] - 1];
        if (sum.video_id == video.id) return &sum;
    }
    return nullptr;
}

bool ListSource::peek(std::size_t, const MergedVideo& video, std::int64_t* value) const {
    const PreparedSums& prepared = *prepared_.sums;
    const PreparedSum* sum = find_prepared(video);
    const bool has_less = sum == nullptr && !prepared.is_complete && !prepared.sums.empty();
    *value = sum != nullptr ? sum->views : has_less ? prepared.sums.back().views : 0;
    return !has_less;
}

/// Of videos that are not among the sums: their parts are added up.
void ListSource::look_up_prepared(std::span<MergedVideo*> videos, std::int64_t* values) {
    std::fill_n(values, videos.size(), 0);
    for (Reader& reader : std::span(readers_, reader_count_)) {
        if (!reader.is_prepared) continue;
        for (std::size_t i = 0; i < videos.size(); ++i) {
            CHECK_FOR_INTERRUPTS();
            const std::string_view id = videos[i]->id;
            if (pg_add_s64_overflow(values[i], look_up(reader, id), &values[i])) refuse_sum(pnstrdup(id.data(), id.size()));
        }
        if (reader.table->row != nullptr) ExecClearTuple(reader.table->row);
    }
}

void ListSource::look_up(std::size_t list, std::span<MergedVideo*> videos, std::int64_t* values) {
    if (list_readers_[list] == nullptr) {
        look_up_prepared(videos, values);
        return;
    }
    Reader& reader = *list_readers_[list];
    for (std::size_t i = 0; i < videos.size(); ++i) {
        CHECK_FOR_INTERRUPTS();
        values[i] = look_up(reader, videos[i]->id);
    }
    if (reader.table->row != nullptr) ExecClearTuple(reader.table->row);
}

/// A video's views in a window; the id is one that was kept.
std::int64_t ListSource::look_up(Reader& reader, std::string_view id) {
    if (!reader.beyond.empty() && id <= reader.beyond) return 0;  // it counts in the roll-up
    Table& table = *reader.table;
    const int columns = table.open.groups + 1;
    if (table.look_ups == nullptr) {
        table.look_ups = begin_index_scan(table.open.relation, table.open.key_index, GetActiveSnapshot(), columns);
        table.row = table_slot_create(table.open.relation, nullptr);
    }
    reader.key[static_cast<std::size_t>(columns - 1)].sk_argument = PointerGetDatum(id.data() - VARHDRSZ);
    index_rescan(table.look_ups, reader.key.data(), columns, nullptr, 0);
    if (!index_getnext_slot(table.look_ups, ForwardScanDirection, table.row)) return 0;
    bool is_null;
    const Datum views = slot_getattr(table.row, table.open.views_column(), &is_null);
    return is_null ? 0 : DatumGetInt64(views);
}

/// As a text value, whose header comes before the id: it is what the key is looked up by.
std::string_view ListSource::keep(std::string_view id) {
    auto* copy = static_cast<char*>(arena_.take(VARHDRSZ + id.size()));
    SET_VARSIZE(copy, VARHDRSZ + id.size());
    memcpy(copy + VARHDRSZ, id.data(), id.size());
    return {copy + VARHDRSZ, id.size()};
}

}  // namespace topk
