// A scan of the index by those who know more of it than the executor.
#pragma once

#include "../pg.h"

namespace topk {

/// Tells a scan how many rows will probably be asked for (only speed depends on it), and that it is read with index_getnext_tid and
/// get_values. Requires: index_rescan was called.
void expect_values(IndexScanDesc scan, std::size_t rows);
/// The values of the index's columns in the row that was returned last, until the next one. The scan's snapshot sees that row.
void get_values(IndexScanDesc scan, Datum* values, bool* nulls);

}  // namespace topk
