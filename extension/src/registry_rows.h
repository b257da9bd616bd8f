// Rows of the extension's own tables, read by their primary key in the caller's snapshot without SPI. No rights are checked: the
// caller of topk() may not read these tables, and is shown nothing of them.
#pragma once

#include "pg.h"

namespace topk {

/// A condition on a column of the table, by its number.
struct RowKey {
    AttrNumber column;
    StrategyNumber strategy;
    RegProcedure function;
    Oid collation;
    Datum value;
};

inline RowKey text_key(AttrNumber column, const char* value) {
    return {column, BTEqualStrategyNumber, F_TEXTEQ, C_COLLATION_OID, CStringGetTextDatum(value)};
}

/// The value of a column that is never null. Failure: an internal error if there is no such column.
Datum registry_value(HeapTuple tuple, TupleDesc desc, const char* column);
/// The same; fallback if there is no such column: the tables may be of a version before the library's.
Datum registry_value(HeapTuple tuple, TupleDesc desc, const char* column, Datum fallback);

/// True if schema topk has the table: while its SQL is still of an older version than the library, some are missing.
bool has_registry_table(const char* table);

/// Opens a table of schema topk.
Relation open_registry(const char* table);

/// Visits the rows that meet the keys, greatest primary key first, until visit returns true. Returns whether it did.
template <typename Visit>
bool read_registry_row(const char* table, std::initializer_list<RowKey> keys, Visit&& visit) {
    survives_longjmp<std::remove_reference_t<Visit>>();
    std::array<ScanKeyData, 4> conditions;
    int count = 0;
    for (const RowKey& key : keys)
        ScanKeyEntryInitialize(&conditions[static_cast<std::size_t>(count++)], 0, key.column, key.strategy, InvalidOid, key.collation,
                               key.function, key.value);
    Relation relation = open_registry(table);
    Relation index = index_open(primary_key_index(relation), AccessShareLock);
    SysScanDesc scan = systable_beginscan_ordered(relation, index, GetActiveSnapshot(), count, conditions.data());
    bool found = false;
    for (HeapTuple tuple; !found && HeapTupleIsValid(tuple = systable_getnext_ordered(scan, BackwardScanDirection));)
        found = visit(tuple, RelationGetDescr(relation));
    systable_endscan_ordered(scan);
    index_close(index, AccessShareLock);
    table_close(relation, AccessShareLock);
    return found;
}

}  // namespace topk
