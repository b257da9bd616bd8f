// Spans and their covers.
#include "cover.h"

#include "hour_list.h"
#include "hours.h"

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

// With the hour before and the hour after, which tell whether a day or month goes on there.
Statement with_neighbours_statement = {
    "SELECT hour_start, hour_end, day_start, month_start FROM topk.hour_map WHERE counter = $1"
    " AND hour_start >= coalesce((SELECT max(hour_start) FROM topk.hour_map WHERE counter = $1 AND hour_start < $2), $2)"
    " AND hour_start <= coalesce((SELECT min(hour_start) FROM topk.hour_map WHERE counter = $1 AND hour_start >= $3), $3)"
    " ORDER BY hour_start"};

Statement hours_statement = {
    "SELECT hour_start, hour_end, day_start, month_start FROM topk.hour_map"
    " WHERE counter = $1 AND hour_start >= $2 AND hour_start < $3 ORDER BY hour_start"};

/// The stored hours from since to before until. palloc'ed.
std::span<StoredHour> stored_hours(const Counter& counter, Statement& statement, TimestampTz since, TimestampTz until) {
    const std::uint64_t count = run(statement, {text_value(counter.name), time_value(since), time_value(until)}, Snapshot::kCaller);
    auto* hours = static_cast<StoredHour*>(palloc_extended(std::max<std::size_t>(count, 1) * sizeof(StoredHour), MCXT_ALLOC_HUGE));
    for (std::uint64_t row = 0; row < count; ++row) {
        const auto at = [row](int column) { return DatumGetTimestampTz(cell(row, column).value); };
        hours[row] = {at(1), at(2), at(3), at(4)};
    }
    SPI_freetuptable(SPI_tuptable);
    return {hours, count};
}

Frontier frontier_of(const Marker& marker) {
    return {marker.window, marker.video_id[0] != '\0'};
}

/// Collects what a SpanSplit finds.
class CoverBuilder {
  public:
    /// coarse: the span whose marker tells what of the day roll-up counts. hours: how many there are at most.
    CoverBuilder(const Markers& markers, Rollup coarse, std::size_t hours)
        : windows_(allocate<Part>(2 * hours + 2)), hours_(allocate<Part>(hours)), ranges_(allocate<HourRange>(hours + 2)) {
        cover_.hours_beyond = markers.of[kDayRollup].video_id;
        cover_.days_beyond = coarse == kDayRollup ? nullptr : markers.of[coarse].video_id;
    }

    void rollup(Rollup rollup, TimestampTz window) { windows_[window_count_++] = {PartOf::kRollup, rollup, window, nullptr}; }
    void late(Rollup rollup, TimestampTz window) { windows_[window_count_++] = {PartOf::kLate, rollup, window, nullptr}; }

    // For the split
    void month(TimestampTz window) { rollup(kMonthRollup, window); }
    void day(TimestampTz window, bool rest) {
        windows_[window_count_++] = {PartOf::kRollup, kDayRollup, window, rest ? cover_.days_beyond : nullptr};
    }
    void hour(TimestampTz window, bool rest) {
        hours_[hour_count_++] = {PartOf::kHours, kDayRollup, window, rest ? cover_.hours_beyond : nullptr};
    }
    void range(const HourRange& range) { ranges_[range_count_++] = range; }

    /// What was found so far is what the prepared sums are of.
    void set_prepared(const PreparedSums* prepared) {
        cover_.prepared = prepared;
        cover_.prepared_windows = window_count_;
        cover_.prepared_hours = hour_count_;
    }

    Cover cover() {
        cover_.windows = {windows_, window_count_};
        cover_.hours = {hours_, hour_count_};
        cover_.ranges = {ranges_, range_count_};
        return cover_;
    }

  private:
    template <typename T>
    static T* allocate(std::size_t count) {
        return static_cast<T*>(palloc_extended(std::max<std::size_t>(count, 1) * sizeof(T), MCXT_ALLOC_HUGE));
    }

    Cover cover_ = {};
    Part* windows_;
    Part* hours_;
    HourRange* ranges_;
    std::size_t window_count_ = 0;
    std::size_t hour_count_ = 0;
    std::size_t range_count_ = 0;
};

/// As cover_of_hours, of whole hours whose sealed part may be prepared.
Cover cover_of_prepared(const Counter& counter, TimestampTz since, TimestampTz until) {
    auto* prepared = static_cast<PreparedSums*>(palloc(sizeof(PreparedSums)));
    if (find_prepared_sums(counter, since, until, prepared)) {
        const Cover cover = cover_of_hours(counter, since, until, prepared);
        // A day that is cut in two needs its hours.
        if (cover.hours.empty() || cover.hours.front().window >= counter.hours_expired_through) return cover;
    }
    return cover_of_hours(counter, since, until, nullptr);
}

Cover cover_of_hour(const Counter& counter, const Window& window) {
    const std::span<StoredHour> hours = stored_hours(counter, hours_statement, window.start, window.end);
    const Markers none = {{{DT_NOBEGIN, ""}, {DT_NOBEGIN, ""}, {DT_NOBEGIN, ""}}};
    const Frontier nothing = frontier_of(none.of[kDayRollup]);
    CoverBuilder builder(none, kMonthRollup, hours.size());
    SpanSplit<CoverBuilder>(hours, window.start, window.end, builder).of_range(nothing, nothing, DT_NOBEGIN);
    Cover cover = builder.cover();
    cover.is_hour = true;
    return cover;
}

/// A day, a month, or all time: roll-up and late additions, and what has not come to the roll-up yet.
Cover cover_of_window(const Counter& counter, Rollup rollup, const Window& window) {
    const Markers markers = read_markers(counter, Snapshot::kCaller);
    const Frontier day = frontier_of(markers.of[kDayRollup]);
    const Frontier coarse = frontier_of(markers.of[rollup]);
    // What is before both is in the roll-up. A day starts no later than its hours.
    const TimestampTz since = std::clamp(std::min(day.window, coarse.window), window.start, window.end);
    const std::span<StoredHour> hours = stored_hours(counter, hours_statement, since, window.end);
    CoverBuilder builder(markers, rollup, hours.size());
    builder.rollup(rollup, window.label);
    builder.late(rollup, window.label);
    SpanSplit<CoverBuilder> split(hours, since, window.end, builder);
    if (rollup == kDayRollup)
        split.beside_day(day);
    else
        split.beside(coarse, day);
    return builder.cover();
}

[[noreturn]] void refuse_expired_day(const Counter& counter, TimestampTz day) {
    ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                    errmsg("day %s of counter \"%s\" has expired", timestamptz_to_str(day), counter.name),
                    errdetail("Its views are in its month and in all time only."),
                    errhint("Days are kept as long as the counter's day_retention says.")));
    pg_unreachable();
}

/// Of hours that have not expired in this snapshot.
[[noreturn]] void refuse_dropped_hour(const Counter& counter, TimestampTz hour) {
    ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                    errmsg("the partition of hour %s of counter \"%s\" is gone", timestamptz_to_str(hour), counter.name),
                    errdetail("It was dropped after the snapshot of this query was taken, or by hand."),
                    errhint("Ask again in a new transaction. Hours are kept as long as the counter's hour_retention says.")));
    pg_unreachable();
}

/// True if an hour of the cover is within no partition's bounds, as far as the caches know.
bool lacks_partition(const Counter& counter, const Cover& cover, TimestampTz* lacking, bool* has_default) {
    std::size_t hour = 0;
    for (const HourRange& range : cover.ranges) {
        std::span<Partition> partitions;
        *has_default = !partitions_within(counter, range.since, range.until, &partitions);
        std::size_t at = 0;
        for (; hour < cover.hours.size() && cover.hours[hour].window < range.until; ++hour) {
            *lacking = cover.hours[hour].window;
            while (at < partitions.size() && partitions[at].end <= *lacking) ++at;
            if (at == partitions.size() || partitions[at].start > *lacking) return true;
        }
    }
    return false;
}

/// Requires: the hour table is locked, so that its partitions stay.
void require_partitions(const Counter& counter, const Cover& cover) {
    TimestampTz lacking;
    bool has_default;
    if (!lacks_partition(counter, cover, &lacking, &has_default)) return;
    forget_partitions(counter);
    if (lacks_partition(counter, cover, &lacking, &has_default) && !has_default) refuse_dropped_hour(counter, lacking);
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
        return cover_of_prepared(counter, window.start, window.end);
    }
    if (is("all_time")) return cover_of_window(counter, kAllTimeRollup, {DT_NOBEGIN, DT_NOBEGIN, DT_NOEND});
    if (is("hour")) return cover_of_hour(counter, window_at(counter, Span::kHour, at, Snapshot::kCaller));
    const bool is_day = is("day");
    const Window window = window_at(counter, is_day ? Span::kDay : Span::kMonth, at, Snapshot::kCaller);
    return cover_of_window(counter, is_day ? kDayRollup : kMonthRollup, window);
}

Cover cover_of_hours(const Counter& counter, TimestampTz since, TimestampTz until, const PreparedSums* prepared) {
    const Markers markers = read_markers(counter, Snapshot::kCaller);
    const Frontier day = frontier_of(markers.of[kDayRollup]);
    const Frontier month = frontier_of(markers.of[kMonthRollup]);
    const std::span<StoredHour> hours = stored_hours(counter, with_neighbours_statement, since, until);
    CoverBuilder builder(markers, kMonthRollup, hours.size());
    const auto add = [&](TimestampTz start, TimestampTz end) {
        SpanSplit<CoverBuilder>(hours, start, end, builder).of_range(day, month, counter.days_expired_through);
    };
    TimestampTz start = since;
    if (prepared != nullptr) {
        add(since, prepared->until);
        builder.set_prepared(prepared);
        start = prepared->until;
    }
    if (start < until) add(start, until);
    return builder.cover();
}

Cover cover_between(const Counter& counter, TimestampTz since, TimestampTz until) {
    if (since >= until) ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("argument \"since\" must be before \"until\"")));
    require_hour_start(counter, since, "since");
    require_hour_start(counter, until, "until");
    return cover_of_prepared(counter, since, until);
}

void require_readable(const Counter& counter, const Cover& cover) {
    const auto require = [&](Oid table) {
        table_name(counter, table);
        require_readable(table);
    };
    require(counter.hour_table);
    Oid last = InvalidOid;
    for (const Part& part : cover.windows) {
        const Oid table = part.table == PartOf::kLate ? counter.late_table : counter.rollups[part.rollup];
        if (table != last) require(table);
        last = table;
    }
}

void refuse_expired_hour(const Counter& counter, TimestampTz hour) {
    ereport(ERROR,
            (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
             errmsg("hour %s of counter \"%s\" has expired", timestamptz_to_str(hour), counter.name),
             errdetail("Its views are in its day, its month and all time only."),
             errhint("Hours are kept as long as the counter's hour_retention says. Of earlier times ask for whole days or months.")));
    pg_unreachable();
}

void require_stored(const Counter& counter, const Cover& cover) {
    if (!cover.hours.empty() && cover.hours.front().window < counter.hours_expired_through)
        refuse_expired_hour(counter, cover.hours.front().window);
    for (const Part& part : cover.windows)
        if (part.table == PartOf::kRollup && part.rollup == kDayRollup && part.window < counter.days_expired_through)
            refuse_expired_day(counter, part.window);
    require_partitions(counter, cover);
}

}  // namespace topk
