// The walk over a zone's hours.
#include "calendar.h"

namespace topk {

namespace {

constexpr pg_time_t kNever = INT64_MAX;
constexpr std::int64_t kHourSeconds = 3600;
constexpr std::int64_t kDaySeconds = 86400;

// Far enough back to pass the start of the month: 31 days, one more where a date was lived twice (Kwajalein, 1969),
// and a day of margin for the hour the walk begins in.
constexpr std::int64_t kRunUpSeconds = 34 * kDaySeconds;

std::int64_t modulo(std::int64_t value, std::int64_t divisor) {
    const std::int64_t rest = value % divisor;
    return rest < 0 ? rest + divisor : rest;
}

std::int64_t floor_divide(std::int64_t value, std::int64_t divisor) {
    return (value - modulo(value, divisor)) / divisor;
}

LocalDate civil(std::int64_t days) {
    LocalDate date;
    j2date(static_cast<int>(days) + UNIX_EPOCH_JDATE, &date.year, &date.month, &date.day);
    return date;
}

std::int64_t month_number(std::int64_t days) {
    const LocalDate date = civil(days);
    return date.year * std::int64_t{12} + date.month;
}

}  // namespace

HourWalk::HourWalk(const pg_tz* zone, pg_time_t since) : zone_(zone) {
    const pg_time_t from = since - kRunUpSeconds;
    load_segment(from);
    start_ = from - modulo(from + offset_, kHourSeconds);
    date_ = INT64_MIN;
    month_ = INT64_MIN;
    enter_hour();
    for (;;) {
        const HourWalk here = *this;
        start_ = advance();
        enter_hour();
        if (start_ > since) {
            *this = here;
            return;
        }
    }
}

void HourWalk::load_segment(pg_time_t at) {
    long before = 0, after = 0;
    int before_dst, after_dst;
    pg_time_t boundary;
    const int found = pg_next_dst_boundary(&at, &before, &before_dst, &boundary, &after, &after_dst, zone_);
    if (found < 0)
        ereport(ERROR, (errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
                        errmsg("timestamp out of range of time zone \"%s\"", pg_get_timezone_name(const_cast<pg_tz*>(zone_)))));
    offset_ = before;
    segment_end_ = found == 0 ? kNever : boundary;
}

/// The start of the next hour; leaves offset_ and segment_end_ as they are there.
pg_time_t HourWalk::advance() {
    const pg_time_t full_hour = start_ + kHourSeconds - modulo(start_ + offset_, kHourSeconds);
    while (segment_end_ <= full_hour) {
        const pg_time_t transition = segment_end_;
        const std::int64_t before = offset_;
        load_segment(transition);
        if (modulo(offset_ - before, kHourSeconds) != 0) return transition;
    }
    return full_hour;
}

void HourWalk::enter_hour() {
    const std::int64_t date = floor_divide(start_ + offset_, kDaySeconds);
    if (date <= date_) return;
    date_ = date;
    day_start_ = start_;
    const std::int64_t month = month_number(date);
    if (month == month_) return;
    month_ = month;
    month_start_ = start_;
}

CalendarHour HourWalk::next() {
    CalendarHour hour = {start_, 0, day_start_, month_start_};
    start_ = advance();
    hour.end = start_;
    enter_hour();
    return hour;
}

LocalDate local_date(const pg_tz* zone, pg_time_t instant) {
    long offset = 0, after = 0;
    int before_dst, after_dst;
    pg_time_t boundary;
    if (pg_next_dst_boundary(&instant, &offset, &before_dst, &boundary, &after, &after_dst, zone) < 0) offset = 0;
    return civil(floor_divide(instant + offset, kDaySeconds));
}

}  // namespace topk
