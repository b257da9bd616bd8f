// Every version in the table into the index: when it is built, and when CREATE INDEX CONCURRENTLY has it validated.
#pragma once

#include "order.h"

namespace topk {

/// Reports progress in blocks. The callback, if any, is called with every row's root. Returns the number of live rows.
/// Requires: inserts into the table reach the index from now on, or there are none.
double insert_all_versions(OpenIndex& index, IndexBulkDeleteCallback callback, void* state);

}  // namespace topk
