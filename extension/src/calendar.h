// The calendar of a time zone, in hours, from PostgreSQL's time zone data. Pure but for pg_next_dst_boundary.
// An hour starts wherever the local clock shows :00:00 with the offset in force there, and at every transition that
// moves the clock by other than whole hours; so it lasts an hour at most, and an hour repeated by a clock set back is
// two. Its local date is that at its start. A day starts at the first hour of its date; where a clock set back
// repeats the end of a date that was over, those hours belong to the day already begun, so days follow one another.
// A month starts with its first day.
#pragma once

#include "pg.h"

namespace topk {

/// Instants in whole seconds since 1970-01-01 UTC.
struct CalendarHour {
    pg_time_t start;
    pg_time_t end;
    pg_time_t day_start;
    pg_time_t month_start;
};

/// Walks the hours of a zone forward, without end. Some 15 ns an hour.
class HourWalk {
  public:
    /// The first next() returns the hour that contains since.
    /// Failure: 22008 if the zone's data do not reach there.
    HourWalk(const pg_tz* zone, pg_time_t since);

    CalendarHour next();

  private:
    void load_segment(pg_time_t at);
    pg_time_t advance();
    void enter_hour();

    const pg_tz* zone_;
    pg_time_t start_;        ///< of the hour at hand
    pg_time_t segment_end_;  ///< next transition; kNever if there is none
    std::int64_t offset_;    ///< seconds east of UTC until segment_end_
    std::int64_t date_;      ///< greatest local date so far, days since 1970-01-01
    std::int64_t month_;     ///< the month of date_: 12 * year + month
    pg_time_t day_start_;
    pg_time_t month_start_;
};

/// The local date of an instant.
struct LocalDate {
    int year;
    int month;
    int day;
};
LocalDate local_date(const pg_tz* zone, pg_time_t instant);

}  // namespace topk
