// Reading chunks of a TOAST table, whoever may see them.
#include "toasted.h"

namespace topk {

namespace {

// Columns of a TOAST table
constexpr AttrNumber kChunkId = 1;
constexpr AttrNumber kChunkNumber = 2;
constexpr AttrNumber kChunkData = 3;

}  // namespace

bool is_external(const OpenIndex& index, int column, Datum value) {
    const auto attribute = TupleDescAttr(RelationGetDescr(index.relation), column);
    return attribute->attlen == -1 && VARATT_IS_EXTERNAL(DatumGetPointer(value));
}

Datum fetch_stored(Datum value) {
    varatt_external pointer;
    VARATT_EXTERNAL_GET_POINTER(pointer, reinterpret_cast<varlena*>(DatumGetPointer(value)));
    const std::size_t size = VARATT_EXTERNAL_GET_EXTSIZE(pointer);
    auto* whole = static_cast<varlena*>(palloc(VARHDRSZ + size));
    if (size < static_cast<std::size_t>(pointer.va_rawsize) - VARHDRSZ)
        SET_VARSIZE_COMPRESSED(whole, VARHDRSZ + size);
    else
        SET_VARSIZE(whole, VARHDRSZ + size);
    Relation toast = table_open(pointer.va_toastrelid, AccessShareLock);
    ScanKeyData key;
    ScanKeyInit(&key, kChunkId, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(pointer.va_valueid));
    SysScanDesc scan = systable_beginscan(toast, toast_get_valid_index(pointer.va_toastrelid, AccessShareLock), true, SnapshotAny, 1, &key);
    std::size_t found = 0;
    for (HeapTuple tuple; HeapTupleIsValid(tuple = systable_getnext(scan));) {
        bool null;
        const std::size_t start =
            static_cast<std::size_t>(DatumGetInt32(fastgetattr(tuple, kChunkNumber, RelationGetDescr(toast), &null))) *
            TOAST_MAX_CHUNK_SIZE;
        const auto* chunk = reinterpret_cast<varlena*>(DatumGetPointer(fastgetattr(tuple, kChunkData, RelationGetDescr(toast), &null)));
        const std::size_t length = VARSIZE_ANY_EXHDR(chunk);
        if (start + length > size) continue;
        memcpy(VARDATA(whole) + start, VARDATA_ANY(chunk), length);
        found += length;
    }
    systable_endscan(scan);
    table_close(toast, AccessShareLock);
    return found == size ? PointerGetDatum(whole) : Datum{0};
}

}  // namespace topk
