// prepare_counter and register_counter, the two ends of topk.create_counter, and topk.drop_counter.
// The tables are made by the caller in between, in SQL; register_counter believes nothing about them.
#include "arguments.h"
#include "counter.h"
#include "counter_lock.h"
#include "counter_tables.h"
#include "partition.h"
#include "registry_rows.h"

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
    "INSERT INTO topk.counter_data (name, hour_table, late_table, day_rollup, month_rollup, all_time_rollup, created_by, time_zone,"
    "  lateness, max_clock_skew, max_age, idle_timeout)"
    " SELECT $1, t[1], t[2], t[3], t[4], t[5], $3::regrole, $4, $5, $6, $7, $8 FROM CAST($2 AS regclass[]) t"
    " ON CONFLICT (name) DO NOTHING"};

Statement markers_statement = {
    "INSERT INTO topk.roll_up_marker (counter, span) SELECT $1, unnest('{day,month,all_time}'::text[])"
    " ON CONFLICT (counter, span) DO UPDATE SET window_start = DEFAULT, video_id = DEFAULT"};

Statement forget_markers_statement = {"DELETE FROM topk.roll_up_marker WHERE counter = $1"};

// Also by the table: the counter may have been dropped and made again, by somebody else, since it was looked up.
Statement lock_counter_statement = {"SELECT FROM topk.counter_data WHERE name = $1 AND hour_table = $2 FOR UPDATE"};

Statement lock_all_progress_statement = {"SELECT FROM topk.kafka_progress_data WHERE counter = $1 ORDER BY topic, partition FOR UPDATE"};

Statement forget_statements[] = {
    {"DELETE FROM topk.kafka_progress_data WHERE counter = $1"},  // every table with rows of counters but the registry
    {"DELETE FROM topk.progress_history_data WHERE counter = $1"},
    {"DELETE FROM topk.dead_letter_data WHERE counter = $1"},
    {"DELETE FROM topk.late_views_data WHERE counter = $1"},
    {"DELETE FROM topk.hour_book_data WHERE counter = $1"},
    {"DELETE FROM topk.correction_data WHERE counter = $1"},
    {"DELETE FROM topk.window_revision_data WHERE counter = $1"},
    {"DELETE FROM topk.hour_map WHERE counter = $1"},
    {"DELETE FROM topk.seal_hold_data WHERE counter = $1"},
    {"DELETE FROM topk.access_data WHERE counter = $1"},
};

// The same of later versions: ALTER EXTENSION topk UPDATE may not have made them yet.
constexpr const char* kLaterTables[] = {"prepared_sum_data", "leaderboard_data",  "leaderboard_window_data",
                                        "list_failure_data", "expired_late_data", "expired_dead_data"};

Statement forget_counter_statement = {"DELETE FROM topk.counter_data WHERE name = $1 AND hour_table = $2"};

// What came with 1.1 may not be there yet: ALTER EXTENSION topk UPDATE is run after the library was replaced.
Statement knows_jobs_statement = {"SELECT FROM pg_proc WHERE oid = to_regprocedure('topk.forget_jobs(text)')"};
Statement forget_jobs_statement = {"SELECT topk.forget_jobs($1)"};

Statement tables_statement = {
    "SELECT created_by::oid, hour_table::oid, late_table::oid, day_rollup::oid, month_rollup::oid, all_time_rollup::oid"
    " FROM topk.counter_data WHERE name = $1"};

bool has_markers() {
    return has_registry_table("roll_up_marker");
}

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

[[noreturn]] void refuse_unknown(const char* name) {
    ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("counter \"%s\" does not exist", name)));
    pg_unreachable();
}

/// The tables of a counter that the caller may drop. Some may be gone, dropped by hand: then the owner of the rest has
/// the right to drop it, and who owned them at first if there are none.
CounterTables droppable_tables(const char* name) {
    std::uint64_t found = 0;
    as_user(extension_owner(), [&] { found = run(tables_statement, {text_value(name)}, Snapshot::kFresh); });
    if (found == 0) refuse_unknown(name);
    const auto oid = [](int column) { return DatumGetObjectId(cell(0, column).value); };
    CounterTables tables = {oid(2), oid(3), {oid(4), oid(5), oid(6)}, InvalidOid};
    for (int column = 2; column <= 6 && !OidIsValid(tables.owner); ++column) tables.owner = relation_owner(oid(column));
    if (!OidIsValid(tables.owner)) tables.owner = oid(1);
    if (!has_privs_of_role(GetUserId(), tables.owner))
        ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE), errmsg("must be owner of counter \"%s\"", name)));
    return tables;
}

void forget_later_rows(const char* name) {
    for (const char* table : kLaterTables)
        if (has_registry_table(table))
            run_once(psprintf("DELETE FROM topk.%s WHERE counter = $1", table), {text_value(name)}, Snapshot::kFresh);
}

/// A new counter has nothing rolled up, no lists and nothing expired. A counter of that name that was before may have left such rows: a
/// session that still has the library of an older version loaded drops a counter without them.
void begin_anew(const char* name) {
    if (has_markers()) run(markers_statement, {text_value(name)}, Snapshot::kFresh);
    forget_later_rows(name);
}

/// Deletes the counter's rows of topk.*, after every claim, grant and flush in flight, none of which can follow.
void forget_counter(const char* name, Oid hour_table) {
    if (run(lock_counter_statement, {text_value(name), oid_value(hour_table)}, Snapshot::kFresh) == 0) refuse_unknown(name);
    lock_counter(hour_table, LockPurpose::kProgress, ExclusiveLock);
    run(lock_all_progress_statement, {text_value(name)}, Snapshot::kFresh);
    if (has_markers()) run(forget_markers_statement, {text_value(name)}, Snapshot::kFresh);
    lock_counter(hour_table, LockPurpose::kSeal, ExclusiveLock);
    for (Statement& statement : forget_statements) run(statement, {text_value(name)}, Snapshot::kFresh);
    forget_later_rows(name);
    run(forget_counter_statement, {text_value(name), oid_value(hour_table)}, Snapshot::kFresh);
}

/// Raises 55000 if a roll-up has rows: how far it had come is not in the tables, so hours could be counted twice.
void require_empty_rollups(const char* name, const CounterTables& tables) {
    for (const Oid rollup : tables.rollups) {
        const char* table = get_rel_name(rollup);
        const char* qualified = quote_qualified_identifier(get_namespace_name(get_rel_namespace(rollup)), table);
        std::uint64_t found = 0;
        as_user(tables.owner, [&] { found = run_once(psprintf("SELECT FROM %s LIMIT 1", qualified), {}, Snapshot::kFresh); });
        if (found > 0)
            ereport(ERROR,
                    (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE), errmsg("table \"%s\" has rows", table),
                     errdetail("It is not known which of the hours of counter \"%s\" are in it.", name),
                     errhint("Restore a dump that has the rows of schema topk, too; or, if all hours are there, TRUNCATE the roll-ups.")));
    }
}

/// Drops a relation that is there yet.
void drop_relation(const char* kind, Oid relation) {
    const char* name = get_rel_name(relation);
    const char* schema = get_namespace_name(get_rel_namespace(relation));
    if (name != nullptr && schema != nullptr) run_utility(psprintf("DROP %s IF EXISTS %s", kind, quote_qualified_identifier(schema, name)));
}

void drop_tables(const char* name, const CounterTables& tables) {
    const Oid schema = get_rel_namespace(tables.hour_table);
    for (const char* suffix : {"_day", "_month", "_all_time"}) {
        const Oid view = get_relname_relid(psprintf("%s%s", name, suffix), schema);
        if (get_rel_relkind(view) == RELKIND_VIEW) drop_relation("VIEW", view);
    }
    drop_relation("TABLE", tables.hour_table);
    drop_relation("TABLE", tables.late_table);
    for (const Oid rollup : tables.rollups) drop_relation("TABLE", rollup);
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
    const CounterTables tables = check_counter_tables(options.name, PG_GETARG_OID(1));
    with_spi([&] {
        require_empty_rollups(options.name, tables);
        const auto interval = [&](int index) { return Argument{INTERVALOID, options.intervals[index]}; };
        Datum oids[] = {ObjectIdGetDatum(tables.hour_table), ObjectIdGetDatum(tables.late_table),
                        ObjectIdGetDatum(tables.rollups[kDayRollup]), ObjectIdGetDatum(tables.rollups[kMonthRollup]),
                        ObjectIdGetDatum(tables.rollups[kAllTimeRollup])};
        const Argument all = {OIDARRAYOID, PointerGetDatum(construct_array(oids, static_cast<int>(std::size(oids)), OIDOID, sizeof(Oid),
                                                                           true, TYPALIGN_INT))};
        as_user(extension_owner(), [&] {
            if (run(register_statement,
                    {text_value(options.name), all, oid_value(tables.owner), text_value(options.time_zone), interval(0), interval(1),
                     interval(2), interval(3)},
                    Snapshot::kFresh) == 0)
                refuse_duplicate(options.name);
            begin_anew(options.name);
        });
        store_hours_of_partitions(find_counter(options.name, Snapshot::kFresh));
    });
    PG_RETURN_VOID();
}

TOPK_SQL_FUNCTION(topk_drop_counter) {
    const char* name = text_argument(fcinfo, 0, "name");
    with_spi([&] {
        const CounterTables tables = droppable_tables(name);
        as_user(extension_owner(), [&] { forget_counter(name, tables.hour_table); });
        as_user(tables.owner, [&] { drop_tables(name, tables); });
        if (run(knows_jobs_statement, {}, Snapshot::kFresh) > 0) run(forget_jobs_statement, {text_value(name)}, Snapshot::kFresh);
    });
    PG_RETURN_VOID();
}

// As the SQL of 1.1 calls them: the library of 1.0, which knows no roll-ups, has none of these names.
TOPK_SQL_FUNCTION(topk_register_counter_1_1) {
    return topk_register_counter(fcinfo);
}

TOPK_SQL_FUNCTION(topk_drop_counter_1_1) {
    return topk_drop_counter(fcinfo);
}

}  // namespace topk
