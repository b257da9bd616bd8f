// Finding the partition of an hour, its index, and reading it.
#include "hour_list.h"

#include "index/scan.h"
#include "list_table.h"
#include "registry_rows.h"

namespace topk {

namespace {

std::span<Ranked> read_index(Relation partition, Relation index, TimestampTz start, std::int32_t k) {
    ScanKeyData hour;
    fix_column(&hour, 1, TIMESTAMPTZOID, TimestampTzGetDatum(start));
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

/// Opens the hour table and runs body on its partitions; with the owner's rights, since building a partition key runs functions in it.
/// Then the table's lock is let go, or kept.
template <typename Body>
void with_partitions(const Counter& counter, LOCKMODE let_go, Body&& body) {
    survives_longjmp<std::remove_reference_t<Body>>();
    as_user(counter.owner, [&] {
        Relation table = try_table_open(counter.hour_table, AccessShareLock);
        if (table == nullptr) refuse_dropped(counter);
        const PartitionKey key = RelationGetPartitionKey(table);
        if (key == nullptr || key->strategy != PARTITION_STRATEGY_RANGE || key->partnatts != 1 || key->parttypid[0] != TIMESTAMPTZOID)
            ereport(ERROR,
                    (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                     errmsg("the hour table of counter \"%s\" is not partitioned by range of a timestamp with time zone", counter.name),
                     errhint("Remove the counter with topk.drop_counter, and make it with topk.create_counter.")));
        body(key, RelationGetPartitionDesc(table, true));
        table_close(table, let_go);
    });
}

/// The i-th bound of a range-partitioned table; infinite before the first and after the last.
TimestampTz bound_at(const PartitionBoundInfoData& bounds, int i) {
    if (i < 0) return DT_NOBEGIN;
    if (i >= bounds.ndatums) return DT_NOEND;
    switch (bounds.kind[i][0]) {
        case PARTITION_RANGE_DATUM_MINVALUE:
            return DT_NOBEGIN;
        case PARTITION_RANGE_DATUM_MAXVALUE:
            return DT_NOEND;
        default:
            return DatumGetTimestampTz(bounds.datums[i][0]);
    }
}

}  // namespace

Oid partition_at(const Counter& counter, TimestampTz instant) {
    Oid found = InvalidOid;
    with_partitions(counter, NoLock, [&](PartitionKey key, PartitionDesc desc) {
        if (desc->boundinfo == nullptr) return;
        Datum value = TimestampTzGetDatum(instant);
        bool equal;
        const int bound = partition_range_datum_bsearch(key->partsupfunc, key->partcollation, desc->boundinfo, 1, &value, &equal);
        const int partition = desc->boundinfo->indexes[bound + 1];
        if (partition >= 0) found = desc->oids[partition];
    });
    return found;
}

bool partitions_within(const Counter& counter, TimestampTz start, TimestampTz end, std::span<Partition>* partitions) {
    bool all_have_bounds = true;
    *partitions = {};
    const MemoryContext caller = CurrentMemoryContext;
    with_partitions(counter, AccessShareLock, [&](PartitionKey, PartitionDesc desc) {
        if (desc->boundinfo == nullptr) return;
        const PartitionBoundInfoData& bounds = *desc->boundinfo;
        all_have_bounds = bounds.default_index < 0;
        auto* found = static_cast<Partition*>(MemoryContextAlloc(caller, static_cast<std::size_t>(desc->nparts) * sizeof(Partition)));
        std::size_t count = 0;
        for (int i = 0; i <= bounds.ndatums; ++i) {
            const Partition partition = {InvalidOid, bound_at(bounds, i - 1), bound_at(bounds, i)};
            if (bounds.indexes[i] < 0 || partition.end <= start || partition.start >= end) continue;
            found[count] = partition;
            found[count++].table = desc->oids[bounds.indexes[i]];
        }
        *partitions = {found, count};
    });
    return all_have_bounds;
}

// A commit leaves the list of running transactions before it sends its messages (CommitTransaction, as its replay: xact_redo_commit). What
// those of ATTACH PARTITION do is done here, in their order: the rows of pg_class, which says whether there are partitions, and of
// pg_partitioned_table, which says whether there is a default one, and the catalog snapshot with them; then the relation, and plans with
// it.
void forget_partitions(const Counter& counter) {
    for (const int cache : {RELOID, PARTRELID}) {
        SharedInvalidationMessage row = {};
        row.cc.id = static_cast<int8>(cache);
        row.cc.dbId = MyDatabaseId;
        row.cc.hashValue = GetSysCacheHashValue1(cache, ObjectIdGetDatum(counter.hour_table));
        LocalExecuteInvalidationMessage(&row);
    }
    SharedInvalidationMessage relation = {};
    relation.rc.id = SHAREDINVALRELCACHE_ID;
    relation.rc.dbId = MyDatabaseId;
    relation.rc.relId = counter.hour_table;
    LocalExecuteInvalidationMessage(&relation);
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
    ListTable partition;
    if (!OidIsValid(oid) || !open_list_table(oid, 1, &partition)) return false;
    const bool has_index = partition.top_index != nullptr;
    if (has_index) *list = read_index(partition.relation, partition.top_index, start, k);
    close_list_table(partition);
    return has_index;
}

}  // namespace topk
