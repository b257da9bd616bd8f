// topk.grant_access and topk.revoke_access, and the check of 'admin' for functions in SQL.
// 'read' is SELECT on the counter's tables, so it is also a plain GRANT; 'ingest' and 'admin' are rows of the registry
// that claim, flush and the operator's functions look up.
// Locks, in order: the registry row (shared: the counter is not dropped meanwhile), partitions (nobody attaches one: it, too, writes the
// hour table's row of pg_class, which does not take two writers at once).
#include "arguments.h"
#include "counter.h"
#include "counter_lock.h"

namespace topk {

namespace {

struct AccessArguments {
    Oid role;
    const char* role_name;
    const char* privilege;
    const char* counter;
};

Statement grant_statement = {
    "INSERT INTO topk.access_data (counter, role, privilege) VALUES ($1, $2::regrole, $3) ON CONFLICT (counter, role, privilege) DO "
    "NOTHING"};
Statement revoke_statement = {"DELETE FROM topk.access_data WHERE counter = $1 AND role = $2::regrole AND privilege = $3"};

AccessArguments read_access_arguments(FunctionCallInfo fcinfo) {
    AccessArguments access;
    access.role_name = text_argument(fcinfo, 0, "role");
    access.role = get_role_oid(access.role_name, false);
    access.privilege = text_argument(fcinfo, 1, "privilege");
    const auto is = [&](const char* name) { return strcmp(access.privilege, name) == 0; };
    if (!is("read") && !is("ingest") && !is("admin"))
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("privilege \"%s\" is unknown", access.privilege),
                        errhint("Use read, ingest or admin.")));
    access.counter = text_argument(fcinfo, 2, "counter");
    return access;
}

/// Every relation of the counter that 'read' opens: its tables, and the views that are there.
const char* readable_relations(const Counter& counter) {
    const char* list = table_name(counter, counter.hour_table);
    list = psprintf("%s, %s", list, table_name(counter, counter.late_table));
    for (const Oid rollup : counter.rollups) list = psprintf("%s, %s", list, table_name(counter, rollup));
    const Oid schema = get_rel_namespace(counter.hour_table);
    for (const char* suffix : {"_day", "_month", "_all_time"}) {
        const Oid view = get_relname_relid(psprintf("%s%s", counter.name, suffix), schema);
        if (get_rel_relkind(view) == RELKIND_VIEW) list = psprintf("%s, %s", list, table_name(counter, view));
    }
    return list;
}

void hint_at_schema(const Counter& counter, const AccessArguments& access) {
    const Oid schema = get_rel_namespace(counter.hour_table);
    if (has_schema_usage(schema, access.role)) return;
    const char* name = quote_identifier(get_namespace_name(schema));
    ereport(NOTICE, (errmsg("role \"%s\" cannot reach the counter's tables without USAGE on schema %s", access.role_name, name),
                     errhint("GRANT USAGE ON SCHEMA %s TO %s;", name, quote_identifier(access.role_name))));
}

void grant(const Counter& counter, const AccessArguments& access) {
    if (strcmp(access.privilege, "read") == 0) {
        as_user(counter.owner, [&] {
            run_utility(psprintf("GRANT SELECT ON %s TO %s", readable_relations(counter), quote_identifier(access.role_name)));
        });
        hint_at_schema(counter, access);
    }
    as_user(extension_owner(), [&] {
        run(grant_statement, {text_value(counter.name), oid_value(access.role), text_value(access.privilege)}, Snapshot::kFresh);
    });
}

void revoke(const Counter& counter, const AccessArguments& access) {
    if (access.role == counter.owner)
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("role \"%s\" owns counter \"%s\"", access.role_name, counter.name),
                        errdetail("An owner's access cannot be revoked.")));
    if (strcmp(access.privilege, "read") == 0)
        as_user(counter.owner, [&] {
            run_utility(psprintf("REVOKE SELECT ON %s FROM %s", readable_relations(counter), quote_identifier(access.role_name)));
        });
    as_user(extension_owner(), [&] {
        run(revoke_statement, {text_value(counter.name), oid_value(access.role), text_value(access.privilege)}, Snapshot::kFresh);
    });
}

/// Both functions: the caller must own the counter or administer it.
void change_access(FunctionCallInfo fcinfo, void (*change)(const Counter&, const AccessArguments&)) {
    const AccessArguments access = read_access_arguments(fcinfo);
    with_spi([&] {
        const Counter counter = find_counter(access.counter, Snapshot::kFresh);
        require_access(counter, {"admin"}, Snapshot::kFresh);
        hold_counter(counter);
        // A flush may wait for the lock on partitions behind us.
        const auto refuse = [&](int waited_ms) {
            ereport(ERROR, (errcode(ERRCODE_LOCK_NOT_AVAILABLE),
                            errmsg("could not lock the tables of counter \"%s\" in %d ms", counter.name, waited_ms),
                            errhint("Look in pg_locks for who keeps one of them, or makes partitions, and try again.")));
        };
        const auto locked = [&] {
            lock_counter(counter.hour_table, LockPurpose::kPartitions, ExclusiveLock);
            change(counter, access);
        };
        with_bounded_wait(locked, refuse);
    });
}

}  // namespace

TOPK_SQL_FUNCTION(topk_grant_access) {
    change_access(fcinfo, grant);
    PG_RETURN_VOID();
}

TOPK_SQL_FUNCTION(topk_revoke_access) {
    change_access(fcinfo, revoke);
    PG_RETURN_VOID();
}

TOPK_SQL_FUNCTION(topk_require_admin) {
    const char* name = text_argument(fcinfo, 0, "counter");
    with_spi([&] { require_access(find_counter(name, Snapshot::kCaller), {"admin"}, Snapshot::kCaller); });
    PG_RETURN_VOID();
}

}  // namespace topk
