// What a group page gave up of superseded versions, for readers whose snapshots may still see them: ranges of the transactions that
// superseded, each with a bound above which nothing of that range was given up.
#pragma once

#include "order.h"

namespace topk {

struct History {
    HistoryRange range;
    IndexTuple bound;
};

/// Which two neighbours of ranges sorted by their upper ends are closest; the first one's index. Those with the oldest running transaction
/// between them only if there are no others: it is listed in every snapshot. Requires: at least two.
inline std::size_t closest_pair(std::span<const HistoryRange> ranges, std::uint64_t oldest) {
    std::size_t best = 0;
    std::uint64_t best_gap = ~std::uint64_t{0};
    for (std::size_t i = 0; i + 1 < ranges.size(); ++i) {
        const std::uint64_t gap = ranges[i + 1].low > ranges[i].high ? ranges[i + 1].low - ranges[i].high : 0;
        const bool parted = ranges[i].high < oldest && ranges[i + 1].low > oldest;
        if (gap < best_gap && !parted) {
            best = i;
            best_gap = gap;
        }
    }
    return best;
}

/// What a snapshot regards as running: everything from xmax on, and the listed ones below it.
struct RunningTransactions {
    std::uint64_t xmin;
    std::uint64_t xmax;
    bool complete;  // every running one from xmin on is listed; else any of them may be
    std::span<const std::uint64_t> listed;
};

/// True if one of the transactions in the range may be running for the snapshot, so that it may see what they superseded.
inline bool may_be_running(const HistoryRange& range, const RunningTransactions& running) {
    if (range.high < running.xmin) return false;
    if (range.high >= running.xmax || !running.complete) return true;
    return std::any_of(running.listed.begin(), running.listed.end(),
                       [&](std::uint64_t xid) { return xid >= range.low && xid <= range.high; });
}

/// At most kMaxHistories, sorted by the upper ends of their ranges.
struct Histories {
    std::size_t size = 0;
    std::array<History, kMaxHistories + 1> items;

    /// Adds one; if there are too many, the two whose ranges are closest become one. oldest: running transaction.
    void add(OpenIndex& index, const History& history, std::uint64_t oldest);
};

/// The snapshot's view of what runs. palloc'ed. Requires: an MVCC snapshot.
RunningTransactions running_for(SnapshotData* snapshot);

}  // namespace topk
