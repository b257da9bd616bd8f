// Reading and checking the arguments of SQL functions. Everything here raises 22023 and names the argument.
#pragma once

#include "delta.h"
#include "pg.h"

namespace topk {

constexpr std::int64_t kUnixEpochOffsetSeconds = (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * std::int64_t{SECS_PER_DAY};
/// To be added to instants of the years 1 to 9999 only: at the end of the range of timestamptz it overflows.
constexpr std::int64_t kUnixEpochOffsetMicros = kUnixEpochOffsetSeconds * USECS_PER_SEC;
/// The years 1 to 9999, in milliseconds since 1970-01-01 UTC: hours of others are refused.
constexpr std::int64_t kFirstMs = -62135596800000;
constexpr std::int64_t kEndMs = 253402300800000;

/// Raises 22023 if the argument is NULL.
void require_argument(FunctionCallInfo fcinfo, int index, const char* name);
/// The argument as a palloc'ed C string in the database's encoding. Raises 22023 if it is NULL.
char* text_argument(FunctionCallInfo fcinfo, int index, const char* name);
/// As text_argument, and raises 22023 if it is empty.
char* nonempty_text_argument(FunctionCallInfo fcinfo, int index, const char* name);
/// The bytes of a bytea argument that is not NULL; they live as long as the call's memory context.
Bytes bytes_argument(FunctionCallInfo fcinfo, int index);
/// A finite timestamp. Raises 22023 if it is NULL or infinite.
TimestampTz instant_argument(FunctionCallInfo fcinfo, int index, const char* name);

/// What a well-formed set of deltas holds.
struct DeltaSummary {
    std::uint64_t entries;
    std::uint32_t hours;
};

/// Checks all of the deltas: encoding, order, and that the hours are of the years 1 to 9999. Raises 22023.
DeltaSummary check_deltas(Bytes deltas);

/// Raises 22023 unless the database's encoding is UTF8: video ids are stored as they come.
void require_utf8_database();

/// Raises 25001 outside READ COMMITTED: every statement of claim, flush and correct must see what was committed before it.
void require_read_committed(const char* function);

}  // namespace topk
