// The deltas of a flush, added to the hour table without SQL.
#pragma once

#include "counter.h"
#include "flush_arguments.h"

namespace topk {

/// Makes topk.native_upsert known, which chooses between this and the statement.
void register_upsert_option();

/// Adds the deltas, in key order, with the current user's rights. Returns false, and has done nothing, if that is SQL's: by the option,
/// or by the rules of upsert_rules.h; DEBUG1 tells which it is. Requires: read committed; the partitions of all hours are there, and
/// none of them is being dropped.
bool upsert_deltas(const Counter& counter, const FlushArguments& flush);

}  // namespace topk
