// A batch of rows of one window, added to a window of a roll-up.
#pragma once

#include "counter.h"

namespace topk {

/// Rows of one window of a table, by id: those after `after`, up to `through` unless that is null.
struct Source {
    Oid table;
    TimestampTz window;
    const char* after;
    const char* through;
};

struct Target {
    Oid table;
    TimestampTz window;
};

struct Batch {
    std::int64_t rows;
    const char* last;  ///< the greatest id; null without rows
    std::uint64_t subtransactions;
};

/// Adds up to `limit` rows with the rights of the counter's owner: natively if upsert.h can, else by a statement. Failure: 22003 if a sum
/// would exceed bigint; 27000 if not all were stored. Requires: SPI connected, read committed, and that nobody else adds to that
/// window.
Batch roll_up_rows(const Counter& counter, const Source& source, const Target& target, std::int32_t limit);

}  // namespace topk
