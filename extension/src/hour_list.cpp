// Finding the partition of an hour, its index, and reading it.
#include "hour_list.h"

#include "index/am.h"
#include "index/scan.h"
#include "registry_rows.h"

namespace topk {

namespace {

constexpr AttrNumber kWindowStart = 1, kVideoId = 2, kViews = 3;  // as register_counter demands them

/// True for a usable (window_start, views DESC, video_id) of our access method.
bool is_hour_index(Relation index) {
    const FormData_pg_index& form = *index->rd_index;
    return index->rd_indam->ambuild == topk_build && form.indisvalid && !form.indcheckxmin && form.indnatts == 3 &&
           form.indkey.values[0] == kWindowStart && form.indkey.values[1] == kViews && form.indkey.values[2] == kVideoId &&
           (index->rd_indoption[1] & INDOPTION_DESC) != 0 && (index->rd_indoption[2] & INDOPTION_DESC) == 0 &&
           index->rd_indcollation[2] == C_COLLATION_OID && index->rd_opcintype[0] == TIMESTAMPTZOID && index->rd_opcintype[1] == INT8OID &&
           index->rd_opcintype[2] == TEXTOID;
}

/// Opens the partition's index; null if it has none.
Relation open_hour_index(Relation partition) {
    List* indexes = RelationGetIndexList(partition);
    Relation found = nullptr;
    for (int i = 0; i < list_length(indexes) && found == nullptr; ++i) {
        Relation index = index_open(list_nth_oid(indexes, i), AccessShareLock);
        if (is_hour_index(index))
            found = index;
        else
            index_close(index, AccessShareLock);
    }
    list_free(indexes);
    return found;
}

AttrNumber column_of(Relation partition, const char* name) {
    return get_attnum(RelationGetRelid(partition), name);
}

/// Partitions made by hand may have their columns elsewhere.
bool has_our_columns(Relation partition) {
    return column_of(partition, "window_start") == kWindowStart && column_of(partition, "video_id") == kVideoId &&
           column_of(partition, "views") == kViews && partition->rd_rel->relkind == RELKIND_RELATION;
}

std::span<Ranked> read_index(Relation partition, Relation index, TimestampTz start, std::int32_t k) {
    ScanKeyData hour;
    ScanKeyEntryInitialize(&hour, 0, 1, BTEqualStrategyNumber, TIMESTAMPTZOID, InvalidOid, F_TIMESTAMPTZ_EQ, TimestampTzGetDatum(start));
    auto* list = static_cast<Ranked*>(palloc(static_cast<std::size_t>(k) * sizeof(Ranked)));
    std::size_t size = 0;
    IndexScanDesc scan = begin_index_scan(partition, index, GetActiveSnapshot(), 1);
    index_rescan(scan, &hour, 1, nullptr, 0);
    expect_values(scan, static_cast<std::size_t>(k));
    std::array<Datum, 3> values;  // of the index's columns: window_start, views, video_id
    std::array<bool, 3> nulls;
    while (size < static_cast<std::size_t>(k) && index_getnext_tid(scan, ForwardScanDirection) != nullptr) {
        get_values(scan, values.data(), nulls.data());
        list[size++] = {TextDatumGetCString(values[2]), DatumGetInt64(values[1])};
    }
    index_endscan(scan);
    return {list, size};
}

/// The partition that the bounds give, with the owner's rights, since building a partition key runs functions in it.
Oid find_partition(const Counter& counter, TimestampTz instant) {
    Relation table = try_table_open(counter.hour_table, AccessShareLock);
    if (table == nullptr) refuse_dropped(counter);
    const PartitionKey key = RelationGetPartitionKey(table);
    if (key == nullptr || key->strategy != PARTITION_STRATEGY_RANGE || key->partnatts != 1 || key->parttypid[0] != TIMESTAMPTZOID)
        ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                        errmsg("the hour table of counter \"%s\" is not partitioned by range of a timestamp with time zone", counter.name),
                        errhint("Remove the counter with topk.drop_counter, and make it with topk.create_counter.")));
    const PartitionDesc desc = RelationGetPartitionDesc(table, true);
    Oid found = InvalidOid;
    if (desc->boundinfo != nullptr) {
        Datum value = TimestampTzGetDatum(instant);
        bool equal;
        const int bound = partition_range_datum_bsearch(key->partsupfunc, key->partcollation, desc->boundinfo, 1, &value, &equal);
        const int partition = desc->boundinfo->indexes[bound + 1];
        if (partition >= 0) found = desc->oids[partition];
    }
    table_close(table, NoLock);
    return found;
}

}  // namespace

Oid partition_at(const Counter& counter, TimestampTz instant) {
    Oid found = InvalidOid;
    as_user(counter.owner, [&] { found = find_partition(counter, instant); });
    return found;
}

bool stored_hour_at(const Counter& counter, TimestampTz instant, TimestampTz* start) {
    bool found = false;
    const RowKey until = {2, BTLessEqualStrategyNumber, F_TIMESTAMPTZ_LE, InvalidOid, TimestampTzGetDatum(instant)};
    read_registry_row("hour_map", {text_key(1, counter.name), until}, [&](HeapTuple tuple, TupleDesc desc) {
        *start = DatumGetTimestampTz(registry_value(tuple, desc, "hour_start"));
        found = DatumGetTimestampTz(registry_value(tuple, desc, "hour_end")) > instant;
        return true;
    });
    return found;
}

bool read_hour_list(const Counter& counter, TimestampTz start, std::int32_t k, std::span<Ranked>* list) {
    const Oid oid = partition_at(counter, start);
    Relation partition = OidIsValid(oid) ? try_table_open(oid, AccessShareLock) : nullptr;
    if (partition == nullptr) return false;
    Relation index = has_our_columns(partition) ? open_hour_index(partition) : nullptr;
    if (index != nullptr) {
        *list = read_index(partition, index, start, k);
        index_close(index, NoLock);
    }
    table_close(partition, NoLock);
    return index != nullptr;
}

}  // namespace topk
