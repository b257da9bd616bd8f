// Opening the extension's tables.
#include "registry_rows.h"

namespace topk {

Datum registry_value(HeapTuple tuple, TupleDesc desc, const char* column) {
    for (int i = 0; i < desc->natts; ++i) {
        if (namestrcmp(&TupleDescAttr(desc, i)->attname, column) != 0) continue;
        bool is_null;
        const Datum value = heap_getattr(tuple, i + 1, desc, &is_null);
        if (!is_null) return value;
        break;
    }
    elog(ERROR, "the registry has no \"%s\"", column);
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
