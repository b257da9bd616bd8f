// What topk.create_counter makes, and what topk.register_counter therefore requires: anybody may call it with tables of
// his own making. Looks into the system caches only: opening such a table would run functions in its partition key.
#pragma once

#include "counter.h"
#include "pg.h"

namespace topk {

struct CounterTables {
    Oid hour_table;
    Oid late_table;
    Oid rollups[kRollups];
    Oid owner;
};

/// The tables of a counter, found beside the hour table by their names. Takes AccessShareLock on all.
/// Failure: 42501 unless the current user owns them, 42809 and a detail unless they are what create_counter makes.
CounterTables check_counter_tables(const char* name, Oid hour_table);

}  // namespace topk
