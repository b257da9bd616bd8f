// Reading a group's entries, and the threshold algorithm over them.
#include "candidates.h"

#include "directory.h"
#include "group.h"

namespace topk {

namespace {

// Limits are round numbers, and bounds with headroom let some rows of the top wait below others: 160 will do for 100 rows, the next
// tier's 1280 for 1000.
constexpr std::size_t kFirstTier = 160;
constexpr std::size_t kTierGrowth = 8;

// How many rows are read at once: few at first, for nobody may want more than one, or ten; or first as many as are expected. Those
// that are never emitted were read in vain: 4, 16, 64 and 128 rows will do for 1, 10, 50 and 100.
constexpr std::array<std::size_t, 5> kBatches = {4, 12, 48, 64, 128};
constexpr std::size_t kLargestBatch = 1280;
constexpr double kSpare = 1.03;  // of what is expected

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

CandidateScan::CandidateScan(OpenIndex& index, std::uint64_t hash, IndexScanDesc scan, std::size_t expected, ListRecorder* recorder)
    : index_(index),
      hash_(hash),
      conditions_{scan->keyData, scan->numberOfKeys},
      snapshot_(scan->xs_snapshot),
      running_(running_for(scan->xs_snapshot)),
      owner_(CurrentMemoryContext),
      tier_(acquire_context()),
      reader_(index, hash, scan->xs_snapshot),
      recorder_(recorder),
      emitted_(CurrentMemoryContext),
      copy_(GroupCopy::take(index, hash, owner_)) {
    const bool is_told = expected > 0;
    if (!is_told && copy_ != nullptr) expected = copy_->expected_rows();
    const double entries = static_cast<double>(expected) * (copy_ == nullptr ? GroupCopy::kEntriesARow : copy_->entries_a_row());
    wanted_ = std::max(is_told ? 0 : kFirstTier, static_cast<std::size_t>(1.1 * entries) + 16);
    batch_ = expected == 0 ? kBatches[batches_++] : std::min(static_cast<std::size_t>(kSpare * entries) + 2, kLargestBatch);
    while (batches_ + 1 < kBatches.size() && kBatches[batches_] < batch_ / 8) ++batches_;
}

void CandidateScan::skip(ItemPointerData root) {
    emitted_.add(root);
    ++wanted_;
    ++skipped_;
    batch_ = std::max(batch_ - 1, kBatches.front());
}

void CandidateScan::close() {
    if (copy_ != nullptr) copy_->keep(emitted_.size(), skipped_ + needed_entries());
    release_context(tier_);
}

void CandidateScan::raise(Cut* cut, IndexTuple bound) {
    const std::uint64_t lead = lead_of(index_, bound);
    if (cut->is_set && lead > cut->lead) return;
    const Key key = key_in(index_, bound);
    if (cut->is_set && lead == cut->lead && !above(index_, key, cut->key)) return;
    *cut = {true, lead, topk::copied(index_, key)};
}

/// Takes the group's entries from a bucket, which has all of them.
void CandidateScan::take_bucket(Page page) {
    refuse_old_snapshot(snapshot_, index_.relation, page);
    const OffsetNumber count = item_count(page);
    auto* entries = arena_.take_array<Entry>(count);
    Entry* end = entries;
    for (OffsetNumber offset = FirstOffsetNumber; offset <= count; ++offset) {
        IndexTuple item = item_at(page, offset);
        if (!is_entry(item) || hash_in(item) != hash_) continue;
        const std::size_t size = IndexTupleSize(item);
        *end++ = {lead_of(index_, item), static_cast<IndexTuple>(memcpy(arena_.take(size), item, size))};
    }
    std::sort(entries, end, [this](const Entry& a, const Entry& b) { return ranks_above(a, b); });
    add_run({entries, end});
}

/// Takes what a group page promises and its best entries. More than those are left to the next tier.
void CandidateScan::take_page(const PageCopy& page) {
    if (page.read_threshold != nullptr) raise(&page_cut_, page.read_threshold);
    for (const History& history : std::span(page.histories.items).first(page.histories.size))
        if (may_be_running(history.range, running_)) raise(&page_cut_, history.bound);
    if (page.next != nullptr) raise(&tier_cut_, page.next);
    add_run(page.entries);
}

void CandidateScan::add_run(std::span<Entry> entries) {
    if (!entries.empty()) runs_[run_count_++] = {entries.front().lead, entries.data(), entries.data() + entries.size()};
}

/// False if the group's pages changed hands meanwhile.
bool CandidateScan::collect_pages() {
    MemoryContextReset(tier_);
    MemoryContextSwitchTo(tier_);
    arena_.begin(tier_);
    rows_ = nullptr;
    entries_ += last_leads_.size();
    last_leads_ = {};
    run_count_ = row_count_ = row_room_ = 0;
    page_cut_.is_set = tier_cut_.is_set = false;

    if (recorder_ != nullptr) recorder_->begin_pages();

    if (copy_ == nullptr || copy_->head() == InvalidBlockNumber) {
        Buffer bucket;
        const BlockNumber head = find_head(index_, hash_, &bucket);
        if (head == InvalidBlockNumber) {
            runs_ = arena_.take_array<Run>(1);
            if (recorder_ != nullptr) recorder_->add_page(state_of(bucket), {});
            take_bucket(BufferGetPage(bucket));
            UnlockReleaseBuffer(bucket);
            return true;
        }
        if (copy_ == nullptr) copy_ = GroupCopy::make(index_, hash_, owner_);
        copy_->set_head(head);
    }
    if (!copy_->read(index_, snapshot_, wanted_)) return false;
    if (recorder_ != nullptr) recorder_->add_page(copy_->head_state(), {});
    runs_ = arena_.take_array<Run>(copy_->pages().size());
    for (const PageCopy& page : copy_->pages()) {
        if (recorder_ != nullptr) recorder_->add_page(page.state, page.histories);
        take_page(page);
    }
    return true;
}

void CandidateScan::collect() {
    MemoryContext caller = CurrentMemoryContext;
    for (int restarts = 0; !collect_pages(); ++restarts) {
        CHECK_FOR_INTERRUPTS();
        if (restarts == kMaxRestarts) refuse_damage(index_, kRootBlock, "it leads to a group without its pages");
    }
    MemoryContextSwitchTo(caller);
    if (recorder_ != nullptr) recorder_->end_pages();
    if (recorder_ != nullptr && recorder_->wants_rows() && entries_ + last_leads_.size() == 0) {  // small sections
        batch_ = kBatches.front();
        batches_ = 1;
    }
    std::make_heap(runs_, runs_ + run_count_, [this](const Run& a, const Run& b) { return ranks_above(b, a); });
    collected_ = true;
    has_emitted_ = emitted_.size() > 0;
}

/// Removes the highest entry. What follows it sinks to its place, which is near: half of what pop_heap and push_heap compare.
ItemPointerData CandidateScan::pop_entry() {
    const ItemPointerData root = runs_[0].next->item->t_tid;
    Run run = runs_[0];
    if (++run.next == run.end) {
        run = runs_[--run_count_];
    } else {
        run.lead = run.next->lead;
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

/// Removes the next batch of the highest entries, but those whose rows were emitted in an earlier tier.
std::span<std::uint64_t> CandidateScan::pop_entries() {
    auto* roots = arena_.take_array<std::uint64_t>(batch_);
    auto* leads = arena_.take_array<std::uint64_t>(batch_);
    std::size_t count = 0;
    while (count < batch_ && run_count_ > 0 && is_complete(runs_[0])) {
        leads[count] = runs_[0].lead;
        const ItemPointerData root = pop_entry();
        if (!has_emitted_ || !emitted_.contains(root)) roots[count++] = packed(root);
    }
    entries_ += last_leads_.size();
    last_leads_ = {leads, count};
    return {roots, count};
}

/// How many entries would have done for the rows emitted, at least: of the last batch those whose bounds have a higher score than the last
/// row.
std::size_t CandidateScan::needed_entries() const {
    if (emitted_.size() == skipped_) return entries_ + last_leads_.size();
    const auto above = std::lower_bound(last_leads_.begin(), last_leads_.end(), row_.lead) - last_leads_.begin();
    return std::max(entries_ + static_cast<std::size_t>(above), emitted_.size() - skipped_);
}

/// Reads the rows of the next entries, in the table's order: what ranks high lies together, and few pages are read for many rows.
void CandidateScan::read_ahead() {
    MemoryContext caller = MemoryContextSwitchTo(tier_);
    const std::span<std::uint64_t> roots = pop_entries();
    if (recorder_ != nullptr) recorder_->add_roots(roots);
    if (row_count_ + roots.size() > row_room_) {
        row_room_ = std::max<std::size_t>(2 * row_room_, row_count_ + roots.size());
        Row* rows = arena_.take_array<Row>(row_room_);
        std::copy_n(rows_, row_count_, rows);
        rows_ = rows;
    }
    const std::size_t until = row_count_ + reader_.read(roots, arena_, rows_ + row_count_);
    while (row_count_ < until)
        std::push_heap(rows_, rows_ + ++row_count_, [this](const Row& a, const Row& b) { return ranks_above(b, a); });
    batch_ = kBatches[std::min(batches_++, kBatches.size() - 1)];
    MemoryContextSwitchTo(caller);
}

Row CandidateScan::pop_row() {
    std::pop_heap(rows_, rows_ + row_count_, [this](const Row& a, const Row& b) { return ranks_above(b, a); });
    return rows_[--row_count_];
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
            read_ahead();
            continue;
        }
        const bool more_entries = tier_cut_.is_set && (!page_cut_.is_set || above(index_, tier_cut_.key, page_cut_.key));
        if (!more_entries) return page_cut_.is_set ? Step::kCut : Step::kEnd;
        wanted_ *= kTierGrowth;
        collected_ = false;
    }
}

}  // namespace topk
