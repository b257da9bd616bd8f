// A list by adding up all rows of a cover in SQL: what the merge (merge_lists.h) gives up, and what row-level security applies to.
#pragma once

#include "cover.h"

namespace topk {

/// The k greatest (video_id, views), as the owner, or as the caller where policies apply to it. They are in SPI_tuptable.
/// Requires: SPI connected, the caller may read the tables. Failure: 0A000 if policies are forced on the owner and not on the caller; 22003
/// if a sum exceeds bigint.
void add_up(const Counter& counter, const Cover& cover, std::int32_t k);

/// Raises 22003: the sum of the video's views exceeds bigint.
[[noreturn]] void refuse_sum(const char* video_id);

}  // namespace topk
