// topk.prepare_step and topk.set_prepared_spans: the sums of the sealed part of a counter's long trailing spans, prepared for the running
// hour and the next, so that topk('24 hours') merges them with the open hours only. All is read in the caller's snapshot, whose corrections
// are stored with the sums (prepared_sums.h); what is prepared twice at once is the same.
#include "add_up.h"
#include "arguments.h"
#include "counter_lock.h"
#include "hours.h"
#include "merge_lists.h"
#include "prepared_sums.h"

namespace topk {

namespace {

// A merge of these with one or two open hours reads 1000 to 1300 of them for the greatest k.
constexpr std::int32_t kDepth = 2048;
constexpr int kMaxSpans = 8;

Statement spans_statement = {"SELECT s FROM topk.counter_data, unnest(prepared_spans) s WHERE name = $1"};

Statement set_spans_statement = {"UPDATE topk.counter_data SET prepared_spans = $2 WHERE name = $1"};

Statement store_statement = {
    "INSERT INTO topk.prepared_sum_data AS p (counter, since, until, corrections, complete, video_ids, views)"
    " VALUES ($1, $2, $3, $4, $5, $6, $7)"
    " ON CONFLICT (counter, since, until) DO UPDATE SET corrections = excluded.corrections, complete = excluded.complete,"
    "  video_ids = excluded.video_ids, views = excluded.views, prepared_at = excluded.prepared_at"};

Statement forget_statement = {
    "DELETE FROM topk.prepared_sum_data p WHERE counter = $1"
    " AND NOT EXISTS (SELECT FROM unnest($2, $3) w (since, until) WHERE p.since = w.since AND p.until = w.until)"};

struct Range {
    TimestampTz since;
    TimestampTz until;
};

/// The ranges to be prepared, each once.
struct Ranges {
    std::array<Range, 2 * kMaxSpans> items;
    int count = 0;

    void add(const Range& range) {
        for (int i = 0; i < count; ++i)
            if (items[static_cast<std::size_t>(i)].since == range.since && items[static_cast<std::size_t>(i)].until == range.until) return;
        items[static_cast<std::size_t>(count++)] = range;
    }
    std::span<const Range> all() const { return {items.data(), static_cast<std::size_t>(count)}; }
};

/// Hours of a span worth preparing: of one hour there is nothing to add up.
std::int64_t hours_of(const char* span) {
    const std::int64_t hours = check_span(span);
    if (hours < 2)
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("span \"%s\" cannot be prepared", span),
                        errhint("Give intervals of two hours or more, such as '24 hours' or '7 days'.")));
    return hours;
}

/// The lengths of the counter's prepared spans, in hours.
std::span<std::int64_t> prepared_lengths(const Counter& counter) {
    std::uint64_t count = 0;
    as_user(extension_owner(), [&] { count = run(spans_statement, {text_value(counter.name)}, Snapshot::kCaller); });
    count = std::min<std::uint64_t>(count, kMaxSpans);
    auto* lengths = static_cast<std::int64_t*>(palloc(kMaxSpans * sizeof(std::int64_t)));
    for (std::uint64_t row = 0; row < count; ++row) lengths[row] = hours_of(text_cell(row, 1));
    return {lengths, count};
}

/// The sealed part of each span, for the running hour and the one after it.
Ranges wanted_ranges(const Counter& counter) {
    Ranges ranges;
    if (TIMESTAMP_NOT_FINITE(counter.sealed_through)) return ranges;
    const Window running = window_at(counter, Span::kHour, GetCurrentTransactionStartTimestamp(), Snapshot::kCaller);
    const TimestampTz sealed = window_at(counter, Span::kHour, counter.sealed_through, Snapshot::kCaller).start;
    for (const std::int64_t length : prepared_lengths(counter)) {
        for (const TimestampTz at : {running.start, running.end}) {
            const Window span = trailing_hours(counter, length, at, Snapshot::kCaller);
            const TimestampTz until = std::min(span.end, sealed);
            if (span.start < until) ranges.add({span.start, until});
        }
    }
    return ranges;
}

std::span<Ranked> found_rows() {
    auto* rows = static_cast<Ranked*>(palloc(std::max<std::size_t>(SPI_tuptable->numvals, 1) * sizeof(Ranked)));
    for (std::uint64_t row = 0; row < SPI_tuptable->numvals; ++row) rows[row] = {text_cell(row, 1), DatumGetInt64(cell(row, 2).value)};
    return {rows, SPI_tuptable->numvals};
}

/// The greatest sums. Requires: the owner's rights, no policies.
std::span<Ranked> greatest_sums(const Counter& counter, const Cover& cover) {
    require_readable(counter, cover);
    require_stored(counter, cover);
    MergeReport report;
    const std::span<Ranked> merged = merge_lists(counter, cover, kDepth, &report);
    if (report.given_up == nullptr) return merged;
    add_up(counter, cover, kDepth);
    return found_rows();
}

Argument ids_of(std::span<const Ranked> list) {
    auto* ids = static_cast<Datum*>(palloc(std::max<std::size_t>(list.size(), 1) * sizeof(Datum)));
    std::transform(list.begin(), list.end(), ids, [](const Ranked& row) { return CStringGetTextDatum(row.video_id); });
    return {TEXTARRAYOID, PointerGetDatum(construct_array(ids, static_cast<int>(list.size()), TEXTOID, -1, false, TYPALIGN_INT))};
}

Argument views_of(std::span<const Ranked> list) {
    auto* views = static_cast<Datum*>(palloc(std::max<std::size_t>(list.size(), 1) * sizeof(Datum)));
    std::transform(list.begin(), list.end(), views, [](const Ranked& row) { return Int64GetDatum(row.views); });
    return {INT8ARRAYOID, PointerGetDatum(construct_array(views, static_cast<int>(list.size()), INT8OID, sizeof(std::int64_t),
                                                          FLOAT8PASSBYVAL, TYPALIGN_DOUBLE))};
}

/// False if hours of the range, or days, have expired: topk() refuses the span, too.
bool prepare(const Counter& counter, const Range& range) {
    if (range.since < counter.days_expired_through) return false;
    const Cover cover = cover_of_hours(counter, range.since, range.until, nullptr);
    if (!cover.hours.empty() && cover.hours.front().window < counter.hours_expired_through) return false;
    hold_counter(counter);  // before the tables, as topk.drop_counter locks them
    std::span<Ranked> list;
    as_user(counter.owner, [&] { list = greatest_sums(counter, cover); });
    // By now the tables are locked: policies that were forced since the first look would have hidden rows.
    if (has_policies(counter, counter.owner)) return false;
    const std::int64_t corrections = corrections_within(counter, range.since, range.until);
    const bool is_complete = list.size() < static_cast<std::size_t>(kDepth);
    as_user(extension_owner(), [&] {
        run(store_statement,
            {text_value(counter.name),
             time_value(range.since),
             time_value(range.until),
             int8_value(corrections),
             {BOOLOID, BoolGetDatum(is_complete)},
             ids_of(list),
             views_of(list)},
            Snapshot::kFresh);
    });
    return true;
}

Argument bounds_of(const Ranges& ranges, TimestampTz Range::*bound) {
    Datum bounds[2 * kMaxSpans];
    int count = 0;
    for (const Range& range : ranges.all()) bounds[count++] = TimestampTzGetDatum(range.*bound);
    return {TIMESTAMPTZARRAYOID,
            PointerGetDatum(construct_array(bounds, count, TIMESTAMPTZOID, sizeof(TimestampTz), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE))};
}

/// Prepares one of the ranges that are missing, if there is one, drops what no span needs any more, and returns how many it prepared.
std::int32_t prepare_next(const Counter& counter) {
    // Where policies are forced on the owner no list is merged. Another session may be at it.
    if (has_policies(counter, counter.owner)) return 0;
    if (!try_lock_counter(counter.hour_table, LockPurpose::kPreparedSums, ExclusiveLock)) return 0;
    const Ranges ranges = wanted_ranges(counter);
    bool prepared = false;
    // In turns: one that cannot be prepared is an error, and must not keep the others from it.
    const std::span<const Range> all = ranges.all();
    const std::size_t first = all.empty() ? 0 : pg_prng_uint64_range(&pg_global_prng_state, 0, all.size() - 1);
    for (std::size_t i = 0; i < all.size() && !prepared; ++i) {
        const Range& range = all[(first + i) % all.size()];
        prepared = !has_prepared_sums(counter, range.since, range.until) && prepare(counter, range);
    }
    as_user(extension_owner(), [&] {
        run(forget_statement, {text_value(counter.name), bounds_of(ranges, &Range::since), bounds_of(ranges, &Range::until)},
            Snapshot::kFresh);
    });
    return prepared ? 1 : 0;
}

/// Raises 22023 unless it is an array of spans that can be prepared.
void check_spans(Datum spans) {
    Datum* values;
    bool* nulls;
    int count;
    deconstruct_array(DatumGetArrayTypeP(spans), TEXTOID, -1, false, TYPALIGN_INT, &values, &nulls, &count);
    if (count > kMaxSpans)
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                        errmsg("argument \"spans\" must have %d elements at most, not %d", kMaxSpans, count)));
    for (int i = 0; i < count; ++i) {
        if (nulls[i]) ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("argument \"spans\" must not contain nulls")));
        hours_of(TextDatumGetCString(values[i]));
    }
}

}  // namespace

TOPK_SQL_FUNCTION(topk_prepare_step) {
    require_read_committed("topk.prepare_step");
    const char* name = text_argument(fcinfo, 0, "counter");
    std::int32_t prepared = 0;
    with_spi([&] {
        const Counter counter = find_counter(name, Snapshot::kCaller);
        require_access(counter, {"admin"}, Snapshot::kFresh);
        prepared = prepare_next(counter);
    });
    PG_RETURN_INT32(prepared);
}

TOPK_SQL_FUNCTION(topk_set_prepared_spans) {
    const char* name = text_argument(fcinfo, 0, "counter");
    require_argument(fcinfo, 1, "spans");
    const Datum spans = PG_GETARG_DATUM(1);
    check_spans(spans);
    with_spi([&] {
        const Counter counter = find_counter(name, Snapshot::kFresh);
        require_access(counter, {"admin"}, Snapshot::kFresh);
        const auto set = [&] { run(set_spans_statement, {text_value(counter.name), {TEXTARRAYOID, spans}}, Snapshot::kFresh); };
        with_bounded_row_wait(counter.name, [&] { as_user(extension_owner(), set); });
    });
    PG_RETURN_VOID();
}

}  // namespace topk
