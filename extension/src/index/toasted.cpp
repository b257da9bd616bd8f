// Looking for chunks in a TOAST table.
#include "toasted.h"

namespace topk {

namespace {

constexpr AttrNumber kChunkId = 1;  // of a TOAST table

}  // namespace

bool is_external(const OpenIndex& index, int column, Datum value) {
    const auto attribute = TupleDescAttr(RelationGetDescr(index.relation), column);
    return attribute->attlen == -1 && VARATT_IS_EXTERNAL(DatumGetPointer(value));
}

bool is_stored(Datum value) {
    auto* datum = reinterpret_cast<varlena*>(DatumGetPointer(value));
    if (!VARATT_IS_EXTERNAL_ONDISK(datum)) return true;
    varatt_external pointer;
    VARATT_EXTERNAL_GET_POINTER(pointer, datum);
    Relation toast = table_open(pointer.va_toastrelid, AccessShareLock);
    ScanKeyData key;
    ScanKeyInit(&key, kChunkId, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(pointer.va_valueid));
    SysScanDesc scan = systable_beginscan(toast, toast_get_valid_index(pointer.va_toastrelid, AccessShareLock), true, SnapshotAny, 1, &key);
    std::uint32_t chunks = 0;
    while (HeapTupleIsValid(systable_getnext(scan))) ++chunks;
    systable_endscan(scan);
    table_close(toast, AccessShareLock);
    return chunks >= (VARATT_EXTERNAL_GET_EXTSIZE(pointer) + TOAST_MAX_CHUNK_SIZE - 1) / TOAST_MAX_CHUNK_SIZE;
}

}  // namespace topk
