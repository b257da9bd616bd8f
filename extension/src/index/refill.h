// Lowering thresholds again. A group whose rows were deleted or decreased keeps fewer candidates than it may; its threshold does not fall
// by itself. Refill lets every version in (insert thresholds down), then reads the table physically, then publishes (read thresholds down).
// A version that was skipped before the first step already lay in the table, so that the second finds it.
#pragma once

#include "group.h"

namespace topk {

/// The heads of all groups that have pages of their own. palloc'ed.
std::span<GroupHead> list_heads(OpenIndex& index);

/// True if the group has thresholds and fewer than k rows above them that nobody has superseded.
bool needs_refill(OpenIndex& index, const GroupHead& group);

/// For VACUUM: false while a needed refill waits because the last ones did not help, as where more rows than the group can keep are tied.
/// The pause is 1, 3, 7 ... at most 63 times; each call counts as one.
bool is_refill_due(OpenIndex& index, const GroupHead& group);

/// Refills groups. Requires: ShareUpdateExclusiveLock or more on the table, so that there is one refill at a time.
void refill(OpenIndex& index, std::span<GroupHead> groups, BufferAccessStrategy strategy);

/// Joins half-empty pages of a complete group, and moves its last few entries back into their bucket.
void shrink_group(OpenIndex& index, const GroupHead& group);

}  // namespace topk
