// The list of a cover by the exact merge, where that is possible and cheaper than adding up all rows.
#pragma once

#include "cover.h"
#include "hour_list.h"
#include "list_source.h"

namespace topk {

/// What a merge did. palloc'ed with the list.
struct MergeReport {
    std::span<ListSource::List> lists;
    std::span<ListHead> heads;  ///< of each list; empty if the merge was not begun
    const char* given_up;       ///< why the result is for add_up to find; null if the list is the result
};

/// Merges the cover's lists in the caller's snapshot, as the counter's owner; for whom policies apply to, and in other cases that the
/// report names, it gives up, and nothing is lost but the time. Requires: SPI connected, the caller may read the tables.
std::span<Ranked> merge_lists(const Counter& counter, const Cover& cover, std::int32_t k, MergeReport* report);

}  // namespace topk
