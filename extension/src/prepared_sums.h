// Prepared sums, topk.prepared_sum_data: the greatest sums of the sealed hours [since, until), which make the sealed part of a trailing
// span one sorted list. Sealed hours change by corrections only, and each correction raises its hour's revision in its own transaction:
// prepared sums hold in a snapshot that shows as many corrections of their hours as the one they were made in, since it cannot show others.
#pragma once

#include "counter.h"

namespace topk {

struct PreparedSum {
    std::string_view video_id;
    std::int64_t views;
};

struct PreparedSums {
    TimestampTz since;
    TimestampTz until;
    bool is_complete;             ///< no other video has views in these hours
    std::span<PreparedSum> sums;  ///< views descending, then ids ascending
};

/// How often hours of [since, until) were corrected, in the caller's snapshot.
std::int64_t corrections_within(const Counter& counter, TimestampTz since, TimestampTz until);

/// The prepared sums of hours since `since` that hold in the caller's snapshot and reach furthest, up to `until` at most. palloc'ed.
/// False if there are none. The caller's rights are not checked.
bool find_prepared_sums(const Counter& counter, TimestampTz since, TimestampTz until, PreparedSums* found);

/// True if there are prepared sums of exactly these hours that hold in the caller's snapshot.
bool has_prepared_sums(const Counter& counter, TimestampTz since, TimestampTz until);

}  // namespace topk
