// A scan of the index by those who know more of it than the executor.
#pragma once

#include "../pg.h"

namespace topk {

/// Tells a scan how many rows will probably be asked for. Only speed depends on it. Requires: index_rescan was called.
void expect_rows(IndexScanDesc scan, std::size_t rows);

}  // namespace topk
