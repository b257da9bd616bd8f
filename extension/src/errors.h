// The SQLSTATEs of our own. Public: consumers of topk.flush switch on them.
#pragma once

#include "pg.h"

namespace topk {

/// A flush came from a session that does not own the partition, or from the wrong offset. Nothing was written.
constexpr int kErrorFenced = MAKE_SQLSTATE('T', 'K', '0', '0', '1');
/// A delta's hour ends at or before the frontier. Nothing was written.
constexpr int kErrorSealed = MAKE_SQLSTATE('T', 'K', '0', '0', '2');

}  // namespace topk
