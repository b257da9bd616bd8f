// topk.window_state: what goes with a list, for whoever passes lists on: the bounds of the window it is of, whether that is sealed, its
// revision, and how far event time has come. Called beside topk() in one statement it is of the same snapshot.
#include "arguments.h"
#include "counter.h"
#include "cover.h"
#include "hours.h"

namespace topk {

namespace {

// $2: the span whose revisions count, NULL for all time, which is never sealed; $3 and $4: the labels of its windows. Corrections are few:
// windows without one have no row.
Statement state_statement = {
    "SELECT c.created_at, (SELECT min(p.watermark) FROM topk.kafka_progress_data p WHERE p.counter = c.name),"
    " (SELECT coalesce(sum(r.revision), 0)::bigint FROM topk.window_revision_data r"
    "  WHERE r.counter = c.name AND (r.span = $2 OR ($5 AND r.span IN ('day', 'month'))) AND r.window_start >= $3 AND r.window_start < $4)"
    " FROM topk.counter_data c WHERE c.name = $1"};

struct RevisedWindow {
    Window window;
    const char* span;  ///< of its revisions
    TimestampTz labels_end;
    bool is_trailing;  ///< days and months that begin in it count, too, as for prepared sums (prepared_sums.h)
};

RevisedWindow window_of_span(const Counter& counter, const char* span, std::int64_t trailing, TimestampTz at) {
    const auto is = [span](const char* name) { return strcmp(span, name) == 0; };
    if (trailing > 0) {
        const Window window = trailing_hours(counter, trailing, at, Snapshot::kCaller);
        return {window, "hour", window.end, true};
    }
    if (is("all_time")) return {{DT_NOBEGIN, DT_NOBEGIN, DT_NOEND}, nullptr, DT_NOEND, false};
    const Span kind = is("hour") ? Span::kHour : is("day") ? Span::kDay : Span::kMonth;
    const Window window = window_at(counter, kind, at, Snapshot::kCaller);
    return {window, span, window.label + 1, false};
}

void put_state(const ReturnSetInfo* result, const Counter& counter, const RevisedWindow& of) {
    // The watermark may be unknown; min of no partition is NULL.
    Datum values[6] = {TimestampTzGetDatum(of.window.start),
                       TimestampTzGetDatum(of.window.end),
                       BoolGetDatum(of.window.end <= counter.sealed_through),
                       cell(0, 3).value,
                       cell(0, 2).value,
                       cell(0, 1).value};
    bool nulls[6] = {false, false, false, false, cell(0, 2).is_null, false};
    tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

}  // namespace

TOPK_SQL_FUNCTION(topk_window_state) {
    const char* span = text_argument(fcinfo, 0, "span");
    const TimestampTz at = PG_ARGISNULL(1) ? GetCurrentTransactionStartTimestamp() : instant_argument(fcinfo, 1, "at");
    const char* name = text_argument(fcinfo, 2, "counter");
    const std::int64_t trailing = check_span(span);
    InitMaterializedSRF(fcinfo, 0);
    const auto* result = reinterpret_cast<ReturnSetInfo*>(fcinfo->resultinfo);
    with_spi([&] {
        const Counter counter = find_counter(name, Snapshot::kCaller);
        require_access(counter, {"read", "admin"}, Snapshot::kCaller);
        const RevisedWindow of = window_of_span(counter, span, trailing, at);
        as_user(extension_owner(), [&] {
            run(state_statement,
                {text_value(counter.name), text_value(of.span), time_value(of.window.label), time_value(of.labels_end),
                 Argument{BOOLOID, BoolGetDatum(of.is_trailing)}},
                Snapshot::kCaller);
        });
        put_state(result, counter, of);
    });
    return 0;
}

}  // namespace topk
