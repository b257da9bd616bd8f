// Which windows a range of hours is read from, while hours are being rolled up to days, and days to months and all time. Pure C++.
//   The roll-up goes through the hours in order, and through an hour's videos in order of their ids; so of every hour its rows up to a
// frontier are in its day's roll-up. Likewise days, and the month's or all time's. A row counts where it is: in the roll-up up to the
// frontier, in its own window beyond it. Coarse windows are read only where all their hours are wanted.
//   What is found goes to a Sink:
//     void month(Instant), void day(Instant, bool rest), void hour(Instant, bool rest)     a window; rest: only its rows beyond the
//     frontier void range(const HourRange&)                                                         the same hours once more, as ranges
// Windows of each kind come in order. The ranges also hold what lies between and after hours, where none is stored.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace topk {

using Instant = std::int64_t;

/// An hour with a partition; day and month are the starts of the windows that take its rows.
struct StoredHour {
    Instant start;
    Instant end;
    Instant day;
    Instant month;
};

/// Windows before it are rolled up, those after it are not; of this one, rows up to some video id, if is_within.
struct Frontier {
    Instant window;
    bool is_within;

    bool is_done(Instant other) const { return other < window; }
    bool is_in_part(Instant other) const { return other == window && is_within; }
    /// Something of the windows from this one on has been rolled up.
    bool has_reached(Instant first) const { return is_done(first) || is_in_part(first); }
};

/// Hours of the hour table, from since to before until. rest: of the hour since, only rows beyond the frontier.
struct HourRange {
    Instant since;
    Instant until;
    bool rest;
};

/// Splits the hours of [since, until).
/// Requires: hours ascend and do not overlap, nor do their days and months, which start no later than they. They are all those stored in
/// the range; and for of_range also the one before and the one after, if there are.
template <typename Sink>
class SpanSplit {
  public:
    SpanSplit(std::span<const StoredHour> hours, Instant since, Instant until, Sink& sink)
        : hours_(hours), since_(since), until_(until), sink_(sink), from_(since) {}

    /// Sums of hours: month and day windows where they lie inside. Days before days_since may have lost their rows.
    void of_range(const Frontier& day, const Frontier& month, Instant days_since);
    /// What a day's roll-up lacks: all hours are of this day.
    void beside_day(const Frontier& day);
    /// What the roll-up of a month or of all time lacks: all hours are of this window, whose frontier is coarse.
    void beside(const Frontier& coarse, const Frontier& day);

  private:
    using Hours = std::span<const StoredHour>;

    bool is_inside(Hours run) const { return run.front().start >= since_ && run.back().start < until_; }
    template <typename Visit>
    void each_run(Hours hours, Instant StoredHour::*window, Visit&& visit);
    void rest_of_days(Hours hours, const Frontier& coarse, const Frontier& day);
    void rest_of_hours(Hours hours, const Frontier& day);
    void all_of_hours(Hours hours);
    void leave_out(const StoredHour& hour);
    void take_rest(const StoredHour& hour);
    void take_all(const StoredHour& hour);
    void end_range(Instant until);
    void finish();

    Hours hours_;
    Instant since_;
    Instant until_;
    Sink& sink_;
    Instant from_;  ///< where the range at hand begins
    bool has_hours_ = false;
    bool is_rest_ = false;
};

template <typename Sink>
void SpanSplit<Sink>::of_range(const Frontier& day, const Frontier& month, Instant days_since) {
    each_run(hours_, &StoredHour::month, [&](Hours of_month) {
        if (is_inside(of_month) && month.has_reached(of_month.front().day)) {
            sink_.month(of_month.front().month);
            rest_of_days(of_month, month, day);
            return;
        }
        each_run(of_month, &StoredHour::day, [&](Hours of_day) {
            if (is_inside(of_day) && day.has_reached(of_day.front().start) && of_day.front().day >= days_since) {
                sink_.day(of_day.front().day, false);
                rest_of_hours(of_day, day);
            } else {
                all_of_hours(of_day);
            }
        });
    });
    finish();
}

template <typename Sink>
void SpanSplit<Sink>::beside_day(const Frontier& day) {
    rest_of_hours(hours_, day);
    finish();
}

template <typename Sink>
void SpanSplit<Sink>::beside(const Frontier& coarse, const Frontier& day) {
    rest_of_days(hours_, coarse, day);
    finish();
}

/// Visits the hours of each window.
template <typename Sink>
template <typename Visit>
void SpanSplit<Sink>::each_run(Hours hours, Instant StoredHour::*window, Visit&& visit) {
    for (std::size_t i = 0, j; i < hours.size(); i = j) {
        for (j = i + 1; j < hours.size() && hours[j].*window == hours[i].*window;) ++j;
        visit(hours.subspan(i, j - i));
    }
}

template <typename Sink>
void SpanSplit<Sink>::rest_of_days(Hours hours, const Frontier& coarse, const Frontier& day) {
    each_run(hours, &StoredHour::day, [&](Hours of_day) {
        const Instant window = of_day.front().day;
        if (!coarse.is_done(window) && day.has_reached(of_day.front().start)) sink_.day(window, coarse.is_in_part(window));
        rest_of_hours(of_day, day);
    });
}

template <typename Sink>
void SpanSplit<Sink>::rest_of_hours(Hours hours, const Frontier& day) {
    for (const StoredHour& hour : hours) {
        if (day.is_done(hour.start))
            leave_out(hour);
        else if (day.is_in_part(hour.start))
            take_rest(hour);
        else
            take_all(hour);
    }
}

template <typename Sink>
void SpanSplit<Sink>::all_of_hours(Hours hours) {
    for (const StoredHour& hour : hours)
        if (hour.start >= since_ && hour.start < until_) take_all(hour);
}

template <typename Sink>
void SpanSplit<Sink>::leave_out(const StoredHour& hour) {
    if (has_hours_) end_range(hour.start);
    from_ = hour.end;
}

template <typename Sink>
void SpanSplit<Sink>::take_rest(const StoredHour& hour) {
    if (has_hours_) end_range(hour.start);
    from_ = hour.start;
    has_hours_ = is_rest_ = true;
    sink_.hour(hour.start, true);
}

template <typename Sink>
void SpanSplit<Sink>::take_all(const StoredHour& hour) {
    has_hours_ = true;
    sink_.hour(hour.start, false);
}

template <typename Sink>
void SpanSplit<Sink>::end_range(Instant until) {
    if (from_ < until) sink_.range({from_, until, is_rest_});
    has_hours_ = is_rest_ = false;
}

template <typename Sink>
void SpanSplit<Sink>::finish() {
    end_range(until_);
}

}  // namespace topk
