// What leaderboards still need.
#pragma once

#include "counter.h"

namespace topk {

/// The first sealed hour that is due to expire and may yet get its final list, or one of its present revision; infinity if there is none.
/// Hours without a partition get none, and one that is older than twice hour_retention, or than hour_list_retention, is not waited for.
/// Requires: SPI connected, the extension owner's rights.
TimestampTz first_unlisted_hour(const Counter& counter);

}  // namespace topk
