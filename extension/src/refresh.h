// What is shared by the parts of topk.refresh_step, which windows need a list (refresh_due.cpp) and making one (refresh.cpp), and what
// expiry asks of them.
#pragma once

#include "counter.h"

namespace topk {

constexpr const char* kListsHidden = "Lists are made with the owner's rights; the policies would leave rows out.";

/// Windows before hours_from or days_from have lost their rows, or their lists are not kept any more.
struct ListFrontiers {
    TimestampTz sealed_through;
    TimestampTz hours_from;
    TimestampTz days_from;
};

/// Requires: SPI connected, the extension owner's rights.
ListFrontiers read_list_frontiers(const Counter& counter, Snapshot snapshot);

/// An array of texts or of eight-byte values.
Argument array_of(Oid array, Oid element, std::span<Datum> values);

/// The first sealed hour that is due to expire and may yet get its final list, or one of its present revision; infinity if there is none.
/// Hours without a partition get none, and one that is older than twice hour_retention, or than hour_list_retention, is not waited for.
/// Requires: SPI connected, the extension owner's rights.
TimestampTz first_unlisted_hour(const Counter& counter);

/// The same of days and day_retention: the first that is due to expire and may yet get its final list. A day of which there are late
/// additions only is not waited for. Requires: as first_unlisted_hour.
TimestampTz first_unlisted_day(const Counter& counter);

}  // namespace topk
