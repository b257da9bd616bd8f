// Keeping few histories, and reading snapshots.
#include "history.h"

#include "versions.h"

namespace topk {

void Histories::add(OpenIndex& index, const History& history, std::uint64_t oldest) {
    std::size_t at = size++;
    for (; at > 0 && items[at - 1].range.high > history.range.high; --at) items[at] = items[at - 1];
    items[at] = history;
    if (size <= kMaxHistories) return;
    std::array<HistoryRange, kMaxHistories + 1> ranges;
    for (std::size_t i = 0; i < size; ++i) ranges[i] = items[i].range;
    const std::size_t first = closest_pair({ranges.data(), size}, oldest);
    History& kept = items[first];
    const History& gone = items[first + 1];
    kept.range = {std::min(kept.range.low, gone.range.low), std::max(kept.range.high, gone.range.high)};
    if (above(index, key_in(index, gone.bound), key_in(index, kept.bound))) kept.bound = gone.bound;
    std::copy(items.begin() + static_cast<std::ptrdiff_t>(first) + 2, items.begin() + static_cast<std::ptrdiff_t>(size),
              items.begin() + static_cast<std::ptrdiff_t>(first) + 1);
    --size;
}

RunningTransactions running_for(SnapshotData* snapshot) {
    RunningTransactions running;
    running.xmin = full_xid(snapshot->xmin);
    // xmax is at most the next transaction id, which full_xid takes as it is.
    running.xmax = full_xid(snapshot->xmax);
    running.complete = !snapshot->suboverflowed;
    // A copied snapshot that overflowed keeps the count of its subtransactions without the array.
    const std::size_t nested = snapshot->subxip ? static_cast<std::size_t>(std::max(snapshot->subxcnt, 0)) : 0;
    auto* listed = static_cast<std::uint64_t*>(palloc((snapshot->xcnt + nested + 1) * sizeof(std::uint64_t)));
    std::size_t count = 0;
    for (std::uint32_t i = 0; i < snapshot->xcnt; ++i) listed[count++] = full_xid(snapshot->xip[i]);
    for (std::size_t i = 0; i < nested; ++i) listed[count++] = full_xid(snapshot->subxip[i]);
    running.listed = {listed, count};
    return running;
}

}  // namespace topk
