// topk(span, k, at, counter), topk.between and topk.explain: the k greatest of a window, views descending, then video id bytewise.
// Read-only, in the caller's snapshot. The caller needs SELECT on every table; the reading is then done with their owner's
// rights, so that nothing the owner attached to them (a rule, an index expression) runs with the caller's; but where row-level security
// applies to the caller, with the caller's, so that the list is of the rows the policies show. The hour is read from its partition's topk
// index without SQL; all else is a cover (cover.h), whose lists are merged (merge_lists.h), or added up by SQL (add_up.h) if that is no
// gain. A sealed window has a final list (final_list.h), once it was refreshed. Rows that have expired are never left out: 55000.
#include "add_up.h"
#include "arguments.h"
#include "final_list.h"
#include "merge_lists.h"

namespace topk {

namespace {

constexpr std::int32_t kMaxK = 1000;

struct TopkArguments {
    const char* span;
    std::int64_t trailing;  // hours, if the span is an interval
    std::int32_t k;
    TimestampTz at;
    const char* counter;
};

std::int32_t k_argument(FunctionCallInfo fcinfo, int index) {
    require_argument(fcinfo, index, "k");
    const std::int32_t k = PG_GETARG_INT32(index);
    if (k < 1 || k > kMaxK) ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("k must be from 1 to %d, not %d", kMaxK, k)));
    return k;
}

TopkArguments read_topk_arguments(FunctionCallInfo fcinfo) {
    TopkArguments arguments;
    arguments.span = text_argument(fcinfo, 0, "span");
    arguments.k = k_argument(fcinfo, 1);
    arguments.at = PG_ARGISNULL(2) ? GetCurrentTransactionStartTimestamp() : instant_argument(fcinfo, 2, "at");
    arguments.counter = text_argument(fcinfo, 3, "counter");
    arguments.trailing = 0;
    return arguments;
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

/// Answers from the hour's final list, or its topk index, if there is one, and every row is the caller's to see.
bool answer_from_index(const TopkArguments& arguments, const ReturnSetInfo* result) {
    const Counter counter = find_counter(arguments.counter, Snapshot::kCaller);
    require_readable(counter.hour_table);
    TimestampTz start;
    std::span<Ranked> list;
    if (has_policies(counter.hour_table, GetUserId()) || !stored_hour_at(counter, arguments.at, &start)) return false;
    FinalList final_list;
    if (read_final_hour(counter, start, arguments.k, &final_list)) {
        put_list(result, final_list.rows);
        return true;
    }
    if (start < counter.hours_expired_through) refuse_expired_hour(counter, start);
    if (!read_hour_list(counter, start, arguments.k, &list)) return false;
    put_list(result, list);
    return true;
}

/// Answers by the merge, else by adding up. Requires: SPI connected.
void answer(const Counter& counter, const Cover& cover, std::int32_t k, const ReturnSetInfo* result) {
    require_readable(counter, cover);
    require_stored(counter, cover);
    MergeReport report = {};
    std::span<Ranked> list;
    if (cover.is_hour)
        report.given_up = "an hour is read from its index, or by SQL";
    else
        list = merge_lists(counter, cover, k, &report);
    if (report.given_up == nullptr) {
        put_list(result, list);
        return;
    }
    add_up(counter, cover, k);
    put_ranked(result);
}

/// What was not read of a list, in a word.
const char* end_of(const ListHead& head) {
    switch (head.state) {
        case ListState::kExhausted:
            return "exhausted";
        case ListState::kCut:
            return "threshold";
        default:
            return "stopped";
    }
}

Datum name_of(const ListSource::List& list) {
    if (TIMESTAMP_NOT_FINITE(list.window)) return CStringGetTextDatum(list.name);
    return CStringGetTextDatum(psprintf("%s %s%s", list.name, timestamptz_to_str(list.window), list.is_rest ? " (rest)" : ""));
}

/// A row for the final list, and one for all.
void put_final_report(const FinalList& list, const ReturnSetInfo* result) {
    const Datum read = Int64GetDatum(static_cast<std::int64_t>(list.rows.size()));
    const Datum last = Int64GetDatum(list.rows.empty() ? 0 : list.rows.back().views);
    const char* name = psprintf("final list %s", timestamptz_to_str(list.start));
    const bool is_whole = list.rows.size() == static_cast<std::size_t>(list.length);
    const std::pair<const char*, const char*> lines[] = {{name, is_whole ? "exhausted" : "stopped"}, {"all", "final list"}};
    for (const auto& [what, ended] : lines) {
        Datum values[6] = {CStringGetTextDatum(what), Int64GetDatum(list.length), read, Int64GetDatum(0), last, CStringGetTextDatum(ended)};
        bool nulls[6] = {};
        tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
    }
}

/// A row for each list, then one for all: the sums, τ, and how it ended.
void put_report(const MergeReport& report, const ReturnSetInfo* result) {
    ListHead all = {};
    Views greatest = 0;
    double rows = 0;
    for (std::size_t i = 0; i < report.lists.size(); ++i) {
        const bool was_read = i < report.heads.size();
        const ListHead head = was_read ? report.heads[i] : ListHead{};
        Datum values[6] = {name_of(report.lists[i]),
                           Int64GetDatum(static_cast<std::int64_t>(report.lists[i].rows)),
                           Int64GetDatum(static_cast<std::int64_t>(head.rows_read)),
                           Int64GetDatum(static_cast<std::int64_t>(head.lookups)),
                           Int64GetDatum(head.value),
                           CStringGetTextDatum(was_read ? end_of(head) : "not read")};
        bool nulls[6] = {false, false, false, false, !was_read, false};
        tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
        all.rows_read += head.rows_read;
        all.lookups += head.lookups;
        greatest += head.value;
        rows += report.lists[i].rows;
    }
    const bool merged = report.given_up == nullptr;
    Datum values[6] = {CStringGetTextDatum("all"),
                       Int64GetDatum(static_cast<std::int64_t>(rows)),
                       Int64GetDatum(static_cast<std::int64_t>(all.rows_read)),
                       Int64GetDatum(static_cast<std::int64_t>(all.lookups)),
                       Int64GetDatum(static_cast<std::int64_t>(std::min<Views>(greatest, PG_INT64_MAX))),
                       CStringGetTextDatum(merged ? "merge" : psprintf("aggregate: %s", report.given_up))};
    bool nulls[6] = {false, false, false, false, report.heads.empty(), false};
    tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

}  // namespace

TOPK_SQL_FUNCTION(topk_topk) {
    TopkArguments arguments = read_topk_arguments(fcinfo);
    InitMaterializedSRF(fcinfo, 0);
    const auto* result = reinterpret_cast<ReturnSetInfo*>(fcinfo->resultinfo);
    if (strcmp(arguments.span, "hour") == 0 && answer_from_index(arguments, result)) return 0;
    arguments.trailing = check_span(arguments.span);
    with_spi([&] {
        const Counter counter = find_counter(arguments.counter, Snapshot::kCaller);
        FinalList list;
        if (arguments.trailing == 0 && read_final_list(counter, arguments.span, arguments.at, arguments.k, &list)) {
            put_list(result, list.rows);
            return;
        }
        answer(counter, cover_of_span(counter, arguments.span, arguments.trailing, arguments.at), arguments.k, result);
    });
    return 0;
}

TOPK_SQL_FUNCTION(topk_between) {
    const TimestampTz since = instant_argument(fcinfo, 0, "since");
    const TimestampTz until = instant_argument(fcinfo, 1, "until");
    const std::int32_t k = k_argument(fcinfo, 2);
    const char* name = text_argument(fcinfo, 3, "counter");
    InitMaterializedSRF(fcinfo, 0);
    const auto* result = reinterpret_cast<ReturnSetInfo*>(fcinfo->resultinfo);
    with_spi([&] {
        const Counter counter = find_counter(name, Snapshot::kCaller);
        answer(counter, cover_between(counter, since, until), k, result);
    });
    return 0;
}

TOPK_SQL_FUNCTION(topk_explain) {
    TopkArguments arguments = read_topk_arguments(fcinfo);
    arguments.trailing = check_span(arguments.span);
    InitMaterializedSRF(fcinfo, 0);
    const auto* result = reinterpret_cast<ReturnSetInfo*>(fcinfo->resultinfo);
    with_spi([&] {
        const Counter counter = find_counter(arguments.counter, Snapshot::kCaller);
        FinalList list;
        if (arguments.trailing == 0 && read_final_list(counter, arguments.span, arguments.at, arguments.k, &list)) {
            put_final_report(list, result);
            return;
        }
        const Cover cover = cover_of_span(counter, arguments.span, arguments.trailing, arguments.at);
        require_readable(counter, cover);
        require_stored(counter, cover);
        MergeReport report;
        merge_lists(counter, cover, arguments.k, &report);
        put_report(report, result);
    });
    return 0;
}

// As the SQL of 1.1 calls them: the library of 1.0, which knows no roll-ups, has none of these names.
TOPK_SQL_FUNCTION(topk_topk_1_1) {
    return topk_topk(fcinfo);
}

TOPK_SQL_FUNCTION(topk_between_1_1) {
    return topk_between(fcinfo);
}

TOPK_SQL_FUNCTION(topk_explain_1_1) {
    return topk_explain(fcinfo);
}

}  // namespace topk
