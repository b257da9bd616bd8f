// Statements through SPI, planned once a session, and whose rights they run with.
// Every SQL function of ours connects SPI once, around its whole body, by with_spi. The
// functions pin search_path in their definition, so that unqualified operators in the statements are pg_catalog's.
#pragma once

#include "pg.h"

namespace topk {

struct Argument {
    Oid type;
    Datum value;
    bool is_null = false;
};

inline Argument text_value(const char* value) {
    return value == nullptr ? Argument{TEXTOID, 0, true} : Argument{TEXTOID, CStringGetTextDatum(value)};
}
inline Argument int4_value(std::int32_t value) {
    return {INT4OID, Int32GetDatum(value)};
}
inline Argument int8_value(std::int64_t value) {
    return {INT8OID, Int64GetDatum(value)};
}
inline Argument oid_value(Oid value) {
    return {OIDOID, ObjectIdGetDatum(value)};
}
inline Argument time_value(TimestampTz value) {
    return {TIMESTAMPTZOID, TimestampTzGetDatum(value)};
}

/// Which rows a statement sees.
enum class Snapshot {
    kFresh,   ///< everything committed before this statement; may write
    kCaller,  ///< what the calling query sees; reads only
};

constexpr std::size_t kMaxArguments = 12;

/// A statement kept for the life of the session. Constant-initialised at namespace scope; not shared by threads.
/// Planned at the first run, and anew when tables change or arguments come with other types: CREATE EXTENSION after
/// DROP EXTENSION gives the types of topk other oids.
struct Statement {
    const char* sql;
    int cursor_options = 0;
    SPIPlanPtr plan = nullptr;
    std::array<Oid, kMaxArguments> types = {};
};

/// Runs a kept statement with the current user's rights; rows are in SPI_tuptable until SPI_finish.
/// Requires: SPI connected. Returns the number of rows found or written. The current memory context stays the caller's.
std::uint64_t run(Statement& statement, std::initializer_list<Argument> arguments, Snapshot snapshot);

/// Runs a statement once; its arguments are known when it is planned, so that partitions are pruned then. Otherwise as run.
std::uint64_t run_once(const char* sql, std::initializer_list<Argument> arguments, Snapshot snapshot);

/// Runs a utility command once. Requires: SPI connected.
void run_utility(const char* sql);

/// A column (from 1) of a row of the last result. Valid until SPI_finish if passed by reference.
struct Cell {
    Datum value;
    bool is_null;
};
Cell cell(std::uint64_t row, int column);
/// The same as a palloc'ed C string; null if NULL.
char* text_cell(std::uint64_t row, int column);

/// Appends the rows of the last result to a materialised set whose columns match.
void put_rows(const ReturnSetInfo* result);

/// Runs body with SPI connected.
template <typename Body>
void with_spi(Body&& body) {
    survives_longjmp<std::remove_reference_t<Body>>();
    if (SPI_connect() != SPI_OK_CONNECT) elog(ERROR, "SPI_connect failed");
    body();
    SPI_finish();
}

/// Runs body with another role's rights, as a security-restricted operation: whatever it fires cannot change the
/// session. An error in body is cleaned up by the transaction's abort, which restores user and settings.
template <typename Body>
void as_user(Oid user, Body&& body) {
    survives_longjmp<std::remove_reference_t<Body>>();
    Oid caller;
    int context;
    GetUserIdAndSecContext(&caller, &context);
    SetUserIdAndSecContext(user, context | SECURITY_LOCAL_USERID_CHANGE | SECURITY_RESTRICTED_OPERATION);
    const int nest_level = NewGUCNestLevel();
    body();
    AtEOXact_GUC(false, nest_level);
    SetUserIdAndSecContext(caller, context);
}

}  // namespace topk
