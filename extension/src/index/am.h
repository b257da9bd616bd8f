// The access method's callbacks, in the order of an index's life, and the numbers of its support functions.
#pragma once

#include "../pg.h"

namespace topk {

// Stored in pg_amproc; never renumber. 2 to 6 are left out: CREATE OPERATOR CLASS of PostgreSQL 18 takes them for btree's
// sortsupport, in_range, equalimage, options and skipsupport in every access method that can order.
constexpr int kOrderProc = 1;
constexpr int kHashProc = 11;
constexpr int kHeadroomProc = 12;
constexpr int kProcs = 12;
constexpr int kStrategies = 5;  // numbered as in btree

extern "C" {
/// True if the operator class and its family are sound; else INFO messages say what is not, in the words of core's validators.
bool topk_validate(Oid opclass);
}

}  // namespace topk
