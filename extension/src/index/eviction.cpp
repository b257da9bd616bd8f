// A full page first drops entries that stand for no version, then gives up those whose versions are all superseded (remembering them
// as history), then splits while the group is below its capacity, and last evicts the lowest quarter of its rows.
// Bounds are judged by what lies in the table, under the page's lock: a version added meanwhile brings its entry later.
#include "eviction.h"

#include "versions.h"

namespace topk {

namespace {

/// Bytes of promise and entries to keep. With what an eviction adds to the promise (a threshold twice and two histories), a new entry still
/// fits, else its inserter would try for ever.
constexpr std::size_t kKeep = kItemSpace * 3 / 4;
static_assert(kItemSpace - kKeep > 5 * (kMaxItem + sizeof(ItemIdData)));

struct Candidate {
    IndexTuple item;
    RowState state;
    Key key;  // of state.current
};

struct Candidates {
    Candidate* items;
    std::size_t size;
    std::size_t bytes;
    std::span<Candidate> all() const { return {items, size}; }
};

std::size_t bytes_of(IndexTuple item) {
    return MAXALIGN(IndexTupleSize(item)) + sizeof(ItemIdData);
}

std::size_t bytes_of(const Promise& promise) {
    const auto of_bound = [](IndexTuple bound) { return bound == nullptr ? 0 : bytes_of(bound); };
    std::size_t bytes = of_bound(promise.read) + of_bound(promise.insert);
    for (std::size_t i = 0; i < promise.histories.size; ++i) bytes += of_bound(promise.histories.items[i].bound);
    return bytes;
}

/// An entry's bound may be far above what is left of its row; brings it down to where a little growth stays free.
IndexTuple tightened(OpenIndex& index, std::uint64_t hash, IndexTuple item, const RowState& state) {
    IndexTuple highest = state.current != nullptr ? state.current : state.superseded;
    if (state.superseded != nullptr && above(index, key_in(index, state.superseded), key_in(index, highest))) highest = state.superseded;
    IndexTuple bound = make_raised_item(index, hash, key_in(index, highest));
    if (!above(index, key_in(index, item), key_in(index, bound))) return item;
    IndexTuple lowered = CopyIndexTuple(highest);
    lowered->t_tid = item->t_tid;
    return lowered;
}

/// The page's entries that stand for a version, by their current keys, the highest first and those without one last.
Candidates present_candidates(OpenIndex& index, std::uint64_t hash, Page page) {
    const OffsetNumber count = item_count(page);
    Candidates found = {static_cast<Candidate*>(palloc(std::max<std::size_t>(count, 1) * sizeof(Candidate))), 0, 0};
    for (IndexTuple item : copy_items(page)) {
        if (!is_entry(item)) continue;
        Candidate candidate;
        candidate.state = index.building ? RowState{item, nullptr, 0, 0} : row_state(index, hash, item);
        if (candidate.state.current == nullptr && candidate.state.superseded == nullptr) continue;
        candidate.item = index.building ? item : tightened(index, hash, item, candidate.state);
        if (candidate.state.current != nullptr) candidate.key = key_in(index, candidate.state.current);
        found.bytes += bytes_of(candidate.item);
        found.items[found.size++] = candidate;
    }
    return found;
}

/// Moves those without a current version to the end; how many have one.
std::size_t sort_candidates(OpenIndex& index, const Candidates& found) {
    auto* end = std::partition(found.items, found.items + found.size, [](const Candidate& c) { return c.state.current != nullptr; });
    std::sort(found.items, end, [&](const Candidate& a, const Candidate& b) { return above(index, a.key, b.key); });
    return static_cast<std::size_t>(end - found.items);
}

/// How many of the sorted candidates fit; none that equals one left out.
std::size_t count_kept(OpenIndex& index, std::span<const Candidate> current, std::size_t room) {
    std::size_t bytes = 0, kept = 0;
    while (kept < current.size() && bytes + bytes_of(current[kept].item) <= room) bytes += bytes_of(current[kept++].item);
    if (kept == current.size()) return kept;
    while (kept > 0 && compare(index, current[kept - 1].key, current[kept].key) == 0) --kept;
    return kept;
}

IndexTuple higher(OpenIndex& index, IndexTuple a, IndexTuple b) {
    if (a == nullptr) return b;
    return above(index, key_in(index, b), key_in(index, a)) ? b : a;
}

/// Remembers what was given up of superseded versions above the insert threshold (a refill may publish that soon). Those superseded before
/// and after the oldest transaction still running are kept apart, and it is in neither range: a long writer lists itself in everybody's
/// snapshot.
void remember(OpenIndex& index, std::span<const Candidate> given_up, Promise* promise) {
    const std::uint64_t oldest = full_xid(GetOldestActiveTransactionId());
    History before = {}, after = {};
    for (const Candidate& candidate : given_up) {
        const RowState& state = candidate.state;
        if (state.superseded == nullptr) continue;
        if (promise->insert != nullptr && !above(index, key_in(index, state.superseded), key_in(index, promise->insert))) continue;
        const bool is_before = state.high < oldest;
        History& history = is_before ? before : after;
        const std::uint64_t low = is_before ? state.low : std::max(state.low, oldest + 1);
        const bool first = history.bound == nullptr;
        history.range = {first ? low : std::min(history.range.low, low), std::max(history.range.high, state.high)};
        history.bound = higher(index, history.bound, state.superseded);
        if (!is_before && state.low < oldest) {  // superseded on both sides
            before.range = {before.bound == nullptr ? state.low : std::min(before.range.low, state.low), oldest - 1};
            before.bound = higher(index, before.bound, state.superseded);
        }
    }
    if (before.bound != nullptr) promise->histories.add(index, before, oldest);
    if (after.bound != nullptr) promise->histories.add(index, after, oldest);
}

void write_page(OpenIndex& index, Buffer group, const Promise& promise, std::span<const Candidate> kept) {
    ItemTail tail = *item_tail(BufferGetPage(group));
    ItemList entries, items;
    for (const Candidate& candidate : kept) entries.add(candidate.item);
    sort_best_first(index, entries);
    add_promise(promise, &items, &tail);
    for (IndexTuple item : entries) items.add(item);
    Change change(index);
    write_items(change.edit(group), tail, items);
    change.commit();
}

}  // namespace

Outcome tidy_or_evict(OpenIndex& index, std::uint64_t hash, Buffer group) {
    Page page = BufferGetPage(group);
    const Candidates found = present_candidates(index, hash, page);
    Promise promise = read_promise(page);
    const std::size_t room = kKeep - bytes_of(promise);
    if (found.bytes <= room) {
        write_page(index, group, promise, found.all());
        return Outcome::kTidied;
    }
    const std::size_t current = sort_candidates(index, found);
    const std::size_t kept = count_kept(index, found.all().first(current), room);
    const int depth = item_tail(page)->depth;
    if (kept < current) {
        if ((current << depth) < index.capacity && depth < kSlotBits) return Outcome::kMustSplit;
        promise.insert = higher(index, promise.insert, found.items[kept].state.current);
        promise.read = higher(index, promise.read, promise.insert);
    }
    remember(index, found.all().subspan(kept), &promise);
    write_page(index, group, promise, found.all().first(kept));
    return Outcome::kEvicted;
}

}  // namespace topk
