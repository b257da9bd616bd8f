// prepare_counter and register_counter, the two ends of topk.create_counter, and topk.drop_counter.
// The tables are made by the caller in between, in SQL; register_counter believes nothing about them but their owner.
#include "arguments.h"
#include "counter.h"
#include "counter_lock.h"

namespace topk {

namespace {

constexpr std::size_t kMaxNameBytes = 40;

struct Options {
    const char* name;
    const char* time_zone;  ///< as the time zone data spell it
    Datum intervals[4];     ///< lateness, max_clock_skew, max_age, idle_timeout
};

Statement exists_statement = {"SELECT FROM topk.counter_data WHERE name = $1"};

Statement register_statement = {
    "INSERT INTO topk.counter_data (name, hour_table, time_zone, lateness, max_clock_skew, max_age, idle_timeout)"
    " VALUES ($1, $2::regclass, $3, $4, $5, $6, $7) ON CONFLICT (name) DO NOTHING"};

Statement lock_counter_statement = {"SELECT FROM topk.counter_data WHERE name = $1 FOR UPDATE"};

Statement lock_all_progress_statement = {"SELECT FROM topk.kafka_progress_data WHERE counter = $1 ORDER BY topic, partition FOR UPDATE"};

Statement forget_statements[] = {
    {"DELETE FROM topk.kafka_progress_data WHERE counter = $1"},
    {"DELETE FROM topk.progress_history_data WHERE counter = $1"},
    {"DELETE FROM topk.dead_letter_data WHERE counter = $1"},
    {"DELETE FROM topk.late_views_data WHERE counter = $1"},
    {"DELETE FROM topk.hour_map WHERE counter = $1"},
    {"DELETE FROM topk.access_data WHERE counter = $1"},
    {"DELETE FROM topk.counter_data WHERE name = $1"},
};

Statement hour_table_statement = {"SELECT hour_table::oid FROM topk.counter_data WHERE name = $1"};

[[noreturn]] void refuse_duplicate(const char* name) {
    ereport(ERROR, (errcode(ERRCODE_DUPLICATE_OBJECT), errmsg("counter \"%s\" exists already", name),
                    errdetail("Names of counters are unique in the database, whatever their schema.")));
    pg_unreachable();
}

const char* time_zone_argument(FunctionCallInfo fcinfo, int index) {
    const char* name = text_argument(fcinfo, index, "time_zone");
    pg_tz* zone = strlen(name) > TZ_STRLEN_MAX ? nullptr : pg_tzset(name);
    if (zone == nullptr)
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("time zone \"%s\" is unknown", name),
                        errhint("pg_timezone_names lists them.")));
    if (!pg_tz_acceptable(zone))
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("time zone \"%s\" uses leap seconds", name),
                        errdetail("PostgreSQL does not support leap seconds.")));
    return pg_get_timezone_name(zone);
}

Datum interval_argument(FunctionCallInfo fcinfo, int index, const char* name, bool positive) {
    require_argument(fcinfo, index, name);
    Interval zero = {0, 0, 0};
    Interval most = {0, 0, 1000 * MONTHS_PER_YEAR};
    const Datum value = PG_GETARG_DATUM(index);
    const PGFunction below = positive ? interval_le : interval_lt;
    if (DatumGetBool(DirectFunctionCall2(below, value, IntervalPGetDatum(&zero))) ||
        DatumGetBool(DirectFunctionCall2(interval_gt, value, IntervalPGetDatum(&most))))
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                        errmsg("argument \"%s\" must be %s and at most 1000 years", name, positive ? "positive" : "not negative")));
    return value;
}

/// Reads (name, …, time_zone, lateness, max_clock_skew, max_age, idle_timeout); zone_index is that of time_zone.
Options read_options(FunctionCallInfo fcinfo, int zone_index) {
    Options options;
    options.name = text_argument(fcinfo, 0, "name");
    const std::size_t length = strlen(options.name);
    if (length < 1 || length > kMaxNameBytes)
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                        errmsg("counter name \"%s\" is not 1 to %zu bytes long", options.name, kMaxNameBytes)));
    options.time_zone = time_zone_argument(fcinfo, zone_index);
    options.intervals[0] = interval_argument(fcinfo, zone_index + 1, "lateness", false);
    options.intervals[1] = interval_argument(fcinfo, zone_index + 2, "max_clock_skew", false);
    options.intervals[2] = interval_argument(fcinfo, zone_index + 3, "max_age", true);
    options.intervals[3] = interval_argument(fcinfo, zone_index + 4, "idle_timeout", false);
    return options;
}

Oid name_key(const char* name) {
    return hash_bytes(reinterpret_cast<const unsigned char*>(name), static_cast<int>(strlen(name)));
}

void require_own_hours(Oid hour_table) {
    const char* name = get_rel_name(hour_table);
    if (name == nullptr) ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE), errmsg("table with oid %u does not exist", hour_table)));
    if (get_rel_relkind(hour_table) != RELKIND_PARTITIONED_TABLE)
        ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE), errmsg("\"%s\" is not a partitioned table", name),
                        errhint("Make counters with topk.create_counter.")));
    if (!has_privs_of_role(GetUserId(), relation_owner(hour_table)))
        ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE), errmsg("must be owner of table \"%s\"", name)));
}

[[noreturn]] void refuse_unknown(const char* name) {
    ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("counter \"%s\" does not exist", name)));
    pg_unreachable();
}

/// The hour table of a counter that the caller may drop; the table itself may be gone, dropped by hand.
Oid droppable_hours(const char* name) {
    std::uint64_t found = 0;
    const Oid registrar = extension_owner();
    as_user(registrar, [&] { found = run(hour_table_statement, {text_value(name)}, Snapshot::kFresh); });
    if (found == 0) refuse_unknown(name);
    const Oid hour_table = DatumGetObjectId(cell(0, 1).value);
    const Oid owner = relation_owner(hour_table);
    if (!has_privs_of_role(GetUserId(), OidIsValid(owner) ? owner : registrar))
        ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE), errmsg("must be owner of counter \"%s\"", name),
                        OidIsValid(owner) ? 0 : errdetail("Its hour table is gone; only the owner of the extension may remove the rest.")));
    return hour_table;
}

/// Deletes the counter's rows of topk.*, after every claim, grant and flush in flight, none of which can follow.
void forget_counter(const char* name, Oid hour_table) {
    if (run(lock_counter_statement, {text_value(name)}, Snapshot::kFresh) == 0) refuse_unknown(name);
    lock_counter(hour_table, LockPurpose::kProgress, ExclusiveLock);
    run(lock_all_progress_statement, {text_value(name)}, Snapshot::kFresh);
    lock_counter(hour_table, LockPurpose::kSeal, ExclusiveLock);
    for (Statement& statement : forget_statements) run(statement, {text_value(name)}, Snapshot::kFresh);
}

void drop_tables(const char* name, Oid hour_table) {
    const char* schema = get_namespace_name(get_rel_namespace(hour_table));
    const auto table = [&](const char* suffix) { return quote_qualified_identifier(schema, psprintf("%s%s", name, suffix)); };
    run_utility(psprintf("DROP VIEW IF EXISTS %s, %s, %s", table("_day"), table("_month"), table("_all_time")));
    run_utility(psprintf("DROP TABLE IF EXISTS %s, %s, %s, %s, %s", quote_qualified_identifier(schema, get_rel_name(hour_table)),
                         table("_late"), table("_day_rollup"), table("_month_rollup"), table("_all_time_rollup")));
}

}  // namespace

TOPK_SQL_FUNCTION(topk_prepare_counter) {
    const Options options = read_options(fcinfo, 1);
    require_utf8_database();
    lock_counter(name_key(options.name), LockPurpose::kName, ExclusiveLock);
    with_spi([&] {
        std::uint64_t found = 0;
        as_user(extension_owner(), [&] { found = run(exists_statement, {text_value(options.name)}, Snapshot::kFresh); });
        if (found > 0) refuse_duplicate(options.name);
    });
    PG_RETURN_VOID();
}

TOPK_SQL_FUNCTION(topk_register_counter) {
    const Options options = read_options(fcinfo, 2);
    require_utf8_database();
    require_argument(fcinfo, 1, "hour_table");
    const Oid hour_table = PG_GETARG_OID(1);
    require_own_hours(hour_table);
    with_spi([&] {
        const auto interval = [&](int index) { return Argument{INTERVALOID, options.intervals[index]}; };
        as_user(extension_owner(), [&] {
            if (run(register_statement,
                    {text_value(options.name), oid_value(hour_table), text_value(options.time_zone), interval(0), interval(1), interval(2),
                     interval(3)},
                    Snapshot::kFresh) == 0)
                refuse_duplicate(options.name);
        });
    });
    PG_RETURN_VOID();
}

TOPK_SQL_FUNCTION(topk_drop_counter) {
    const char* name = text_argument(fcinfo, 0, "name");
    with_spi([&] {
        const Oid hour_table = droppable_hours(name);
        as_user(extension_owner(), [&] { forget_counter(name, hour_table); });
        const Oid owner = relation_owner(hour_table);
        if (OidIsValid(owner)) as_user(owner, [&] { drop_tables(name, hour_table); });
    });
    PG_RETURN_VOID();
}

}  // namespace topk
