// A scan of the index by those who know more of it than the executor: with index_getnext_tid and get_values, which goes on into the
// fallback, or with next_candidate, which never does.
#pragma once

#include "candidates.h"

namespace topk {

/// Tells a scan how many rows will probably be asked for (only speed depends on it), and that it is read by one of the two ways above.
/// Requires: index_rescan was called.
void expect_values(IndexScanDesc scan, std::size_t rows);
/// The values of the index's columns in the row that was returned last, until the next one. The scan's snapshot sees that row.
void get_values(IndexScanDesc scan, Datum* values, bool* nulls);

/// The next row of the group as far as the index knows it: kRow, kEnd or kCut. Requires: conditions that fix the group.
Step next_candidate(IndexScanDesc scan);
/// After kCut: no row that was not returned ranks above it.
const Key& cut_of(IndexScanDesc scan);
/// After the first next_candidate: the cut that the scan will end at, as known by now, which may still rise; null if there is none.
const Key* known_cut_of(IndexScanDesc scan);

}  // namespace topk
