// What a full group page keeps and what it gives up.
#pragma once

#include "group.h"

namespace topk {

enum class Outcome {
    kTidied,     ///< there is room again, and the thresholds are as they were
    kEvicted,    ///< there is room again, and thresholds or histories were raised
    kMustSplit,  ///< everything on the page is wanted; nothing was changed
};

/// Requires: the group page exclusively locked.
Outcome tidy_or_evict(OpenIndex& index, std::uint64_t hash, Buffer group);

}  // namespace topk
