// A counter as the registry knows it, and who may do what with it.
// The lookup reads the registry with the extension owner's rights; it says nothing about the caller's rights, so every
// SQL function calls require_access (or leaves the check to the tables, as topk() does) before it acts.
#pragma once

#include "pg.h"
#include "statement.h"

namespace topk {

struct Counter {
    char* name;
    char* time_zone;
    pg_tz* zone;
    Oid hour_table;
    Oid owner;  ///< of the hour table: the counter's tables are written with this role's rights
    TimestampTz sealed_through;
};

/// Finds a counter or raises 42704. Also 55000 if its hour table was dropped behind the registry's back.
/// Requires: SPI connected. Strings live until SPI_finish.
Counter find_counter(const char* name, Snapshot snapshot);

/// The role that CREATE EXTENSION ran as, owner of everything in schema topk.
Oid extension_owner();

/// The owner of a relation; InvalidOid if there is none.
Oid relation_owner(Oid relation);

/// The hour table, under its present name, quoted and qualified. palloc'ed.
char* hours_of(const Counter& counter);

/// Another relation of the counter, by its suffix ("_late", "_day_rollup", "_day", ...), quoted and qualified.
/// It stands in the schema of the hour table. palloc'ed.
char* table_of(const Counter& counter, const char* suffix);

/// True if the current user owns the counter, or has been given the privilege ("read" also by SELECT on its hours).
/// Requires: SPI connected.
bool has_access(const Counter& counter, const char* privilege, Snapshot snapshot);

/// Raises 42501 unless the user has one of the privileges.
void require_access(const Counter& counter, std::initializer_list<const char*> privileges, Snapshot snapshot);

}  // namespace topk
