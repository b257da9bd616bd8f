// Keeping lists, and telling whether they still hold.
#include "kept_list.h"

#include "versions.h"

namespace topk {

namespace {

constexpr std::size_t kGroups = 64;  // that a session knows
constexpr std::size_t kMostRows = 2048;
constexpr std::size_t kMostSections = 32;  // one scan's are fewer
constexpr std::size_t kMostBytes = 128 * 1024;
constexpr std::uint32_t kLongestPause = 63;

/// What the session knows of a group.
struct Known {
    FileLocator file;  // of the index
    std::uint64_t hash;
    std::uint64_t signature;  // of the pages, when they were read last
    std::uint64_t used;
    std::uint32_t pause;  // so many scans are not recorded
    std::uint32_t next_pause;
    KeptList* list;
};
std::array<Known, kGroups> known_groups;
std::uint64_t uses = 0;

Known* find_known(const OpenIndex& index, std::uint64_t hash) {
    for (Known& known : known_groups)
        if (known.hash == hash && known.used > 0 && is_same_file(known.file, file_of(index.relation))) return &known;
    return nullptr;
}

void forget(Known* known) {
    KeptList* list = known->list;
    known->list = nullptr;
    if (list == nullptr) return;
    list->is_forgotten = true;
    if (list->readers == 0) MemoryContextDelete(list->memory);
}

/// Its place is that of the group without a list that was asked for longest ago, if there is one.
Known* find_or_make_known(const OpenIndex& index, std::uint64_t hash) {
    Known* known = find_known(index, hash);
    if (known != nullptr) return known;
    known = std::min_element(known_groups.begin(), known_groups.end(), [](const Known& a, const Known& b) {
        return (a.list == nullptr) != (b.list == nullptr) ? a.list == nullptr : a.used < b.used;
    });
    forget(known);
    *known = {file_of(index.relation), hash, 0, 0, 0, 0, nullptr};
    return known;
}

/// True if it may see superseded versions that the index has given up, of transactions up to this one (0: there are none).
bool is_older(SnapshotData* snapshot, std::uint64_t last_ended) {
    return last_ended != 0 && last_ended >= full_xid(snapshot->xmin);
}

void end_reading(void* argument) {
    auto* list = static_cast<KeptList*>(argument);
    if (--list->readers == 0 && list->is_forgotten) MemoryContextDelete(list->memory);
}

/// Until the context is reset or deleted, as it is after an error, too.
void begin_reading(KeptList* list, MemoryContext reader) {
    auto* callback = static_cast<MemoryContextCallback*>(MemoryContextAlloc(reader, sizeof(MemoryContextCallback)));
    callback->func = end_reading;
    callback->arg = list;
    ++list->readers;
    MemoryContextRegisterResetCallback(reader, callback);
}

bool is_all_visible(const OpenIndex& index, BlockNumber page, Buffer* map) {
    return (visibilitymap_get_status(index.heap, page, map) & VISIBILITYMAP_ALL_VISIBLE) != 0;
}

/// Of a page of the visibility map. Under the page's lock: who sets a bit holds it until the LSN has risen.
XLogRecPtr map_lsn(Buffer map) {
    LockBuffer(map, BUFFER_LOCK_SHARE);
    const XLogRecPtr lsn = PageGetLSN(BufferGetPage(map));
    LockBuffer(map, BUFFER_LOCK_UNLOCK);
    return lsn;
}

bool is_index_unchanged(const OpenIndex& index, KeptList* list) {
    ++list->served;
    return std::all_of(list->index_pages.begin(), list->index_pages.end(),
                       [&](PageState& page) { return is_unchanged(index, &page, list->served); });
}

/// The bits come first: one that is set has been since the LSN was noted if that has not risen.
bool are_pages_unchanged(const OpenIndex& index, const KeptList::Section& section) {
    Buffer map = InvalidBuffer;
    std::size_t page = 0;
    const bool unchanged = std::all_of(section.map_pages.begin(), section.map_pages.end(), [&](const KeptList::MapPage& map_page) {
        for (; page < map_page.end; ++page)
            if (!is_all_visible(index, section.table_pages[page], &map)) return false;
#ifdef TOPK_TEST_TRUST_MAP
        return true;
#endif
        return map_lsn(map) == map_page.lsn;
    });
    if (BufferIsValid(map)) ReleaseBuffer(map);
    return unchanged;
}

/// The rows of these roots (which are ascending) as the snapshot sees them, one after the other, null if it sees none of the group; while
/// visit(root, row) returns true.
template <typename Visit>
bool visit_rows(OpenIndex& index, std::uint64_t hash, SnapshotData* snapshot, std::span<std::uint64_t> roots, Visit&& visit) {
    survives_longjmp<std::remove_reference_t<Visit>>();
    if (roots.empty()) return true;
    Arena arena;
    arena.begin(CurrentMemoryContext);
    auto* rows = arena.take_array<Row>(roots.size());
    const Row* const end = rows + RowReader(index, hash, snapshot).read(roots, arena, rows);
    const Row* row = rows;
    return std::all_of(roots.begin(), roots.end(), [&](std::uint64_t root) {
        const bool seen = row != end && packed(row->root) == root;
        return visit(root, seen ? row++ : nullptr);
    });
}

bool are_others_unchanged(OpenIndex& index, std::uint64_t hash, const KeptList::Section& section, SnapshotData* snapshot) {
    const std::size_t count = section.other_rows.size();
    if (count == 0) return true;
    auto* roots = static_cast<std::uint64_t*>(palloc(count * sizeof(std::uint64_t)));
    for (std::size_t i = 0; i < count; ++i) roots[i] = section.other_rows[i].root;
    const KeptList::OtherRow* other = section.other_rows.data();
    return visit_rows(index, hash, snapshot, {roots, count}, [&](std::uint64_t, const Row* row) {
        IndexTuple before = (other++)->row;
        if (row == nullptr || before == nullptr) return row == nullptr && before == nullptr;
        SmallTuple room;
        IndexTuple now = small_tuple(&room, RelationGetDescr(index.relation), row->values, row->nulls, row->root);
        return now != nullptr && IndexTupleSize(now) == IndexTupleSize(before) && memcmp(now, before, IndexTupleSize(now)) == 0;
    });
}

bool is_unchanged(OpenIndex& index, std::uint64_t hash, const KeptList::Section& section, SnapshotData* snapshot) {
    return are_pages_unchanged(index, section) && are_others_unchanged(index, hash, section, snapshot);
}

/// All rows are of one group; it is another if two groups have the same hash.
bool is_of_group(const OpenIndex& index, const KeptList& list, const Conditions& conditions) {
    std::array<Datum, INDEX_MAX_KEYS> values;
    std::array<bool, INDEX_MAX_KEYS> nulls;
    index_deform_tuple(list.first->rows[0], RelationGetDescr(index.relation), values.data(), nulls.data());
    return meets(conditions, values.data(), nulls.data());
}

template <typename T>
std::span<T> copied(MemoryContext memory, std::span<T> items) {
    auto* copy = static_cast<T*>(MemoryContextAlloc(memory, items.size_bytes()));
    std::copy(items.begin(), items.end(), copy);
    return {copy, items.size()};
}

}  // namespace

bool is_keeping(const OpenIndex& index) {
    return have_lsns(index) && RelationNeedsWAL(index.heap) && !IsolationIsSerializable() && !snapshots_grow_too_old();
}

bool KeptScan::begin(const Conditions& conditions, MemoryContext reader) {
    Known* known = find_known(index_, hash_);
    if (known == nullptr || known->list == nullptr || is_older(snapshot_, known->list->last_ended)) return false;
    list_ = known->list;
    section_ = list_->first;
    known->used = ++uses;
    begin_reading(list_, reader);  // before functions of types are called, which may read lists, too
    return is_index_unchanged(index_, list_) && is_unchanged(index_, hash_, *section_, snapshot_) &&
           is_of_group(index_, *list_, conditions);
}

// The index's pages were looked at after the snapshot was taken: what they promised then they promise it for good.
IndexTuple KeptScan::next() {
    while (given_ == section_->rows.size()) {
        if (section_->next == nullptr) return nullptr;
        if (!is_unchanged(index_, hash_, *section_->next, snapshot_)) {
            failed_ = true;
            Known* known = find_known(index_, hash_);
            if (known != nullptr && known->list == list_) forget(known);
            return nullptr;
        }
        section_ = section_->next;
        given_ = 0;
    }
    return section_->rows[given_++];
}

// As index_form_tuple does, which would also compress and fetch.
IndexTuple small_tuple(SmallTuple* room, TupleDesc columns, const Datum* values, const bool* nulls, ItemPointerData root) {
    bool has_null = false;
    for (int i = 0; i < columns->natts; ++i) {
        has_null = has_null || nulls[i];
        if (!nulls[i] && TupleDescAttr(columns, i)->attlen == -1 && VARATT_IS_EXTERNAL(DatumGetPointer(values[i]))) return nullptr;
    }
    auto* all_values = const_cast<Datum*>(values);  // neither is changed
    auto* all_nulls = const_cast<bool*>(nulls);
    const std::size_t offset = IndexInfoFindDataOffset(static_cast<std::uint16_t>(has_null ? INDEX_NULL_MASK : 0));
    const std::size_t data = heap_compute_data_size(columns, all_values, all_nulls);
    const std::size_t size = MAXALIGN(offset + data);
    if (size > sizeof(SmallTuple)) return nullptr;
    memset(room, 0, size);  // heap_fill_tuple leaves gaps, and sets bits
    auto* tuple = reinterpret_cast<IndexTuple>(room->bytes);
    std::uint16_t info = 0;
    heap_fill_tuple(columns, all_values, all_nulls, room->bytes + offset, data, &info,
                    has_null ? reinterpret_cast<bits8*>(room->bytes + sizeof(IndexTupleData)) : nullptr);
    tuple->t_tid = root;
    tuple->t_info =
        static_cast<std::uint16_t>(size | (has_null ? INDEX_NULL_MASK : 0) | ((info & HEAP_HASVARWIDTH) != 0 ? INDEX_VAR_MASK : 0));
    return tuple;
}

template <typename T>
void ListRecorder::List<T>::add(MemoryContext memory, const T& item) {
    if (size == room) {
        room = std::max<std::size_t>(64, 2 * room);
        items = static_cast<T*>(items == nullptr ? MemoryContextAlloc(memory, room * sizeof(T)) : repalloc(items, room * sizeof(T)));
    }
    items[size++] = item;
}

void ListRecorder::begin_pages() {
    index_pages_.size = 0;
    last_ended_ = 0;
}

void ListRecorder::add_page(const PageState& page, const Histories& histories) {
    index_pages_.add(memory_, page);
    for (std::size_t i = 0; i < histories.size; ++i) last_ended_ = std::max(last_ended_, histories.items[i].range.high);
}

void ListRecorder::end_pages() {
    std::uint64_t signature = 0;
    for (const PageState& page : index_pages_.all()) signature = mix_bits(signature ^ page.lsn) + page.block;
    if (was_read_) {
        changed_ = changed_ || signature != signature_;
        wants_rows_ = wants_rows_ && !changed_;
        return;
    }
    was_read_ = true;
    signature_ = signature;
    Known* known = find_known(index_, hash_);
    if (known == nullptr || known->signature != signature) return;
    wants_rows_ = known->pause == 0 && !is_older(snapshot_, last_ended_);
    if (known->pause > 0) --known->pause;
}

// Before them a section may end, if it has half as many rows as come before it: the number of a scan's grows with the logarithm.
void ListRecorder::add_roots(std::span<const std::uint64_t> roots) {
    if (!wants_rows_) return;
    const std::size_t rows = begun_rows_ + rows_.size;
    if (rows > section_begin_ + section_begin_ / 2) {
        marks_.add(memory_, {rows_.size, roots_.size});
        section_begin_ = rows;
    }
    for (const std::uint64_t root : roots) roots_.add(memory_, root);
}

IndexTuple ListRecorder::copied(IndexTuple row) {
    const std::size_t size = MAXALIGN(IndexTupleSize(row));
    bytes_ += size;
    return static_cast<IndexTuple>(memcpy(MemoryContextAlloc(memory_, size), row, size));
}

void ListRecorder::add_row(IndexTuple row) {
    if (!wants_rows_) return;
    const bool is_full = begun_rows_ + rows_.size == kMostRows || bytes_ > kMostBytes;
    if (is_full) marks_.add(memory_, {rows_.size, roots_.size});
    refused_ = is_full || row == nullptr;
    wants_rows_ = !refused_;
    if (!refused_) rows_.add(memory_, copied(row));
}

/// By whether the table's pages are all-visible. Of their page in the map the LSN comes first, then the bits.
void ListRecorder::sort_out_pages(std::span<std::uint64_t> roots) {
    other_roots_.size = table_pages_.size = map_pages_.size = 0;
    std::sort(roots.begin(), roots.end());
    Buffer map = InvalidBuffer;
    BlockNumber last_map = InvalidBlockNumber;
    BlockNumber last_page = InvalidBlockNumber;
    bool visible = false;
    for (const std::uint64_t root : roots) {
        const auto page = static_cast<BlockNumber>(root >> 16);
        if (page != last_page) {
            last_page = page;
            visible = is_all_visible(index_, page, &map);
            if (visible && BufferGetBlockNumber(map) != last_map) {
                last_map = BufferGetBlockNumber(map);
                map_pages_.add(memory_, {map_lsn(map), table_pages_.size});
                visible = is_all_visible(index_, page, &map);
                if (!visible) {  // any more: the map's page would stand there without a table page
                    --map_pages_.size;
                    last_map = InvalidBlockNumber;
                }
            }
            if (visible) {
                table_pages_.add(memory_, page);
                map_pages_.items[map_pages_.size - 1].end = table_pages_.size;
            }
        }
        if (!visible) other_roots_.add(memory_, root);
    }
    if (BufferIsValid(map)) ReleaseBuffer(map);
}

/// False if one cannot be kept.
bool ListRecorder::read_others() {
    other_rows_.size = 0;
    return visit_rows(index_, hash_, snapshot_, other_roots_.all(), [this](std::uint64_t root, const Row* row) {
        SmallTuple room;
        IndexTuple small =
            row == nullptr ? nullptr : small_tuple(&room, RelationGetDescr(index_.relation), row->values, row->nulls, row->root);
        if (row != nullptr && small == nullptr) return false;
        other_rows_.add(memory_, {root, small == nullptr ? nullptr : copied(small)});
        return true;
    });
}

/// With its tuples in one piece.
KeptList::Section* ListRecorder::copied_section(MemoryContext memory, std::span<IndexTuple> rows) {
    auto* section = static_cast<KeptList::Section*>(MemoryContextAllocZero(memory, sizeof(KeptList::Section)));
    section->rows = topk::copied(memory, rows);
    section->table_pages = topk::copied(memory, table_pages_.all());
    section->map_pages = topk::copied(memory, map_pages_.all());
    section->other_rows = topk::copied(memory, other_rows_.all());
    const auto for_each_tuple = [section](auto&& visit) {
        for (IndexTuple& row : section->rows) visit(row);
        for (KeptList::OtherRow& other : section->other_rows)
            if (other.row != nullptr) visit(other.row);
    };
    std::size_t bytes = 0;
    for_each_tuple([&](IndexTuple& row) { bytes += MAXALIGN(IndexTupleSize(row)); });
    auto* place = static_cast<char*>(MemoryContextAlloc(memory, bytes));
    for_each_tuple([&](IndexTuple& row) {
        const std::size_t size = MAXALIGN(IndexTupleSize(row));
        row = static_cast<IndexTuple>(memcpy(place, row, size));
        place += size;
    });
    return section;
}

/// Of the rows recorded, as far as they can be kept; without sections if none can.
KeptList* ListRecorder::make_list(bool whole) {
    // Until it is complete an error frees it.
    MemoryContext memory = AllocSetContextCreate(CurrentMemoryContext, "topk kept list", ALLOCSET_SMALL_SIZES);
    auto* list = static_cast<KeptList*>(MemoryContextAllocZero(memory, sizeof(KeptList)));
    list->memory = memory;
    list->last_ended = last_ended_;
    if (begun_ == nullptr) list->index_pages = topk::copied(memory, index_pages_.all());
    whole = whole && !refused_;
    if (!refused_) marks_.add(memory_, {rows_.size, roots_.size});
    Mark begin;
    for (const Mark& end : marks_.all()) {
        if (end.rows == begin.rows && !whole) continue;
        sort_out_pages(roots_.all().subspan(begin.roots, end.roots - begin.roots));
        if (!read_others()) {
            refused_ = true;
            break;
        }
        KeptList::Section* section = copied_section(memory, rows_.all().subspan(begin.rows, end.rows - begin.rows));
        (list->first == nullptr ? list->first : list->last->next) = section;
        list->last = section;
        ++list->section_count;
        begin = end;
    }
    list->row_count = begin.rows;
    list->bytes = bytes_;
    list->is_whole = whole && !refused_;
    list->is_closed = refused_;
    return list;
}

/// Functions of types may have read lists meanwhile, and kept one.
void ListRecorder::keep(KeptList* list) {
    Known* known = find_known(index_, hash_);
    const bool is_free = known != nullptr && known->list == begun_ && (begun_ == nullptr || begun_->last == begun_end_);
    const bool is_empty = list->first == nullptr;
    if (is_free && begun_ == nullptr) known->pause = known->next_pause = is_empty ? std::min(2 * known->next_pause + 1, kLongestPause) : 0;
    if (is_free && begun_ != nullptr && is_empty) begun_->is_closed = true;
    if (!is_free || is_empty) {
        MemoryContextDelete(list->memory);
        return;
    }
    if (begun_ == nullptr) {
        MemoryContextSetParent(list->memory, TopMemoryContext);
        known->list = list;
        return;
    }
    MemoryContextSetParent(list->memory, begun_->memory);
    begun_->last->next = list->first;
    begun_->last = list->last;
    begun_->row_count += list->row_count;
    begun_->section_count += list->section_count;
    begun_->bytes = list->bytes;
    begun_->is_whole = list->is_whole;
    begun_->is_closed = list->is_closed;
    if (begun_->section_count > kMostSections) forget(known);  // by small steps; the next scan reads it at once
}

void ListRecorder::finish(bool whole) {
    if (!was_read_) return;
    Known* known = find_or_make_known(index_, hash_);
    known->used = ++uses;
    const bool is_same = known->signature == signature_;
    if (!is_same) known->pause = known->next_pause = 0;
    if (is_same && is_older(snapshot_, last_ended_)) return;  // the list holds for others
    known->signature = signature_;
    if (begun_ == nullptr || !is_same || changed_) forget(known);  // it does not hold
    if (known->list != begun_ || changed_ || (begun_ == nullptr && rows_.size == 0)) return;
    MemoryContext caller = MemoryContextSwitchTo(memory_);
    KeptList* list = make_list(whole);
    MemoryContextSwitchTo(caller);
    keep(list);
}

}  // namespace topk
