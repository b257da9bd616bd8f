// The final list of a sealed window, read from topk.leaderboard_data instead of merging the window's rows.
#pragma once

#include "hour_list.h"

namespace topk {

/// A list of a window: what was asked for of it, and how long it is.
struct FinalList {
    TimestampTz start;       ///< window_start
    std::span<Ranked> rows;  ///< the k first, or all there are
    std::int32_t length;     ///< of the stored list, 1000 at most
};

/// Reads the k first of an hour's final list, in the caller's snapshot and without SPI; palloc'ed. start: of the hour. False if there is
/// none of its present revision, the caller may not read the hour table, or row-level security on any of the counter's tables applies
/// to the caller or to their owner: then the rows decide.
bool read_final_hour(const Counter& counter, TimestampTz start, std::int32_t k, FinalList* list);

/// The same for the hour, day or month that contains the instant; the caller has to be allowed to read every table that a day or month
/// is made of. False for all_time, too. Requires: SPI connected.
bool read_final_list(const Counter& counter, const char* span, TimestampTz at, std::int32_t k, FinalList* list);

}  // namespace topk
