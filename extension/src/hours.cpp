// Stored and computed hours merged, windows, topk.hours and topk.window_end.
#include "hours.h"

#include "arguments.h"
#include "calendar.h"

namespace topk {

namespace {

// Some 114 years, in some 40 MB.
constexpr std::int64_t kMaxHours = 1000000;

Statement stored_statement = {
    "SELECT hour_start, hour_end, day_start, month_start FROM topk.hour_map"
    " WHERE counter = $1 AND hour_start > $2 AND hour_start < $3 AND hour_end > $4 ORDER BY hour_start"};

// A day's hours begin with it or later, and it lasts less than two of ours.
Statement month_statement = {
    "SELECT min(month_start) FROM topk.hour_map"
    " WHERE counter = $1 AND hour_start >= $2 AND hour_start < $2 + interval '72 hours' AND day_start = $2"};

TimestampTz instant_from(pg_time_t seconds) {
    const TimestampTz instant = (seconds - kUnixEpochOffsetSeconds) * USECS_PER_SEC;
    if (!IS_VALID_TIMESTAMP(instant)) ereport(ERROR, (errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE), errmsg("timestamp out of range")));
    return instant;
}

/// A list that grows by palloc; trivially destructible, freed with its memory context.
class HourList {
  public:
    explicit HourList(std::size_t capacity) : capacity_(capacity), items_(static_cast<Hour*>(palloc(capacity * sizeof(Hour)))) {}

    void add(const Hour& hour) {
        if (size_ == capacity_) {
            capacity_ *= 2;
            items_ = static_cast<Hour*>(repalloc_huge(items_, capacity_ * sizeof(Hour)));
        }
        items_[size_++] = hour;
    }
    Hours hours() const { return {items_, size_}; }
    /// True if an hour that begins at or after start would still be in order.
    bool ends_by(TimestampTz start) const { return size_ == 0 || items_[size_ - 1].end <= start; }

  private:
    std::size_t size_ = 0;
    std::size_t capacity_;
    Hour* items_;
};

/// The stored hours that overlap [since, until), or a calendar hour that does.
Hours load_stored(const Counter& counter, TimestampTz since, TimestampTz until, Snapshot snapshot) {
    // An hour lasts an hour at most: the bound on hour_start serves the primary key.
    const TimestampTz first_end = std::max<TimestampTz>(since - USECS_PER_HOUR, MIN_TIMESTAMP + USECS_PER_HOUR);
    const TimestampTz last_start = std::min<TimestampTz>(until + USECS_PER_HOUR, END_TIMESTAMP - 1);
    const std::uint64_t found =
        run(stored_statement,
            {text_value(counter.name), time_value(first_end - USECS_PER_HOUR), time_value(last_start), time_value(first_end)}, snapshot);
    HourList list(std::max<std::size_t>(found, 8));
    for (std::uint64_t row = 0; row < found; ++row) {
        const auto at = [row](int column) { return DatumGetTimestampTz(cell(row, column).value); };
        list.add({at(1), at(2), at(3), at(4), true});
    }
    SPI_freetuptable(SPI_tuptable);
    return list.hours();
}

/// Emits, in order, what stored hours leave of a computed one and the stored hours that begin in it.
/// Advances *next past the stored hours that end by the computed one's end.
void merge_hour(const Hour& computed, Hours stored, std::size_t* next, HourList* merged) {
    TimestampTz covered = computed.start;
    std::size_t i = *next;
    for (; i < stored.size() && stored[i].start < computed.end; ++i) {
        if (stored[i].start > covered) merged->add({covered, stored[i].start, computed.day_start, computed.month_start, false});
        if (merged->ends_by(stored[i].start)) merged->add(stored[i]);
        covered = std::max(covered, stored[i].end);
        if (stored[i].end > computed.end) break;
    }
    if (covered < computed.end) merged->add({covered, computed.end, computed.day_start, computed.month_start, false});
    *next = i;
}

bool same_window(Span span, const Hour& left, const Hour& right) {
    switch (span) {
        case Span::kHour:
            return left.start == right.start;
        case Span::kDay:
            return left.day_start == right.day_start;
        case Span::kMonth:
            return left.month_start == right.month_start;
    }
    return false;
}

std::size_t index_at(Hours hours, TimestampTz at) {
    const auto after =
        std::upper_bound(hours.begin(), hours.end(), at, [](TimestampTz instant, const Hour& hour) { return instant < hour.start; });
    return static_cast<std::size_t>(after - hours.begin()) - 1;
}

void put_hour(const ReturnSetInfo* result, const Hour& hour) {
    Datum values[4] = {TimestampTzGetDatum(hour.start), TimestampTzGetDatum(hour.end), TimestampTzGetDatum(hour.day_start),
                       TimestampTzGetDatum(hour.month_start)};
    bool nulls[4] = {};
    tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

Span span_argument(FunctionCallInfo fcinfo, int index) {
    const char* name = text_argument(fcinfo, index, "span");
    if (strcmp(name, "hour") == 0) return Span::kHour;
    if (strcmp(name, "day") == 0) return Span::kDay;
    if (strcmp(name, "month") == 0) return Span::kMonth;
    ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("span \"%s\" is unknown", name), errhint("Use hour, day or month.")));
    pg_unreachable();
}

TimestampTz shifted(TimestampTz at, std::int64_t micros) {
    TimestampTz result;
    if (pg_add_s64_overflow(at, micros, &result) || !IS_VALID_TIMESTAMP(result))
        ereport(ERROR, (errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE), errmsg("timestamp out of range")));
    return result;
}

}  // namespace

pg_time_t seconds_from(TimestampTz instant) {
    return instant / USECS_PER_SEC - (instant % USECS_PER_SEC < 0) + kUnixEpochOffsetSeconds;
}

Hours load_hours(const Counter& counter, TimestampTz since, TimestampTz until, Snapshot snapshot) {
    const Hours stored = load_stored(counter, since, until, snapshot);
    HourList merged(64);
    if (since >= until) return merged.hours();
    HourWalk walk(counter.zone, seconds_from(since));
    std::size_t next = 0;
    for (;;) {
        CHECK_FOR_INTERRUPTS();
        const CalendarHour hour = walk.next();
        const Hour computed = {instant_from(hour.start), instant_from(hour.end), instant_from(hour.day_start),
                               instant_from(hour.month_start), false};
        if (computed.start >= until) break;
        merge_hour(computed, stored, &next, &merged);
    }
    // A calendar hour may begin before since with a piece that does not reach it.
    Hours hours = merged.hours();
    while (!hours.empty() && hours.front().end <= since) hours = hours.subspan(1);
    while (!hours.empty() && hours.back().start >= until) hours = hours.first(hours.size() - 1);
    return hours;
}

Window window_at(const Counter& counter, Span span, TimestampTz at, Snapshot snapshot) {
    // As far as a window can reach from any instant in it; a day of up to 47 hours has been lived (Kwajalein, 1969).
    const std::int64_t reach = span == Span::kHour ? 0 : (span == Span::kDay ? 2 : 33) * USECS_PER_DAY;
    const Hours hours = load_hours(counter, shifted(at, -reach), shifted(at, reach + 1), snapshot);
    std::size_t first = index_at(hours, at);
    std::size_t last = first;
    while (first > 0 && same_window(span, hours[first - 1], hours[first])) --first;
    while (last + 1 < hours.size() && same_window(span, hours[last + 1], hours[last])) ++last;
    const TimestampTz label = span == Span::kHour  ? hours[first].start
                              : span == Span::kDay ? hours[first].day_start
                                                   : hours[first].month_start;
    return {label, hours[first].start, hours[last].end};
}

Window trailing_hours(const Counter& counter, std::int64_t count, TimestampTz at, Snapshot snapshot) {
    const Hours hours = load_hours(counter, shifted(at, -count * USECS_PER_HOUR), shifted(at, 1), snapshot);
    const Hours wanted = hours.last(std::min(hours.size(), static_cast<std::size_t>(count)));
    return {wanted.front().start, wanted.front().start, wanted.back().end};
}

TimestampTz month_of_day(const Counter& counter, TimestampTz day_start, Snapshot snapshot) {
    run(month_statement, {text_value(counter.name), time_value(day_start)}, snapshot);
    const Cell month = cell(0, 1);
    if (!month.is_null) return DatumGetTimestampTz(month.value);
    return window_at(counter, Span::kMonth, day_start, snapshot).label;
}

TOPK_SQL_FUNCTION(topk_hours) {
    const char* name = text_argument(fcinfo, 0, "counter");
    const TimestampTz since = instant_argument(fcinfo, 1, "since");
    const TimestampTz until = instant_argument(fcinfo, 2, "until");
    if (until / USECS_PER_HOUR - since / USECS_PER_HOUR > kMaxHours)
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                        errmsg("arguments \"since\" and \"until\" must be at most %d hours apart", static_cast<int>(kMaxHours))));
    InitMaterializedSRF(fcinfo, 0);
    const auto* result = reinterpret_cast<ReturnSetInfo*>(fcinfo->resultinfo);
    with_spi([&] {
        const Counter counter = find_counter(name, Snapshot::kCaller);
        require_access(counter, {"read", "ingest", "admin"}, Snapshot::kCaller);
        for (const Hour& hour : load_hours(counter, since, until, Snapshot::kCaller)) put_hour(result, hour);
    });
    return 0;
}

TOPK_SQL_FUNCTION(topk_window_end) {
    const char* name = text_argument(fcinfo, 0, "counter");
    const Span span = span_argument(fcinfo, 1);
    const TimestampTz at = instant_argument(fcinfo, 2, "at");
    TimestampTz end = 0;
    with_spi([&] {
        const Counter counter = find_counter(name, Snapshot::kCaller);
        require_access(counter, {"read", "ingest", "admin"}, Snapshot::kCaller);
        end = window_at(counter, span, at, Snapshot::kCaller).end;
    });
    PG_RETURN_TIMESTAMPTZ(end);
}

}  // namespace topk
