// A counter as the registry knows it, and who may do what with it.
// The lookup reads the registry with the extension owner's rights; it says nothing about the caller's rights, so every
// SQL function calls require_access (or leaves the check to the tables, as topk() does) before it acts.
#pragma once

#include "pg.h"
#include "statement.h"

namespace topk {

enum Rollup { kDayRollup, kMonthRollup, kAllTimeRollup, kRollups };

struct Counter {
    char* name;
    char* time_zone;
    pg_tz* zone;
    Oid hour_table;
    Oid late_table;
    Oid rollups[kRollups];
    Oid owner;  ///< of the hour table: the counter's tables are read, written and opened with this role's rights only
    TimestampTz sealed_through;
    TimestampTz hours_expired_through;  ///< hours that begin before it may have lost their rows
    TimestampTz days_expired_through;   ///< days likewise, in the day roll-up
};

/// Finds a counter or raises 42704. Also 55000 if its hour table was dropped behind the registry's back.
/// Requires: SPI connected. Strings live until SPI_finish.
Counter find_counter(const char* name, Snapshot snapshot);

/// The role that CREATE EXTENSION ran as, owner of everything in schema topk.
Oid extension_owner();

/// The owner of a relation; InvalidOid if there is none.
Oid relation_owner(Oid relation);

/// True if the current user may SELECT from the table.
bool may_read(Oid table);
/// Raises 42501 unless he may.
void require_readable(Oid table);

/// True if row-level security on the table applies to the role.
bool has_policies(Oid table, Oid user);
/// The same for any of the counter's tables.
bool has_policies(const Counter& counter, Oid user);

/// Raises 0A000, with that detail, if policies apply to the owner of the counter (FORCE): they would hide rows from what runs with its
/// rights.
void refuse_forced_policies(const Counter& counter, const char* detail);

/// Keeps the counter from being dropped until the transaction ends, by a shared lock on its row of the registry. Failure: 42704 if it was
/// dropped since it was looked up. Requires: SPI connected.
void hold_counter(const Counter& counter);

/// Raises 55000: a table was dropped behind the registry's back.
[[noreturn]] void refuse_dropped(const Counter& counter);

/// A table of the counter under its present name, quoted and qualified. palloc'ed. Takes AccessShareLock on it, so that
/// it keeps the name for this transaction. Failure: 55000 if it was dropped.
char* table_name(const Counter& counter, Oid table);

/// True if the current user owns the counter, or has been given the privilege ("read" also by SELECT on its hours).
/// Requires: SPI connected.
bool has_access(const Counter& counter, const char* privilege, Snapshot snapshot);

/// Raises 42501 unless the user has one of the privileges.
void require_access(const Counter& counter, std::initializer_list<const char*> privileges, Snapshot snapshot);

}  // namespace topk
