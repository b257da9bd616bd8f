// The checks of register_counter.
#include "counter_tables.h"

namespace topk {

namespace {

struct Column {
    const char* name;
    Oid type;
    Oid collation;
};

constexpr Column kWindowStart = {"window_start", TIMESTAMPTZOID, InvalidOid};
constexpr Column kVideoId = {"video_id", TEXTOID, C_COLLATION_OID};
constexpr Column kViews = {"views", INT8OID, InvalidOid};
constexpr Column kSpan = {"span", TEXTOID, C_COLLATION_OID};

[[noreturn]] void refuse_table(const char* name, const char* detail) {
    ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE), errmsg("\"%s\" cannot be a table of a counter", name), errdetail("%s", detail),
                    errhint("Make counters with topk.create_counter.")));
    pg_unreachable();
}

bool is_column(Oid table, AttrNumber number, const Column& expected) {
    HeapTuple tuple = SearchSysCache2(ATTNUM, ObjectIdGetDatum(table), Int16GetDatum(number));
    if (!HeapTupleIsValid(tuple)) return false;
    const auto* found = reinterpret_cast<Form_pg_attribute>(GETSTRUCT(tuple));
    const bool same = strcmp(NameStr(found->attname), expected.name) == 0 && found->atttypid == expected.type &&
                      found->attcollation == expected.collation && found->attnotnull && found->attgenerated == '\0';
    ReleaseSysCache(tuple);
    return same;
}

/// The last column is views, those before it the primary key.
void require_columns(Oid table, const char* name, std::initializer_list<Column> columns) {
    AttrNumber number = 0;
    bool as_expected = !SearchSysCacheExists2(ATTNUM, ObjectIdGetDatum(table), Int16GetDatum(static_cast<AttrNumber>(columns.size()) + 1));
    Bitmapset* key = nullptr;
    for (const Column& column : columns) {
        as_expected = as_expected && is_column(table, ++number, column);
        if (number < static_cast<int>(columns.size())) key = bms_add_member(key, number - FirstLowInvalidHeapAttributeNumber);
    }
    if (!as_expected) refuse_table(name, "Its columns, their types or their collations differ.");
    Oid constraint;
    if (!bms_equal(get_primary_key_attnos(table, false, &constraint), key)) refuse_table(name, "Its primary key differs.");
}

/// PARTITION BY RANGE (window_start): a column, no expression, in the order of its type.
void require_partition_key(Oid table, const char* name) {
    HeapTuple tuple = SearchSysCache1(PARTRELID, ObjectIdGetDatum(table));
    if (!HeapTupleIsValid(tuple)) refuse_table(name, "It is not a partitioned table.");
    const auto* form = reinterpret_cast<Form_pg_partitioned_table>(GETSTRUCT(tuple));
    bool is_null;
    const auto* classes = reinterpret_cast<const oidvector*>(
        DatumGetPointer(SysCacheGetAttr(PARTRELID, tuple, Anum_pg_partitioned_table_partclass, &is_null)));
    const bool by_window = form->partstrat == PARTITION_STRATEGY_RANGE && form->partnatts == 1 && form->partattrs.values[0] == 1 &&
                           !is_null && classes->values[0] == GetDefaultOpClass(TIMESTAMPTZOID, BTREE_AM_OID);
    ReleaseSysCache(tuple);
    if (!by_window) refuse_table(name, "It is not partitioned by range of window_start.");
}

/// Checks kind, persistence and owner. Returns the owner.
Oid require_relation(Oid table, const char* name, char kind) {
    LockRelationOid(table, AccessShareLock);
    HeapTuple tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(table));
    if (!HeapTupleIsValid(tuple)) ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE), errmsg("table \"%s\" does not exist", name)));
    const auto* form = reinterpret_cast<Form_pg_class>(GETSTRUCT(tuple));
    const Oid owner = form->relowner;
    const bool right_kind = form->relkind == kind;
    const bool permanent = form->relpersistence == RELPERSISTENCE_PERMANENT;
    ReleaseSysCache(tuple);
    if (!has_privs_of_role(GetUserId(), owner))
        ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE), errmsg("must be owner of table \"%s\"", name)));
    if (!permanent) refuse_table(name, "A table that is temporary or unlogged would lose what its offsets say is counted.");
    if (!right_kind)
        refuse_table(name, kind == RELKIND_PARTITIONED_TABLE ? "It is not a partitioned table." : "It is not an ordinary table.");
    return owner;
}

}  // namespace

CounterTables check_counter_tables(const char* name, Oid hour_table) {
    const char* hours = get_rel_name(hour_table);
    CounterTables tables = {};
    tables.hour_table = hour_table;
    tables.owner = require_relation(hour_table, hours == nullptr ? psprintf("%u", hour_table) : hours, RELKIND_PARTITIONED_TABLE);
    require_columns(hour_table, hours, {kWindowStart, kVideoId, kViews});
    require_partition_key(hour_table, hours);
    const Oid schema = get_rel_namespace(hour_table);
    const auto beside = [&](const char* suffix, std::initializer_list<Column> columns) {
        const char* table_name = psprintf("%s%s", name, suffix);
        const Oid table = get_relname_relid(table_name, schema);
        if (require_relation(table, table_name, RELKIND_RELATION) != tables.owner)
            refuse_table(table_name, "Its owner is not that of the hour table.");
        require_columns(table, table_name, columns);
        return table;
    };
    tables.late_table = beside("_late", {kSpan, kWindowStart, kVideoId, kViews});
    tables.rollups[kDayRollup] = beside("_day_rollup", {kWindowStart, kVideoId, kViews});
    tables.rollups[kMonthRollup] = beside("_month_rollup", {kWindowStart, kVideoId, kViews});
    tables.rollups[kAllTimeRollup] = beside("_all_time_rollup", {kWindowStart, kVideoId, kViews});
    return tables;
}

}  // namespace topk
