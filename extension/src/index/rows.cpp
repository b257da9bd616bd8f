// Reading rows in the table's order; the roots a scan has emitted; its conditions.
#include "rows.h"

#include "versions.h"

namespace topk {

namespace {

// A block of a memory context of its usual size gives several of them.
constexpr std::size_t kArenaPiece = 8192;

std::size_t size_of(Datum value, std::int16_t length) {
    if (length > 0) return static_cast<std::size_t>(length);
    return length == -1 ? VARSIZE_ANY(DatumGetPointer(value)) : strlen(DatumGetCString(value)) + 1;
}

}  // namespace

void* Arena::take_more(std::size_t bytes) {
    if (bytes > kArenaPiece / 2) return MemoryContextAllocHuge(context_, bytes);
    next_ = static_cast<char*>(MemoryContextAlloc(context_, kArenaPiece));
    left_ = kArenaPiece;
    return take(bytes);
}

RowReader::RowReader(OpenIndex& index, std::uint64_t hash, SnapshotData* snapshot)
    : index_(index), hash_(hash), snapshot_(snapshot), count_(static_cast<std::size_t>(index.groups + index.keys)) {
    for (std::size_t i = 0; i < count_; ++i) {
        const auto attribute = TupleDescAttr(RelationGetDescr(index.heap), index.relation->rd_index->indkey.values[i] - 1);
        columns_[i] = {attribute->attnum, attribute->attlen, attribute->attbyval};
    }
}

std::size_t RowReader::read(std::span<std::uint64_t> roots, Arena& arena, Row* rows) {
    std::sort(roots.begin(), roots.end());
    std::size_t count = 0;
    for (std::size_t from = 0, until; from < roots.size(); from = until) {
        const ItemPointerData first = unpacked(roots[from]);
        for (until = from + 1; until < roots.size() && roots[until] >> 16 == roots[from] >> 16;) ++until;
        if (!is_within_heap(index_, first)) continue;
        CHECK_FOR_INTERRUPTS();
        // Not before the page's lock is gone: a type's functions may fetch values from TOAST tables.
        const std::size_t seen = read_page(roots.subspan(from, until - from), arena, rows + count);
        for (const Row& row : std::span(rows + count, seen)) {
            if (!is_of_group(row)) continue;  // the TID was re-used, or the row moved
            rows[count] = row;
            rows[count].lead = lead_of(index_, key_of(index_, row.values + index_.groups, row.nulls + index_.groups));
            ++count;
        }
    }
    return count;
}

/// The rows of one page, copied under its lock.
std::size_t RowReader::read_page(std::span<const std::uint64_t> roots, Arena& arena, Row* rows) {
    const ItemPointerData first = unpacked(roots[0]);
    Buffer buffer = ReadBuffer(index_.heap, ItemPointerGetBlockNumber(&first));
    heap_page_prune_opt(index_.heap, buffer);  // as every index scan does
    LockBuffer(buffer, BUFFER_LOCK_SHARE);
    std::size_t count = 0;
    for (const std::uint64_t root : roots) {
        ItemPointerData tid = unpacked(root);
        HeapTupleData tuple;
        if (heap_hot_search_buffer(&tid, index_.heap, buffer, snapshot_, &tuple, nullptr, true)) {
            rows[count].root = unpacked(root);
            copy_values(&tuple, arena, &rows[count++]);
        } else {
            refuse_old_snapshot(snapshot_, index_.heap, BufferGetPage(buffer));
        }
    }
    UnlockReleaseBuffer(buffer);
    return count;
}

void RowReader::copy_values(HeapTuple tuple, Arena& arena, Row* row) {
    row->values = arena.take_array<Datum>(count_);
    row->nulls = arena.take_array<bool>(count_);
    for (std::size_t i = 0; i < count_; ++i) {
        const Column& column = columns_[i];
        const Datum value = heap_getattr(tuple, column.attribute, RelationGetDescr(index_.heap), &row->nulls[i]);
        row->values[i] = value;
        if (row->nulls[i] || column.by_value) continue;
        const std::size_t size = size_of(value, column.length);
        row->values[i] = PointerGetDatum(memcpy(arena.take(size), DatumGetPointer(value), size));
    }
}

/// True if the values are of the scan's group: by their hash, or because they are the very ones of a row that is.
bool RowReader::is_of_group(const Row& row) {
    const auto groups = static_cast<std::size_t>(index_.groups);
    if (has_by_value_group_ && memcmp(row.values, group_.data(), groups * sizeof(Datum)) == 0 &&
        std::none_of(row.nulls, row.nulls + groups, std::identity()))
        return true;
    if (hash_group(index_, row.values, row.nulls) != hash_) return false;
    has_by_value_group_ = true;
    for (std::size_t i = 0; i < groups; ++i) has_by_value_group_ = has_by_value_group_ && !row.nulls[i] && columns_[i].by_value;
    memcpy(group_.data(), row.values, groups * sizeof(Datum));
    return true;
}

RootSet::RootSet(MemoryContext context) : context_(context), room_(128) {
    listed_ = static_cast<std::uint64_t*>(MemoryContextAlloc(context, room_ * sizeof(std::uint64_t)));
}

void RootSet::add(ItemPointerData root) {
    if (size_ == room_) {
        room_ *= 2;
        listed_ = static_cast<std::uint64_t*>(repalloc_huge(listed_, room_ * sizeof(std::uint64_t)));
    }
    listed_[size_++] = packed(root);  // never 0: offsets begin at 1
}

bool RootSet::contains(ItemPointerData root) {
    if (hashed_ < size_) hash_listed();
    if (size_ == 0) return false;
    std::size_t slot = mix_bits(packed(root)) & (capacity_ - 1);
    while (slots_[slot] != 0 && slots_[slot] != packed(root)) slot = (slot + 1) & (capacity_ - 1);
    return slots_[slot] != 0;
}

void RootSet::hash_listed() {
    if (2 * size_ > capacity_) {
        if (slots_ != nullptr) pfree(slots_);
        capacity_ = std::bit_ceil(4 * size_);
        slots_ = static_cast<std::uint64_t*>(
            MemoryContextAllocExtended(context_, capacity_ * sizeof(std::uint64_t), MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO));
        hashed_ = 0;
    }
    for (; hashed_ < size_; ++hashed_) {
        std::size_t slot = mix_bits(listed_[hashed_]) & (capacity_ - 1);
        while (slots_[slot] != 0) slot = (slot + 1) & (capacity_ - 1);
        slots_[slot] = listed_[hashed_];
    }
}

bool meets(const Conditions& conditions, const Datum* values, const bool* nulls) {
    for (int i = 0; i < conditions.count; ++i) {
        ScanKey key = &conditions.keys[i];
        const bool is_null = nulls[key->sk_attno - 1];
        if (key->sk_flags & SK_SEARCHNULL) {
            if (!is_null) return false;
        } else if (key->sk_flags & SK_SEARCHNOTNULL) {
            if (is_null) return false;
        } else if (is_null ||
                   !DatumGetBool(FunctionCall2Coll(&key->sk_func, key->sk_collation, values[key->sk_attno - 1], key->sk_argument))) {
            return false;
        }
    }
    return true;
}

}  // namespace topk
