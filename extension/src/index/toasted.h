// Values of index columns that lie in a TOAST table. A dead row's may be gone while the row is still there: the TOAST table is vacuumed by
// itself, and the horizon it was vacuumed by can be later than one computed afterwards (transactions of other databases count for a
// snapshot, but not for VACUUM).
#pragma once

#include "order.h"

namespace topk {

/// True if the value of an index column would have to be fetched from a TOAST table.
bool is_external(const OpenIndex& index, int column, Datum value);

/// A copy of an external value of a stored tuple, compressed as it is stored; 0 if part of it is missing in its TOAST table. To look first
/// whether it is there, and to fetch it then, would be too late.
Datum fetch_stored(Datum value);

}  // namespace topk
