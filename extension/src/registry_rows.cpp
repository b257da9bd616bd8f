// Opening the extension's tables.
#include "registry_rows.h"

namespace topk {

namespace {

/// False if there is no such column, or its value is null.
bool find_value(HeapTuple tuple, TupleDesc desc, const char* column, Datum* value) {
    for (int i = 0; i < desc->natts; ++i) {
        if (namestrcmp(&TupleDescAttr(desc, i)->attname, column) != 0) continue;
        bool is_null;
        *value = heap_getattr(tuple, i + 1, desc, &is_null);
        return !is_null;
    }
    return false;
}

}  // namespace

Datum registry_value(HeapTuple tuple, TupleDesc desc, const char* column) {
    Datum value;
    if (!find_value(tuple, desc, column, &value)) elog(ERROR, "the registry has no \"%s\"", column);
    return value;
}

Datum registry_value(HeapTuple tuple, TupleDesc desc, const char* column, Datum fallback) {
    Datum value;
    return find_value(tuple, desc, column, &value) ? value : fallback;
}

namespace {

Oid registry_table(const char* table) {
    return get_relname_relid(table, get_namespace_oid("topk", false));
}

}  // namespace

bool has_registry_table(const char* table) {
    return OidIsValid(registry_table(table));
}

Relation open_registry(const char* table) {
    const Oid oid = registry_table(table);
    if (!OidIsValid(oid))
        ereport(ERROR,
                (errcode(ERRCODE_UNDEFINED_TABLE), errmsg("table topk.%s does not exist", table), errhint("Run CREATE EXTENSION topk.")));
    return table_open(oid, AccessShareLock);
}

}  // namespace topk
