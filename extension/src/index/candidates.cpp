// Reading a group's entries, and the threshold algorithm over them.
#include "candidates.h"

#include "directory.h"
#include "group.h"
#include "versions.h"

namespace topk {

namespace {

constexpr std::size_t kFirstTier = 128;
constexpr std::size_t kTierGrowth = 8;

std::uint64_t packed(ItemPointerData root) {
    return (static_cast<std::uint64_t>(ItemPointerGetBlockNumber(&root)) << 16) | ItemPointerGetOffsetNumber(&root);
}

/// Copies a key into the current memory context.
Key copied(const OpenIndex& index, const Key& key) {
    Key copy = key;
    for (int i = 0; i < std::min(key.open_from, index.keys); ++i) {
        const auto attribute = TupleDescAttr(index.key_desc, i + 1);
        if (!key.nulls[i]) copy.values[i] = datumCopy(key.values[i], attribute->attbyval, attribute->attlen);
    }
    return copy;
}

}  // namespace

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

CandidateScan::CandidateScan(OpenIndex& index, std::uint64_t hash, Conditions conditions, SnapshotData* snapshot, std::size_t expected)
    : index_(index),
      hash_(hash),
      conditions_(conditions),
      snapshot_(snapshot),
      running_(running_for(snapshot)),
      context_(CurrentMemoryContext),
      tier_(AllocSetContextCreate(CurrentMemoryContext, "topk candidates", ALLOCSET_DEFAULT_SIZES)),
      emitted_(CurrentMemoryContext),
      wanted_(expected == 0 ? kFirstTier : expected + expected / 4 + 16),
      fetch_(table_index_fetch_begin(index.heap)),
      slot_(table_slot_create(index.heap, nullptr)) {}

void CandidateScan::close() {
    table_index_fetch_end(fetch_);
    ExecDropSingleTupleTableSlot(slot_);
    MemoryContextDelete(tier_);
}

void CandidateScan::raise(Key* cut, bool* has_cut, const Key& key) {
    if (*has_cut && !above(index_, key, *cut)) return;
    *cut = copied(index_, key);
    *has_cut = true;
}

Key CandidateScan::key_of_bound(const Bound& bound) {
    return bound.item != nullptr ? key_in(index_, bound.item) : key_of(index_, bound.values + index_.groups, bound.nulls + index_.groups);
}

int CandidateScan::compare_bounds(const Bound& a, const Bound& b) {
    if (a.score_open || b.score_open) return static_cast<int>(b.score_open) - static_cast<int>(a.score_open);
    const int order = ApplySortComparator(a.score, a.score_null, b.score, b.score_null, &index_.order[0]);
    if (order != 0 || index_.keys == 1) return order;
    return compare(index_, key_of_bound(a), key_of_bound(b));
}

/// Keeps the `wanted_` highest; what is dropped is below the tier's cut.
void CandidateScan::shrink() {
    auto* nth = bounds_ + wanted_;
    std::nth_element(bounds_, nth, bounds_ + size_, [this](const Bound& a, const Bound& b) { return compare_bounds(a, b) < 0; });
    raise(&tier_cut_, &has_tier_cut_, key_of_bound(*nth));
    size_ = wanted_;
}

void CandidateScan::take_entry(IndexTuple item) {
    Bound bound;
    bound.score = index_getattr(item, 2, index_.key_desc, &bound.score_null);
    bound.score_open = bound.score_null && (item->t_info & kOpenBit) != 0;
    bound.root = item->t_tid;
    bound.item = item;
    bound.values = nullptr;
    bound.nulls = nullptr;
    if (has_tier_cut_) {
        if (!bound.score_open && tier_cut_.open_from > 0) {
            const int order = ApplySortComparator(bound.score, bound.score_null, tier_cut_.values[0], tier_cut_.nulls[0], &index_.order[0]);
            if (order > 0) return;
            if (order == 0 && !above(index_, key_in(index_, item), tier_cut_)) return;
        } else if (!above(index_, key_in(index_, item), tier_cut_)) {
            return;
        }
    }
    if (emitted_.contains(item->t_tid)) return;
    bound.item = CopyIndexTuple(item);
    if (!bound.score_null) bound.score = index_getattr(bound.item, 2, index_.key_desc, &bound.score_null);
    if (size_ == capacity_) {
        capacity_ *= 2;
        bounds_ = static_cast<Bound*>(repalloc_huge(bounds_, capacity_ * sizeof(Bound)));
    }
    bounds_[size_++] = bound;
    if (size_ == 2 * wanted_) shrink();
}

void CandidateScan::take_page(Page page, bool is_bucket) {
    refuse_old_snapshot(snapshot_, index_.relation, page);
    if (!is_bucket) {
        const auto raise_by = [&](IndexTuple bound) {
            if (bound != nullptr) raise(&page_cut_, &has_page_cut_, key_in(index_, bound));
        };
        raise_by(find_role(page, Role::kReadThreshold));
        const ItemTail* tail = item_tail(page);
        for (std::size_t i = 0; i < tail->histories; ++i)
            if (may_be_running(tail->history[i], running_))
                raise_by(find_role(page, static_cast<OffsetNumber>(static_cast<std::size_t>(Role::kHistory) + i)));
    }
    const OffsetNumber count = item_count(page);
    for (OffsetNumber offset = FirstOffsetNumber; offset <= count; ++offset) {
        IndexTuple item = item_at(page, offset);
        if (is_entry(item) && (!is_bucket || hash_in(item) == hash_)) take_entry(item);
    }
}

/// False if the group's pages changed hands meanwhile.
bool CandidateScan::collect_pages() {
    MemoryContextReset(tier_);
    MemoryContextSwitchTo(tier_);
    capacity_ = 2 * wanted_;
    bounds_ = static_cast<Bound*>(MemoryContextAllocHuge(tier_, capacity_ * sizeof(Bound)));
    size_ = 0;
    has_page_cut_ = has_tier_cut_ = false;

    Buffer buffer;
    const BlockNumber head = find_head(index_, hash_, &buffer);
    if (head == InvalidBlockNumber) {
        take_page(BufferGetPage(buffer), true);
        UnlockReleaseBuffer(buffer);
        return true;
    }
    if (!lock_head(index_, head, hash_, BUFFER_LOCK_SHARE, &buffer)) return false;
    const std::uint64_t generation = head_page(BufferGetPage(buffer))->generation;
    const std::span<BlockNumber> pages = pages_of(*head_page(BufferGetPage(buffer)));
    UnlockReleaseBuffer(buffer);
    for (const BlockNumber block : pages) {
        CHECK_FOR_INTERRUPTS();
        if (!lock_group_page(index_, block, head, hash_, BUFFER_LOCK_SHARE, &buffer)) return false;
        take_page(BufferGetPage(buffer), false);
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
    if (hash_group(index_, values.data(), nulls.data()) != hash_) return false;
    MemoryContext caller = MemoryContextSwitchTo(tier_);
    bound->values = static_cast<Datum*>(palloc(static_cast<std::size_t>(columns) * sizeof(Datum)));
    bound->nulls = static_cast<bool*>(palloc(static_cast<std::size_t>(columns) * sizeof(bool)));
    for (int i = 0; i < columns; ++i) {
        const auto attribute = TupleDescAttr(RelationGetDescr(index_.relation), i);
        bound->nulls[i] = nulls[i];
        bound->values[i] = nulls[i] ? 0 : datumCopy(values[i], attribute->attbyval, attribute->attlen);
    }
    MemoryContextSwitchTo(caller);
    bound->item = nullptr;
    bound->score = bound->values[index_.groups];
    bound->score_null = bound->nulls[index_.groups];
    bound->score_open = false;
    return true;
}

bool CandidateScan::is_cut(const Key& key) {
    return (has_page_cut_ && !above(index_, key, page_cut_)) || (has_tier_cut_ && !above(index_, key, tier_cut_));
}

Step CandidateScan::next() {
    for (;;) {
        if (!collected_) collect();
        if (size_ == 0 || is_cut(key_of_bound(bounds_[0]))) {
            const bool more_entries = has_tier_cut_ && (!has_page_cut_ || above(index_, tier_cut_, page_cut_));
            if (!more_entries) return has_page_cut_ ? Step::kCut : Step::kEnd;
            wanted_ *= kTierGrowth;
            collected_ = false;
            continue;
        }
        Bound bound = pop();
        if (bound.item != nullptr) {
            CHECK_FOR_INTERRUPTS();
            if (read_row(&bound)) push(bound);
            continue;
        }
        root_ = bound.root;
        emitted_.add(root_);
        const auto columns = static_cast<std::size_t>(index_.groups + index_.keys);
        memcpy(values_.data(), bound.values, columns * sizeof(Datum));
        memcpy(nulls_.data(), bound.nulls, columns * sizeof(bool));
        return meets(conditions_, values_.data(), nulls_.data()) ? Step::kRow : Step::kFiltered;
    }
}

}  // namespace topk
