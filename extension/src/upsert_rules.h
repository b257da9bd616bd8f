// Which tables topk.flush adds to without SQL. The rule: nothing but the table's indexes and its check that views are positive may take
// part in INSERT … ON CONFLICT DO UPDATE. Everything else (triggers, rules, policies, other constraints, other columns) is SQL's.
#pragma once

#include "counter.h"
#include "pg.h"

namespace topk {

/// Null, or why rows for this hour table must be stored by SQL, in a phrase. Asks for what the statement would ask for, with the current
/// user's rights; names no table. Requires: a lock on the relation.
const char* obstacle_in_parent(Relation parent);

/// The same for a partition.
const char* obstacle_in_partition(Relation partition);

}  // namespace topk
