// Spans and their covers; a cover added up by SQL.
#include "cover.h"

namespace topk {

namespace {

constexpr std::int64_t kMaxTrailingHours = 10000;

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

void require_hour_start(const Counter& counter, TimestampTz instant, const char* argument) {
    if (window_at(counter, Span::kHour, instant, Snapshot::kCaller).start == instant) return;
    ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                    errmsg("argument \"%s\" is not the start of an hour of counter \"%s\"", argument, counter.name),
                    errdetail("It is %s; the counter's time zone is %s.", timestamptz_to_str(instant), counter.time_zone),
                    errhint("Take the hours from topk.hours.")));
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

/// An hour needs no sums: an index scan that stops after k ($2), if there is an index.
const char* hour_query(const char* hours) {
    return psprintf("SELECT video_id, views FROM %s WHERE window_start = $1 ORDER BY views DESC, video_id LIMIT $2", hours);
}

/// The k ($2) greatest sums. The bounds prune partitions.
const char* sums_query(const Counter& counter, const Cover& cover, const char* hours) {
    const char* bounds = TIMESTAMP_NOT_FINITE(cover.start) ? "" : " WHERE window_start >= $1 AND window_start < $3";
    const char* rolled_up = "";
    if (cover.rollup != kNoRollup)
        rolled_up = psprintf(
            " UNION ALL SELECT video_id, views FROM %s WHERE window_start = $4"
            " UNION ALL SELECT video_id, views FROM %s WHERE span = '%s' AND window_start = $4",
            table_name(counter, counter.rollups[cover.rollup]), table_name(counter, counter.late_table), span_name(cover.rollup));
    return psprintf(
        "SELECT video_id, sum(views)::int8 FROM (SELECT video_id, views FROM %s%s%s) part GROUP BY video_id ORDER BY 2 DESC, 1 LIMIT $2",
        hours, bounds, rolled_up);
}

}  // namespace

const char* span_name(int rollup) {
    constexpr const char* kNames[kRollups] = {"day", "month", "all_time"};
    return kNames[rollup];
}

std::int64_t check_span(const char* span) {
    const auto is = [span](const char* name) { return strcmp(span, name) == 0; };
    return is("hour") || is("day") || is("month") || is("all_time") ? 0 : parse_trailing_hours(span);
}

Cover cover_of_span(const Counter& counter, const char* span, std::int64_t trailing, TimestampTz at) {
    const auto is = [span](const char* name) { return strcmp(span, name) == 0; };
    if (trailing > 0) {
        const Window window = trailing_hours(counter, trailing, at, Snapshot::kCaller);
        return {window.start, window.end, kNoRollup, window.start, false};
    }
    if (is("all_time")) return {DT_NOBEGIN, DT_NOEND, kAllTimeRollup, DT_NOBEGIN, false};
    const Window window = window_at(counter, is("hour") ? Span::kHour : is("day") ? Span::kDay : Span::kMonth, at, Snapshot::kCaller);
    return {window.start, window.end, is("hour") ? kNoRollup : is("day") ? kDayRollup : kMonthRollup, window.label, is("hour")};
}

Cover cover_between(const Counter& counter, TimestampTz since, TimestampTz until) {
    if (since >= until) ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("argument \"since\" must be before \"until\"")));
    require_hour_start(counter, since, "since");
    require_hour_start(counter, until, "until");
    return {since, until, kNoRollup, since, false};
}

void require_readable(Oid table) {
    const Oid schema = get_rel_namespace(table);
    const Oid user = GetUserId();
    if (!has_schema_usage(schema, user)) aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_SCHEMA, get_namespace_name(schema));
    if (pg_class_aclcheck(table, user, ACL_SELECT) != ACLCHECK_OK) aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_TABLE, get_rel_name(table));
}

void require_readable(const Counter& counter, const Cover& cover) {
    const auto require = [&](Oid table) {
        table_name(counter, table);
        require_readable(table);
    };
    require(counter.hour_table);
    if (cover.rollup == kNoRollup) return;
    require(counter.rollups[cover.rollup]);
    require(counter.late_table);
}

void add_up(const Counter& counter, const Cover& cover, std::int32_t k) {
    const char* hours = table_name(counter, counter.hour_table);
    const char* sql = cover.is_hour ? hour_query(hours) : sums_query(counter, cover, hours);
    as_user(reader_of(counter), [&] {
        run_once(sql, {time_value(cover.start), int4_value(k), time_value(cover.end), time_value(cover.label)}, Snapshot::kCaller);
    });
}

}  // namespace topk
