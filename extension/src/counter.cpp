// Registry lookup and access checks.
#include "counter.h"

#include "counter_lock.h"
#include "registry_rows.h"

namespace topk {

namespace {

// All columns: which there are depends on the version of the tables.
Statement find_statement = {"SELECT * FROM topk.counter_data WHERE name = $1"};

void take_row(HeapTuple tuple, TupleDesc desc, Counter* counter) {
    const auto column = [&](const char* name) { return registry_value(tuple, desc, name); };
    const auto expired = [&](const char* name) {
        return DatumGetTimestampTz(registry_value(tuple, desc, name, TimestampTzGetDatum(DT_NOBEGIN)));
    };
    counter->time_zone = TextDatumGetCString(column("time_zone"));
    counter->sealed_through = DatumGetTimestampTz(column("sealed_through"));
    counter->hours_expired_through = expired("hours_expired_through");
    counter->days_expired_through = expired("days_expired_through");
    counter->hour_table = DatumGetObjectId(column("hour_table"));
    counter->late_table = DatumGetObjectId(column("late_table"));
    counter->rollups[kDayRollup] = DatumGetObjectId(column("day_rollup"));
    counter->rollups[kMonthRollup] = DatumGetObjectId(column("month_rollup"));
    counter->rollups[kAllTimeRollup] = DatumGetObjectId(column("all_time_rollup"));
}

/// The registry's row by SQL, in a fresh snapshot.
bool query_counter(const char* name, Counter* counter) {
    std::uint64_t found = 0;
    as_user(extension_owner(), [&] { found = run(find_statement, {text_value(name)}, Snapshot::kFresh); });
    if (found == 0) return false;
    take_row(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, counter);
    return true;
}

/// The same straight from the table, in the caller's snapshot: topk() is asked often.
bool read_counter(const char* name, Counter* counter) {
    return read_registry_row("counter_data", {text_key(1, name)}, [&](HeapTuple tuple, TupleDesc desc) {
        take_row(tuple, desc, counter);
        return true;
    });
}

// The role is compared here and not in has_privs_of_role so that one round trip answers.
Statement access_statement = {
    "SELECT FROM topk.access_data a WHERE a.counter = $1 AND a.privilege = $2 AND pg_has_role($3, a.role::oid, 'USAGE')"};

// By the table, too: the counter may have been dropped and made again, by somebody else, since it was looked up.
Statement hold_statement = {"SELECT FROM topk.counter_data WHERE name = $1 AND hour_table = $2 FOR KEY SHARE"};

}  // namespace

Oid extension_owner() {
    const Oid schema = get_namespace_oid("topk", false);
    const Oid owner = relation_owner(get_relname_relid("counter_data", schema));
    if (!OidIsValid(owner))
        ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE), errmsg("table topk.counter_data does not exist"),
                        errhint("Run CREATE EXTENSION topk.")));
    return owner;
}

Oid relation_owner(Oid relation) {
    HeapTuple tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relation));
    if (!HeapTupleIsValid(tuple)) return InvalidOid;
    const Oid owner = reinterpret_cast<Form_pg_class>(GETSTRUCT(tuple))->relowner;
    ReleaseSysCache(tuple);
    return owner;
}

Counter find_counter(const char* name, Snapshot snapshot) {
    Counter counter = {};
    const bool found = snapshot == Snapshot::kCaller ? read_counter(name, &counter) : query_counter(name, &counter);
    if (!found)
        ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("counter \"%s\" does not exist", name),
                        errhint("Create it with topk.create_counter.")));
    counter.name = pstrdup(name);
    counter.owner = relation_owner(counter.hour_table);
    if (!OidIsValid(counter.owner))
        ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE), errmsg("the hour table of counter \"%s\" was dropped", name),
                        errhint("Remove what is left of the counter with topk.drop_counter.")));
    counter.zone = pg_tzset(counter.time_zone);
    if (counter.zone == nullptr)
        ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                        errmsg("time zone \"%s\" of counter \"%s\" is unknown to this server", counter.time_zone, name),
                        errhint("Install the time zone data the counter was created with.")));
    return counter;
}

bool may_read(Oid table) {
    return has_schema_usage(get_rel_namespace(table), GetUserId()) && pg_class_aclcheck(table, GetUserId(), ACL_SELECT) == ACLCHECK_OK;
}

void require_readable(Oid table) {
    const Oid schema = get_rel_namespace(table);
    if (may_read(table)) return;
    if (!has_schema_usage(schema, GetUserId())) aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_SCHEMA, get_namespace_name(schema));
    aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_TABLE, get_rel_name(table));
}

bool has_policies(Oid table, Oid user) {
    return check_enable_rls(table, user, true) == RLS_ENABLED;
}

bool has_policies(const Counter& counter, Oid user) {
    return has_policies(counter.hour_table, user) || has_policies(counter.late_table, user) ||
           std::any_of(std::begin(counter.rollups), std::end(counter.rollups), [&](Oid table) { return has_policies(table, user); });
}

void refuse_forced_policies(const Counter& counter, const char* detail) {
    if (has_policies(counter, counter.owner))
        ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                        errmsg("row-level security is forced on the owner of counter \"%s\"", counter.name), errdetail("%s", detail),
                        errhint("Use ALTER TABLE ... NO FORCE ROW LEVEL SECURITY.")));
}

void hold_counter(const Counter& counter) {
    std::uint64_t found = 0;
    const auto lock_row = [&] {
        as_user(extension_owner(), [&] {
            found = run(hold_statement, {text_value(counter.name), oid_value(counter.hour_table)}, Snapshot::kFresh);
        });
    };
    with_bounded_row_wait(counter.name, lock_row);
    if (found == 0) ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("counter \"%s\" was dropped", counter.name)));
}

void refuse_dropped(const Counter& counter) {
    ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE), errmsg("a table of counter \"%s\" was dropped", counter.name),
                    errhint("Remove what is left of the counter with topk.drop_counter.")));
    pg_unreachable();
}

char* table_name(const Counter& counter, Oid table) {
    LockRelationOid(table, AccessShareLock);
    const char* name = get_rel_name(table);
    const char* schema = name == nullptr ? nullptr : get_namespace_name(get_rel_namespace(table));
    if (schema == nullptr) refuse_dropped(counter);
    return quote_qualified_identifier(schema, name);
}

bool has_access(const Counter& counter, const char* privilege, Snapshot snapshot) {
    const Oid user = GetUserId();
    if (has_privs_of_role(user, counter.owner)) return true;
    if (strcmp(privilege, "read") == 0) return pg_class_aclcheck(counter.hour_table, user, ACL_SELECT) == ACLCHECK_OK;
    std::uint64_t found = 0;
    as_user(extension_owner(), [&] {
        found = run(access_statement, {text_value(counter.name), text_value(privilege), oid_value(user)}, snapshot);
    });
    return found > 0;
}

void require_access(const Counter& counter, std::initializer_list<const char*> privileges, Snapshot snapshot) {
    for (const char* privilege : privileges)
        if (has_access(counter, privilege, snapshot)) return;
    ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE), errmsg("permission denied for counter \"%s\"", counter.name),
                    errdetail("Role \"%s\" has no privilege '%s' on it.", GetUserNameFromId(GetUserId(), false), *privileges.begin()),
                    errhint("The counter's owner can give it with topk.grant_access.")));
}

}  // namespace topk
