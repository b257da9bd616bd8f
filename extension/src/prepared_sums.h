// Prepared sums, topk.prepared_sum_data: the greatest sums of the sealed hours [since, until), which make the sealed part of a trailing
// span one sorted list. Sealed hours change by corrections only, and each correction raises its hour's revision in its own transaction, and
// its day's and month's: prepared sums hold in a snapshot that shows as many of them as the one they were made in, since it cannot show
// others. Where hours have expired, the sums are of whole days and months, whose rows topk.revise tells of by their revisions alone.
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

/// The revisions of the hours, days and months that begin in [since, until), summed, in the caller's snapshot.
std::int64_t corrections_within(const Counter& counter, TimestampTz since, TimestampTz until);

/// The prepared sums of hours since `since` that hold in the caller's snapshot and reach furthest, up to `until` at most. palloc'ed.
/// False if there are none. The caller's rights are not checked.
bool find_prepared_sums(const Counter& counter, TimestampTz since, TimestampTz until, PreparedSums* found);

/// True if there are prepared sums of exactly these hours that hold in the caller's snapshot.
bool has_prepared_sums(const Counter& counter, TimestampTz since, TimestampTz until);

}  // namespace topk
