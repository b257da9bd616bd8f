// Which tables rows are added to without SQL. The rule: nothing but the table's indexes and its check that views are positive may take
// part in INSERT … ON CONFLICT DO UPDATE. Everything else (triggers, rules, policies, other constraints, other columns) is SQL's.
#pragma once

#include "counter.h"
#include "pg.h"

namespace topk {

/// Null, or why rows for the table that the statement names must be stored by SQL, in a phrase. Asks for what the statement would ask for,
/// with the current user's rights; names no table. Requires: a lock on the relation.
const char* obstacle_to_statement(Relation table);

/// The same for the table that they are stored in: a partition, or a roll-up, which is both.
const char* obstacle_to_rows(Relation table);

}  // namespace topk
