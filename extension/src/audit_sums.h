// What topk.audit compares with the books: sums of the counter's tables, and of what expired. Each is one pass over its table; arrays, so
// that sums alone go from the tables' owner to the extension's.
#pragma once

#include "counter.h"
#include "roll_up_marker.h"

namespace topk {

/// Sums of a table of the counter, in parallel arrays.
struct Sums {
    Argument columns[3];
};

/// Of the hour table, by hour; of late additions and of roll-ups, by span and window. Require: the counter's owner's rights.
Sums sum_hours(const Counter& counter);
Sums sum_late(const Counter& counter);
Sums sum_rollups(const Counter& counter);
/// The sum of the rows that a marker has passed in the window it is in. Requires: the counter's owner's rights.
Argument sum_at_marker(const Counter& counter, Rollup rollup, const Marker& marker);

/// What was deleted for its age; nothing where the SQL of the extension is of a version that deleted nothing. Require: the extension
/// owner's rights.
Sums expired_dead(const Counter& counter);
Sums expired_late(const Counter& counter);

/// The booked hours with late views, and the days and months they belong to. Requires: the extension owner's rights.
Sums label_late_hours(const Counter& counter);

}  // namespace topk
