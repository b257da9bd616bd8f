// Rows of a flush, and of a roll-up, added without SQL: with the current user's rights, and with the same result. Both return false, and
// have done nothing, if that is SQL's: by the option, or by the rules of upsert_rules.h; DEBUG1 tells which it is.
#pragma once

#include "counter.h"
#include "flush_arguments.h"

namespace topk {

/// Rows are added in subtransactions. More of them in a transaction than a backend shows to others (64) would cost every snapshot of theirs
/// a look into pg_subtrans.
constexpr std::uint64_t kMaxSubtransactions = 48;
/// So few rows are added without one.
constexpr std::uint64_t kFewRows = 32;

/// Makes topk.native_upsert known, which chooses between this and statements.
void register_upsert_option();

/// Adds the deltas, in key order, to the hour table. Requires: read committed; the partitions of all hours are there, and none of them is
/// being dropped.
bool upsert_deltas(const Counter& counter, const FlushArguments& flush);

struct VideoViews {
    text* id;
    std::int64_t views;
};

/// Adds rows, by id, to those of a window in a roll-up, in one subtransaction unless they are few. Requires: read committed.
bool upsert_rows(Oid rollup, TimestampTz window, std::span<const VideoViews> rows);

}  // namespace topk
