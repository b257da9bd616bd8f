// Reading a group's entries, and the threshold algorithm over them.
#include "candidates.h"

#include "directory.h"
#include "group.h"
#include "versions.h"

namespace topk {

namespace {

// Limits are round numbers, and bounds with headroom let some rows of the top wait below others: 160 will do for 100 rows, the next
// tier's 1280 for 1000.
constexpr std::size_t kFirstTier = 160;
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
        } else if (is_null || (key->sk_flags & SK_ISNULL) ||
                   !DatumGetBool(FunctionCall2Coll(&key->sk_func, key->sk_collation, values[key->sk_attno - 1], key->sk_argument))) {
            return false;
        }
    }
    return true;
}

CandidateScan::CandidateScan(OpenIndex& index, std::uint64_t hash, IndexScanDesc scan, std::size_t expected)
    : index_(index),
      hash_(hash),
      conditions_{scan->keyData, scan->numberOfKeys},
      snapshot_(scan->xs_snapshot),
      running_(running_for(scan->xs_snapshot)),
      tier_(acquire_context()),
      emitted_(CurrentMemoryContext),
      wanted_(expected == 0 ? kFirstTier : expected + expected / 4 + 16),
      fetch_(scan->xs_heapfetch),
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

/// Takes the group's entries from a bucket, which has all of them.
void CandidateScan::take_bucket(Page page) {
    refuse_old_snapshot(snapshot_, index_.relation, page);
    ItemList items;
    const OffsetNumber count = item_count(page);
    for (OffsetNumber offset = FirstOffsetNumber; offset <= count; ++offset) {
        IndexTuple item = item_at(page, offset);
        if (is_entry(item) && hash_in(item) == hash_ && !emitted_.contains(item->t_tid)) items.add(CopyIndexTuple(item));
    }
    sort_best_first(index_, items);
    add_run(items);
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
    ItemList items(std::min<std::size_t>(quota, count) + 1);
    for (OffsetNumber offset = first; offset <= count; ++offset) {
        IndexTuple item = item_at(page, offset);
        if (static_cast<std::size_t>(offset - first) == quota) raise(&tier_cut_, key_in(index_, item));
        if (!is_complete(Run{lead_of(index_, item), &item, nullptr})) break;  // nor is any that ranks below it
        if (!emitted_.contains(item->t_tid)) items.add(CopyIndexTuple(item));
    }
    add_run(items);
}

void CandidateScan::add_run(const ItemList& items) {
    if (items.size() > 0) runs_[run_count_++] = {lead_of(index_, *items.begin()), items.begin(), items.end()};
}

/// False if the group's pages changed hands meanwhile.
bool CandidateScan::collect_pages() {
    MemoryContextReset(tier_);
    MemoryContextSwitchTo(tier_);
    runs_ = static_cast<Run*>(palloc(kSlots * sizeof(Run)));
    rows_ = nullptr;
    run_count_ = row_count_ = row_room_ = 0;
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
    std::make_heap(runs_, runs_ + run_count_, [this](const Run& a, const Run& b) { return ranks_above(b, a); });
    collected_ = true;
}

/// Removes the highest entry. What follows it sinks to its place, which is near: half of what pop_heap and push_heap compare.
ItemPointerData CandidateScan::pop_entry() {
    const ItemPointerData root = (*runs_[0].next)->t_tid;
    Run run = runs_[0];
    if (++run.next == run.end) {
        run = runs_[--run_count_];
    } else {
        run.lead = lead_of(index_, *run.next);
    }
    std::size_t place = 0;
    for (std::size_t child; (child = 2 * place + 1) < run_count_; place = child) {
        if (child + 1 < run_count_ && ranks_above(runs_[child + 1], runs_[child])) ++child;
        if (!ranks_above(runs_[child], run)) break;
        runs_[place] = runs_[child];
    }
    runs_[place] = run;
    return root;
}

/// Copies a row to where it waits for its turn.
void CandidateScan::keep(const Row& row) {
    MemoryContext caller = MemoryContextSwitchTo(tier_);
    if (row_count_ == row_room_) {
        row_room_ = std::max<std::size_t>(64, 2 * row_room_);
        const std::size_t bytes = row_room_ * sizeof(Row);
        rows_ = static_cast<Row*>(rows_ == nullptr ? palloc(bytes) : repalloc_huge(rows_, bytes));
    }
    const auto columns = static_cast<std::size_t>(index_.groups + index_.keys);
    Row copy = row;
    copy.values = static_cast<Datum*>(palloc(columns * (sizeof(Datum) + sizeof(bool))));
    copy.nulls = reinterpret_cast<bool*>(copy.values + columns);
    for (std::size_t i = 0; i < columns; ++i) {
        const auto attribute = TupleDescAttr(RelationGetDescr(index_.relation), i);
        copy.nulls[i] = row.nulls[i];
        copy.values[i] = row.nulls[i] ? 0 : datumCopy(row.values[i], attribute->attbyval, attribute->attlen);
    }
    rows_[row_count_++] = copy;
    std::push_heap(rows_, rows_ + row_count_, [this](const Row& a, const Row& b) { return ranks_above(b, a); });
    MemoryContextSwitchTo(caller);
}

CandidateScan::Row CandidateScan::pop_row() {
    std::pop_heap(rows_, rows_ + row_count_, [this](const Row& a, const Row& b) { return ranks_above(b, a); });
    return rows_[--row_count_];
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

/// Reads the version that the snapshot sees; false if it sees none of this group. The row lies in slot_, values_ and nulls_.
bool CandidateScan::read_row(ItemPointerData root, Row* row) {
    ItemPointerData tid = root;
    bool call_again = false;
    if (!is_within_heap(index_, tid)) return false;
    if (!table_index_fetch_tuple(fetch_, &tid, snapshot_, slot_, &call_again, nullptr)) {
        refuse_old_snapshot(snapshot_, index_.heap, ItemPointerGetBlockNumber(&root));
        return false;
    }
    const int2vector& attributes = index_.relation->rd_index->indkey;
    for (int i = 0; i < index_.groups + index_.keys; ++i) values_[i] = slot_getattr(slot_, attributes.values[i], &nulls_[i]);
    // Another group's row: the TID was re-used, or the row moved.
    if (!is_of_group(values_.data(), nulls_.data())) return false;
    *row = {0, root, values_.data(), nulls_.data()};
    row->lead = lead_of(index_, key_of(*row));
    return true;
}

/// True if nothing ranks above a row that was just read.
bool CandidateScan::is_first(const Row& row) {
    return (run_count_ == 0 || !ranks_above(runs_[0], row)) && (row_count_ == 0 || !ranks_above(rows_[0], row)) && is_complete(row);
}

Step CandidateScan::emit(const Row& row) {
    row_ = row;
    emitted_.add(row.root);
    return meets(conditions_, row.values, row.nulls) ? Step::kRow : Step::kFiltered;
}

Step CandidateScan::next() {
    for (;;) {
        if (!collected_) collect();
        const bool is_row = row_count_ > 0 && (run_count_ == 0 || !ranks_above(runs_[0], rows_[0]));
        if (is_row && is_complete(rows_[0])) return emit(pop_row());
        if (!is_row && run_count_ > 0 && is_complete(runs_[0])) {
            CHECK_FOR_INTERRUPTS();
            Row row;
            if (!read_row(pop_entry(), &row)) continue;
            if (is_first(row)) return emit(row);
            keep(row);
            continue;
        }
        const bool more_entries = tier_cut_.is_set && (!page_cut_.is_set || above(index_, tier_cut_.key, page_cut_.key));
        if (!more_entries) return page_cut_.is_set ? Step::kCut : Step::kEnd;
        wanted_ *= kTierGrowth;
        collected_ = false;
    }
}

}  // namespace topk
