// Plans on the tables of counters, kept for the session by counter and purpose.
#pragma once

#include "counter.h"
#include "statement.h"

namespace topk {

enum class CounterPlan {
    kAddDeltas,  ///< (deltas bytea)
    /// (late topk.flush_late[], hour_starts timestamptz[], spans text[], window_starts timestamptz[]) -> stored, wanted
    kAddLate,
};
constexpr int kCounterPlans = 2;

/// The statement, valid until the next call. It is made anew, and the old one freed, when the tables were renamed, moved,
/// or made again: the caller sees to it that none is running (topk.flush cannot be re-entered).
Statement& counter_statement(const Counter& counter, CounterPlan plan);

}  // namespace topk
