// Reading a group's entries, and the threshold algorithm over them.
#include "candidates.h"

#include "directory.h"
#include "group.h"
#include "versions.h"

namespace topk {

namespace {

constexpr std::size_t kFirstTier = 128;
constexpr std::size_t kTierGrowth = 8;

/// Copies a key into the current memory context.
Key copied(const OpenIndex& index, const Key& key) {
    Key copy = key;
    for (int i = 0; i < std::min(key.open_from, index.keys); ++i) {
        const auto attribute = TupleDescAttr(index.key_desc, i + 1);
        if (!key.nulls[i]) copy.values[i] = datumCopy(key.values[i], attribute->attbyval, attribute->attlen);
    }
    return copy;
}

// One scan's memory is kept for the next: most of a short scan's time would otherwise go into getting it from the system and back.
constexpr std::size_t kKeptMemory = 64 * 1024;
MemoryContext kept_context = nullptr;

MemoryContext acquire_context() {
    MemoryContext context = kept_context;
    kept_context = nullptr;
    if (context == nullptr)
        return AllocSetContextCreate(CurrentMemoryContext, "topk candidates", kKeptMemory, ALLOCSET_DEFAULT_INITSIZE,
                                     ALLOCSET_DEFAULT_MAXSIZE);
    MemoryContextSetParent(context, CurrentMemoryContext);  // which frees it should there be an error
    return context;
}

void release_context(MemoryContext context) {
    if (kept_context != nullptr) {
        MemoryContextDelete(context);
        return;
    }
    MemoryContextReset(context);
    MemoryContextSetParent(context, CacheMemoryContext);
    kept_context = context;
}

}  // namespace

/// Of all columns of the index.
struct CandidateScan::Row {
    Datum* values;
    bool* nulls;
};

RootSet::RootSet(MemoryContext context) : context_(context), capacity_(256) {
    slots_ = static_cast<std::uint64_t*>(MemoryContextAllocZero(context, capacity_ * sizeof(std::uint64_t)));
}

void RootSet::add(ItemPointerData root) {
    if (2 * (size_ + 1) > capacity_) grow();
    std::size_t slot = mix_bits(packed(root)) & (capacity_ - 1);
    while (slots_[slot] != 0 && slots_[slot] != packed(root)) slot = (slot + 1) & (capacity_ - 1);
    size_ += slots_[slot] == 0;
    slots_[slot] = packed(root);  // never 0: offsets begin at 1
}

bool RootSet::contains(ItemPointerData root) const {
    std::size_t slot = mix_bits(packed(root)) & (capacity_ - 1);
    while (slots_[slot] != 0 && slots_[slot] != packed(root)) slot = (slot + 1) & (capacity_ - 1);
    return slots_[slot] != 0;
}

void RootSet::grow() {
    std::uint64_t* old = slots_;
    const std::size_t old_capacity = capacity_;
    capacity_ *= 2;
    slots_ = static_cast<std::uint64_t*>(
        MemoryContextAllocExtended(context_, capacity_ * sizeof(std::uint64_t), MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO));
    for (std::size_t i = 0; i < old_capacity; ++i) {
        if (old[i] == 0) continue;
        std::size_t slot = mix_bits(old[i]) & (capacity_ - 1);
        while (slots_[slot] != 0) slot = (slot + 1) & (capacity_ - 1);
        slots_[slot] = old[i];
    }
    pfree(old);
}

bool meets(const Conditions& conditions, const Datum* values, const bool* nulls) {
    for (int i = 0; i < conditions.count; ++i) {
        ScanKey key = &conditions.keys[i];
        const bool is_null = nulls[key->sk_attno - 1];
        if (key->sk_flags & SK_SEARCHNULL) {
            if (!is_null) return false;
        } else if (key->sk_flags & SK_SEARCHNOTNULL) {
            if (is_null) return false;
        } else if (is_null || (key->sk_flags & SK_ISNULL) ||
                   !DatumGetBool(FunctionCall2Coll(&key->sk_func, key->sk_collation, values[key->sk_attno - 1], key->sk_argument))) {
            return false;
        }
    }
    return true;
}

CandidateScan::CandidateScan(OpenIndex& index, std::uint64_t hash, Conditions conditions, SnapshotData* snapshot,
                             IndexFetchTableData* fetch, std::size_t expected)
    : index_(index),
      hash_(hash),
      conditions_(conditions),
      snapshot_(snapshot),
      running_(running_for(snapshot)),
      context_(CurrentMemoryContext),
      tier_(acquire_context()),
      emitted_(CurrentMemoryContext),
      wanted_(expected == 0 ? kFirstTier : expected + expected / 4 + 16),
      fetch_(fetch),
      slot_(table_slot_create(index.heap, nullptr)),
      has_by_value_group_(false) {}

void CandidateScan::close() {
    ExecDropSingleTupleTableSlot(slot_);
    release_context(tier_);
}

void CandidateScan::raise(Cut* cut, const Key& key) {
    if (cut->is_set && !above(index_, key, cut->key)) return;
    *cut = {true, lead_of(index_, key), copied(index_, key)};
}

bool CandidateScan::is_above(IndexTuple item, const Cut& cut) {
    if (!cut.is_set) return true;
    const std::uint64_t lead = lead_of(index_, item);
    return lead != cut.lead ? lead < cut.lead : above(index_, key_in(index_, item), cut.key);
}

Key CandidateScan::key_of_bound(const Bound& bound) {
    return bound.is_row ? key_of(index_, bound.row->values + index_.groups, bound.row->nulls + index_.groups) : key_in(index_, bound.item);
}

int CandidateScan::compare_bounds(const Bound& a, const Bound& b) {
    if (a.lead != b.lead) return a.lead < b.lead ? -1 : 1;
    return compare(index_, key_of_bound(a), key_of_bound(b));
}

/// Keeps the `wanted_` highest; what is dropped is below the tier's cut.
void CandidateScan::shrink() {
    auto* nth = bounds_ + wanted_;
    std::nth_element(bounds_, nth, bounds_ + size_, [this](const Bound& a, const Bound& b) { return compare_bounds(a, b) < 0; });
    raise(&tier_cut_, key_of_bound(*nth));
    size_ = wanted_;
}

/// False if the entry is not above the cuts, so that none that ranks below it is needed either.
bool CandidateScan::take_entry(IndexTuple item) {
    if (!is_above(item, tier_cut_) || !is_above(item, page_cut_)) return false;
    if (!emitted_.is_empty() && emitted_.contains(item->t_tid)) return true;
    bounds_[size_++] = {lead_of(index_, item), item->t_tid, false, {CopyIndexTuple(item)}};
    if (size_ == 2 * wanted_) shrink();
    return true;
}

/// Takes the group's entries from a bucket, which has all of them.
void CandidateScan::take_bucket(Page page) {
    refuse_old_snapshot(snapshot_, index_.relation, page);
    const OffsetNumber count = item_count(page);
    for (OffsetNumber offset = FirstOffsetNumber; offset <= count; ++offset) {
        IndexTuple item = item_at(page, offset);
        if (is_entry(item) && hash_in(item) == hash_) take_entry(item);
    }
}

/// Takes what a group page promises and its best entries, of which more than the quota are left to the next tier.
void CandidateScan::take_page(Page page, std::size_t quota) {
    refuse_old_snapshot(snapshot_, index_.relation, page);
    const auto raise_by = [&](IndexTuple bound) {
        if (bound != nullptr) raise(&page_cut_, key_in(index_, bound));
    };
    raise_by(find_role(page, Role::kReadThreshold));
    const ItemTail* tail = item_tail(page);
    for (std::size_t i = 0; i < tail->histories; ++i)
        if (may_be_running(tail->history[i], running_))
            raise_by(find_role(page, static_cast<OffsetNumber>(static_cast<std::size_t>(Role::kHistory) + i)));
    const OffsetNumber first = first_entry(page), count = item_count(page);
    for (OffsetNumber offset = first; offset <= count; ++offset) {
        IndexTuple item = item_at(page, offset);
        if (static_cast<std::size_t>(offset - first) == quota) raise(&tier_cut_, key_in(index_, item));
        if (!take_entry(item)) return;
    }
}

/// False if the group's pages changed hands meanwhile.
bool CandidateScan::collect_pages() {
    MemoryContextReset(tier_);
    MemoryContextSwitchTo(tier_);
    bounds_ = static_cast<Bound*>(MemoryContextAllocHuge(tier_, 2 * wanted_ * sizeof(Bound)));
    size_ = 0;
    page_cut_.is_set = tier_cut_.is_set = false;

    Buffer buffer;
    const BlockNumber head = find_head(index_, hash_, &buffer);
    if (head == InvalidBlockNumber) {
        take_bucket(BufferGetPage(buffer));
        UnlockReleaseBuffer(buffer);
        return true;
    }
    if (!lock_head(index_, head, hash_, BUFFER_LOCK_SHARE, &buffer)) return false;
    const std::uint64_t generation = head_page(BufferGetPage(buffer))->generation;
    const std::span<BlockNumber> pages = pages_of(*head_page(BufferGetPage(buffer)));
    UnlockReleaseBuffer(buffer);
    // Rows are spread over the pages by their hashes: few pages have many more of the best than their share.
    const double share = static_cast<double>(wanted_) / static_cast<double>(pages.size());
    const auto quota = static_cast<std::size_t>(share + 2 * std::sqrt(share)) + 2;
    for (const BlockNumber block : pages) {
        CHECK_FOR_INTERRUPTS();
        if (!lock_group_page(index_, block, head, hash_, BUFFER_LOCK_SHARE, &buffer)) return false;
        take_page(BufferGetPage(buffer), quota);
        UnlockReleaseBuffer(buffer);
    }
    if (!lock_head(index_, head, hash_, BUFFER_LOCK_SHARE, &buffer)) return false;
    const bool unchanged = head_page(BufferGetPage(buffer))->generation == generation;
    UnlockReleaseBuffer(buffer);
    return unchanged;
}

void CandidateScan::collect() {
    MemoryContext caller = CurrentMemoryContext;
    while (!collect_pages()) CHECK_FOR_INTERRUPTS();
    MemoryContextSwitchTo(caller);
    std::make_heap(bounds_, bounds_ + size_, [this](const Bound& a, const Bound& b) { return compare_bounds(a, b) > 0; });
    collected_ = true;
}

void CandidateScan::push(const Bound& bound) {
    bounds_[size_++] = bound;
    std::push_heap(bounds_, bounds_ + size_, [this](const Bound& a, const Bound& b) { return compare_bounds(a, b) > 0; });
}

CandidateScan::Bound CandidateScan::pop() {
    std::pop_heap(bounds_, bounds_ + size_, [this](const Bound& a, const Bound& b) { return compare_bounds(a, b) > 0; });
    return bounds_[--size_];
}

/// True if the values are of the scan's group: by their hash, or because they are the very ones of a row that is.
bool CandidateScan::is_of_group(const Datum* values, const bool* nulls) {
    const auto groups = static_cast<std::size_t>(index_.groups);
    if (has_by_value_group_ && memcmp(values, group_.data(), groups * sizeof(Datum)) == 0 &&
        std::none_of(nulls, nulls + groups, std::identity()))
        return true;
    if (hash_group(index_, values, nulls) != hash_) return false;
    has_by_value_group_ = std::none_of(nulls, nulls + groups, std::identity());
    for (std::size_t i = 0; i < groups; ++i)
        has_by_value_group_ = has_by_value_group_ && TupleDescAttr(RelationGetDescr(index_.relation), i)->attbyval;
    memcpy(group_.data(), values, groups * sizeof(Datum));
    return true;
}

/// Replaces a bound by the key of the version that the snapshot sees. False if it sees none of this group.
bool CandidateScan::read_row(Bound* bound) {
    ItemPointerData tid = bound->root;
    bool call_again = false;
    if (!is_within_heap(index_, tid)) return false;
    if (!table_index_fetch_tuple(fetch_, &tid, snapshot_, slot_, &call_again, nullptr)) {
        refuse_old_snapshot(snapshot_, index_.heap, ItemPointerGetBlockNumber(&bound->root));
        return false;
    }
    const int columns = index_.groups + index_.keys;
    const int2vector& attributes = index_.relation->rd_index->indkey;
    std::array<Datum, INDEX_MAX_KEYS> values;
    std::array<bool, INDEX_MAX_KEYS> nulls;
    for (int i = 0; i < columns; ++i) values[i] = slot_getattr(slot_, attributes.values[i], &nulls[i]);
    // Another group's row: the TID was re-used, or the row moved.
    if (!is_of_group(values.data(), nulls.data())) return false;
    MemoryContext caller = MemoryContextSwitchTo(tier_);
    const auto count = static_cast<std::size_t>(columns);
    auto* row = static_cast<Row*>(palloc(sizeof(Row) + count * (sizeof(Datum) + sizeof(bool))));
    row->values = reinterpret_cast<Datum*>(row + 1);
    row->nulls = reinterpret_cast<bool*>(row->values + count);
    for (int i = 0; i < columns; ++i) {
        const auto attribute = TupleDescAttr(RelationGetDescr(index_.relation), i);
        row->nulls[i] = nulls[i];
        row->values[i] = nulls[i] ? 0 : datumCopy(values[i], attribute->attbyval, attribute->attlen);
    }
    MemoryContextSwitchTo(caller);
    bound->is_row = true;
    bound->row = row;
    bound->lead = lead_of(index_, key_of_bound(*bound));
    return true;
}

bool CandidateScan::is_cut(const Bound& bound, const Cut& cut) {
    if (!cut.is_set) return false;
    return bound.lead != cut.lead ? bound.lead > cut.lead : !above(index_, key_of_bound(bound), cut.key);
}

/// True if no bound ranks above a row that was just read, so that it need not go through the heap.
bool CandidateScan::is_next(const Bound& row) {
    return (size_ == 0 || compare_bounds(row, bounds_[0]) <= 0) && !is_cut(row, page_cut_) && !is_cut(row, tier_cut_);
}

Step CandidateScan::emit(const Bound& row) {
    root_ = row.root;
    emitted_.add(root_);
    const auto columns = static_cast<std::size_t>(index_.groups + index_.keys);
    memcpy(values_.data(), row.row->values, columns * sizeof(Datum));
    memcpy(nulls_.data(), row.row->nulls, columns * sizeof(bool));
    return meets(conditions_, values_.data(), nulls_.data()) ? Step::kRow : Step::kFiltered;
}

Step CandidateScan::next() {
    for (;;) {
        if (!collected_) collect();
        if (size_ == 0 || is_cut(bounds_[0], page_cut_) || is_cut(bounds_[0], tier_cut_)) {
            const bool more_entries = tier_cut_.is_set && (!page_cut_.is_set || above(index_, tier_cut_.key, page_cut_.key));
            if (!more_entries) return page_cut_.is_set ? Step::kCut : Step::kEnd;
            wanted_ *= kTierGrowth;
            collected_ = false;
            continue;
        }
        Bound bound = pop();
        if (bound.is_row) return emit(bound);
        CHECK_FOR_INTERRUPTS();
        if (!read_row(&bound)) continue;
        if (is_next(bound)) return emit(bound);
        push(bound);
    }
}

}  // namespace topk
