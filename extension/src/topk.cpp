// topk(span, k, at, counter): the k greatest of a window, views descending, then video id bytewise.
// Read-only, in the caller's snapshot. The caller needs SELECT on every table; the reading is then done with their owner's
// rights, so that nothing the owner attached to them (a rule, an index expression) runs with the caller's; but where row-level security
// applies to the caller, with the caller's, so that the list is of the rows the policies show. The hour is read from its partition's topk
// index without SQL; coarser windows add up roll-up, hours and late views.
#include "arguments.h"
#include "counter.h"
#include "hour_list.h"
#include "hours.h"

namespace topk {

namespace {

constexpr std::int32_t kMaxK = 1000;
constexpr std::int64_t kMaxTrailingHours = 10000;

struct TopkArguments {
    const char* span;
    std::int32_t k;
    TimestampTz at;
    const char* counter;
};

[[noreturn]] void refuse_span(const char* span) {
    ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("span \"%s\" is unknown", span),
                    errhint("Use hour, day, month, all_time, or whole hours such as '24 hours' or '7 days', up to %d hours.",
                            static_cast<int>(kMaxTrailingHours))));
    pg_unreachable();
}

/// The hours of an interval of whole hours. A day is 24 hours; months have no fixed number of them.
std::int64_t parse_trailing_hours(const char* span) {
    char buffer[256];
    char* fields[MAXDATEFIELDS];
    int types[MAXDATEFIELDS];
    int count, kind;
    pg_itm_in parts;
    if (strlen(span) >= MAXDATELEN || ParseDateTime(span, buffer, sizeof(buffer), fields, types, MAXDATEFIELDS, &count) != 0)
        refuse_span(span);
    if (DecodeInterval(fields, types, count, INTERVAL_FULL_RANGE, &kind, &parts) != 0 || kind != DTK_DELTA) refuse_span(span);
    if (parts.tm_year != 0 || parts.tm_mon != 0 || parts.tm_usec % USECS_PER_HOUR != 0) refuse_span(span);
    const std::int64_t hours = parts.tm_usec / USECS_PER_HOUR + parts.tm_mday * std::int64_t{HOURS_PER_DAY};
    if (hours < 1 || hours > kMaxTrailingHours) refuse_span(span);
    return hours;
}

TopkArguments read_topk_arguments(FunctionCallInfo fcinfo) {
    TopkArguments arguments;
    arguments.span = text_argument(fcinfo, 0, "span");
    require_argument(fcinfo, 1, "k");
    arguments.k = PG_GETARG_INT32(1);
    if (arguments.k < 1 || arguments.k > kMaxK)
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("k must be from 1 to %d, not %d", kMaxK, arguments.k)));
    arguments.at = PG_ARGISNULL(2) ? GetCurrentTransactionStartTimestamp() : instant_argument(fcinfo, 2, "at");
    arguments.counter = text_argument(fcinfo, 3, "counter");
    return arguments;
}

/// Raises 42501 unless the current user may read the table.
void require_readable(Oid table) {
    const Oid schema = get_rel_namespace(table);
    const Oid user = GetUserId();
    if (!has_schema_usage(schema, user)) aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_SCHEMA, get_namespace_name(schema));
    if (pg_class_aclcheck(table, user, ACL_SELECT) != ACLCHECK_OK) aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_TABLE, get_rel_name(table));
}

/// The name of a table that the current user may read.
const char* readable(const Counter& counter, Oid table) {
    const char* name = table_name(counter, table);
    require_readable(table);
    return name;
}

/// The role to read as: the owner, or the caller where policies apply to it. Where they apply only to the owner (FORCE), the caller
/// may see every row, but nothing of the owner's may run with the rights of such a caller.
Oid reader_of(const Counter& counter) {
    if (has_policies(counter, GetUserId())) return GetUserId();
    if (has_policies(counter, counter.owner))
        ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                        errmsg("row-level security is forced on the owner of counter \"%s\"", counter.name),
                        errdetail("Lists are read with the owner's rights; the policies would leave rows out."),
                        errhint("Use ALTER TABLE ... NO FORCE ROW LEVEL SECURITY, or ask as a role to which the policies apply.")));
    return counter.owner;
}

/// Runs a query on the counter's tables.
void read_list(const Counter& counter, const char* sql, std::initializer_list<Argument> arguments) {
    as_user(reader_of(counter), [&] { run_once(sql, arguments, Snapshot::kCaller); });
}

/// Top k of one hour by SQL: an index scan that stops after k, if there is an index.
void read_hour(const Counter& counter, TimestampTz start, std::int32_t k) {
    read_list(counter,
              psprintf("SELECT video_id, views FROM %s WHERE window_start = $1 ORDER BY views DESC, video_id LIMIT $2",
                       readable(counter, counter.hour_table)),
              {time_value(start), int4_value(k)});
}

/// The k ($2) greatest sums over the rows (video_id, views) of parts.
const char* greatest_sums(const char* parts) {
    return psprintf("SELECT video_id, sum(views)::int8 FROM (%s) part GROUP BY video_id ORDER BY 2 DESC, 1 LIMIT $2", parts);
}

/// Top k of the hours [start, end), without late views.
void read_trailing(const Counter& counter, const Window& window, std::int32_t k) {
    const char* parts =
        psprintf("SELECT video_id, views FROM %s WHERE window_start >= $1 AND window_start < $3", readable(counter, counter.hour_table));
    read_list(counter, greatest_sums(parts), {time_value(window.start), int4_value(k), time_value(window.end)});
}

/// Top k of a day or month: what the view of that name holds for the window, but with bounds that prune partitions.
void read_window(const Counter& counter, Rollup rollup, const Window& window, std::int32_t k) {
    const char* hours = readable(counter, counter.hour_table);
    const char* sums = readable(counter, counter.rollups[rollup]);
    const char* late = readable(counter, counter.late_table);
    const char* parts = psprintf(
        "SELECT video_id, views FROM %s WHERE window_start >= $1 AND window_start < $3"
        " UNION ALL SELECT video_id, views FROM %s WHERE window_start = $4"
        " UNION ALL SELECT video_id, views FROM %s WHERE span = '%s' AND window_start = $4",
        hours, sums, late, rollup == kDayRollup ? "day" : "month");
    read_list(counter, greatest_sums(parts), {time_value(window.start), int4_value(k), time_value(window.end), time_value(window.label)});
}

void read_all_time(const Counter& counter, std::int32_t k) {
    const char* hours = readable(counter, counter.hour_table);
    const char* sums = readable(counter, counter.rollups[kAllTimeRollup]);
    const char* late = readable(counter, counter.late_table);
    const char* parts = psprintf(
        "SELECT video_id, views FROM %s UNION ALL SELECT video_id, views FROM %s WHERE window_start = $1"
        " UNION ALL SELECT video_id, views FROM %s WHERE span = 'all_time' AND window_start = $1",
        hours, sums, late);
    read_list(counter, greatest_sums(parts), {time_value(DT_NOBEGIN), int4_value(k)});
}

void read_span(const TopkArguments& arguments) {
    const auto is = [&](const char* name) { return strcmp(arguments.span, name) == 0; };
    const bool named = is("hour") || is("day") || is("month") || is("all_time");
    const std::int64_t trailing = named ? 0 : parse_trailing_hours(arguments.span);
    const Counter counter = find_counter(arguments.counter, Snapshot::kCaller);
    if (is("hour"))
        read_hour(counter, window_at(counter, Span::kHour, arguments.at, Snapshot::kCaller).start, arguments.k);
    else if (is("all_time"))
        read_all_time(counter, arguments.k);
    else if (named)
        read_window(counter, is("day") ? kDayRollup : kMonthRollup,
                    window_at(counter, is("day") ? Span::kDay : Span::kMonth, arguments.at, Snapshot::kCaller), arguments.k);
    else
        read_trailing(counter, trailing_hours(counter, trailing, arguments.at, Snapshot::kCaller), arguments.k);
}

void put_ranked(const ReturnSetInfo* result) {
    for (std::uint64_t row = 0; row < SPI_tuptable->numvals; ++row) {
        Datum values[3] = {Int64GetDatum(static_cast<std::int64_t>(row) + 1), cell(row, 1).value, cell(row, 2).value};
        bool nulls[3] = {};
        tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
    }
}

void put_list(const ReturnSetInfo* result, std::span<const Ranked> list) {
    std::int64_t rank = 0;
    for (const Ranked& row : list) {
        Datum values[3] = {Int64GetDatum(++rank), CStringGetTextDatum(row.video_id), Int64GetDatum(row.views)};
        bool nulls[3] = {};
        tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
    }
}

/// Answers from the hour's topk index, if the question is for an hour, there is one, and every row is the caller's to see.
bool answer_from_index(const TopkArguments& arguments, const ReturnSetInfo* result) {
    if (strcmp(arguments.span, "hour") != 0) return false;
    const Counter counter = find_counter(arguments.counter, Snapshot::kCaller);
    require_readable(counter.hour_table);
    TimestampTz start;
    std::span<Ranked> list;
    if (has_policies(counter.hour_table, GetUserId()) || !stored_hour_at(counter, arguments.at, &start) ||
        !read_hour_list(counter, start, arguments.k, &list))
        return false;
    put_list(result, list);
    return true;
}

}  // namespace

TOPK_SQL_FUNCTION(topk_topk) {
    const TopkArguments arguments = read_topk_arguments(fcinfo);
    InitMaterializedSRF(fcinfo, 0);
    const auto* result = reinterpret_cast<ReturnSetInfo*>(fcinfo->resultinfo);
    if (answer_from_index(arguments, result)) return 0;
    with_spi([&] {
        read_span(arguments);
        put_ranked(result);
    });
    return 0;
}

}  // namespace topk
