// The arrays of topk.flush, read into C and checked (22023) before anything is locked or written.
#pragma once

#include "delta.h"
#include "hour_book.h"
#include "pg.h"

namespace topk {

constexpr std::size_t kMaxDeadPayloadBytes = 4096;

/// One element of progress[]. The SQL type holds more; the rest goes from the array to the table by SQL.
struct Progress {
    std::int32_t partition;
    std::int64_t epoch;
    std::int64_t from_offset;
    std::int64_t to_offset;
};

struct FlushArguments {
    const char* counter;
    const char* topic;
    Datum deltas;
    Bytes delta_bytes;
    std::uint64_t delta_entries;
    std::span<const TimestampTz> delta_hours;  ///< ascending
    Datum late;                                ///< an array; 0 if it was NULL
    std::span<const TimestampTz> late_hours;   ///< ascending, distinct; empty if there is nothing late
    std::span<BookHour> book;                  ///< every hour touched, ascending; what late windows took is not known yet
    Datum dead;                                ///< an array; 0 if it was NULL
    std::size_t dead_count;
    Datum progress;
    std::span<const Progress> partitions;  ///< partitions ascending
};

/// Reads and checks all arguments of topk.flush; what is returned lives in the current memory context.
/// late and dead may be NULL for none.
FlushArguments read_flush_arguments(FunctionCallInfo fcinfo);

}  // namespace topk
