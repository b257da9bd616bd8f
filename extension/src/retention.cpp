// topk.set_retention.
#include "arguments.h"
#include "counter.h"
#include "counter_lock.h"

namespace topk {

namespace {

Statement set_statement = {
    "UPDATE topk.counter_data SET hour_retention = coalesce($3, hour_retention), day_retention = coalesce($4, day_retention),"
    "  hour_list_retention = coalesce($5, hour_list_retention), late_retention = coalesce($6, late_retention)"
    " WHERE name = $1 AND hour_table = $2 RETURNING hour_retention <= day_retention, hour_retention::text, day_retention::text"};

struct Bound {
    const char* name;
    std::int32_t hours;  ///< at least
};

constexpr Bound kBounds[] = {{"hours", 24}, {"days", 24}, {"hour_lists", 1}, {"late", 1}};

/// A retention, or NULL: as before.
Argument retention_argument(FunctionCallInfo fcinfo, int index, const Bound& bound) {
    if (PG_ARGISNULL(index)) return {INTERVALOID, 0, true};
    Interval least = {bound.hours * USECS_PER_HOUR, 0, 0};
    Interval most = {0, 0, 1000 * MONTHS_PER_YEAR};
    const Datum value = PG_GETARG_DATUM(index);
    if (DatumGetBool(DirectFunctionCall2(interval_lt, value, IntervalPGetDatum(&least))) ||
        DatumGetBool(DirectFunctionCall2(interval_gt, value, IntervalPGetDatum(&most))))
        ereport(ERROR,
                (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("argument \"%s\" must be at least %d hour%s and at most 1000 years",
                                                                  bound.name, bound.hours, bound.hours == 1 ? "" : "s")));
    return {INTERVALOID, value};
}

}  // namespace

TOPK_SQL_FUNCTION(topk_set_retention) {
    const char* name = text_argument(fcinfo, 0, "counter");
    Argument retentions[std::size(kBounds)];
    for (std::size_t i = 0; i < std::size(kBounds); ++i) retentions[i] = retention_argument(fcinfo, static_cast<int>(i) + 1, kBounds[i]);
    with_spi([&] {
        const Counter counter = find_counter(name, Snapshot::kFresh);
        require_access(counter, {"admin"}, Snapshot::kFresh);
        std::uint64_t found = 0;
        const auto set = [&] {
            found =
                run(set_statement,
                    {text_value(counter.name), oid_value(counter.hour_table), retentions[0], retentions[1], retentions[2], retentions[3]},
                    Snapshot::kFresh);
        };
        with_bounded_row_wait(counter.name, [&] { as_user(extension_owner(), set); });
        if (found == 0) ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("counter \"%s\" was dropped", counter.name)));
        if (!DatumGetBool(cell(0, 1).value))
            ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                            errmsg("counter \"%s\" cannot keep its hours longer than its days", counter.name),
                            errdetail("Its hours would be kept %s, its days %s.", text_cell(0, 2), text_cell(0, 3)),
                            errhint("Set both, or keep the days at least as long.")));
    });
    PG_RETURN_VOID();
}

}  // namespace topk
