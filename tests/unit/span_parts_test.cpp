// What a span is read from, against a model that moves every row through the roll-ups by itself: whatever the calendar, the range and the
// frontiers, each row of each wanted hour is read exactly once. The seed is fixed; SPAN_CASES=… sets how many.
#include "../../extension/src/span_parts.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace topk {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr std::size_t kCases = 10'000;
#else
constexpr std::size_t kCases = 100'000;
#endif

constexpr Instant kBeginning = INT64_MIN;
constexpr Instant kEnd = INT64_MAX;
const std::vector<std::string> kIds = {"a", "b", "c"};

std::size_t case_count() {
    const char* given = std::getenv("SPAN_CASES");
    return given == nullptr ? kCases : std::strtoull(given, nullptr, 10);
}

using Random = std::mt19937_64;

std::size_t below(Random& random, std::size_t bound) {
    return random() % bound;
}

/// A row is known by its hour and its id.
using Row = std::pair<Instant, std::string>;
using Rows = std::multiset<Row>;

/// A frontier of the model: rows of windows up to (window, id) are rolled up.
struct Position {
    Instant window = kBeginning;
    std::string id;

    bool includes(Instant other, const std::string& other_id) const { return std::pair(other, other_id) <= std::pair(window, id); }
    Frontier frontier() const { return {window, !id.empty()}; }
};

/// Hours in a row or with gaps, days of 1 to 4 of them, months of 1 to 3 days; by chance the first and last of a day are missing.
std::vector<StoredHour> make_hours(Random& random) {
    std::vector<StoredHour> hours;
    Instant at = static_cast<Instant>(below(random, 5)) * 10 - 20;
    for (std::size_t months = 1 + below(random, 3); months > 0; --months) {
        const Instant month = at;
        for (std::size_t days = 1 + below(random, 3); days > 0; --days) {
            const Instant day = at;
            const bool is_cut = below(random, 8) == 0;
            for (std::size_t left = 1 + below(random, 4); left > 0; --left) {
                const Instant length = below(random, 6) == 0 ? 5 : 10;
                if (!is_cut || below(random, 3) != 0) hours.push_back({at, at + length, day, month});
                at += length;
            }
            if (below(random, 8) == 0) at += 40;  // a day without any
        }
    }
    return hours;
}

struct Tables {
    std::map<Instant, Rows> hours, days, months;
    Rows all_time;
};

/// What one roll-up takes of a row that is in a window of the other; hours stay as they are, and so do days.
Tables make_tables(const std::vector<StoredHour>& hours, const Position& day, const Position& month, const Position& all_time,
                   Instant days_since) {
    Tables tables;
    for (const StoredHour& hour : hours) {
        for (const std::string& id : kIds) {
            const Row row(hour.start, id);
            tables.hours[hour.start].insert(row);
            if (!day.includes(hour.start, id)) continue;
            if (hour.day >= days_since) tables.days[hour.day].insert(row);
            if (month.includes(hour.day, id)) tables.months[hour.month].insert(row);
            if (all_time.includes(hour.day, id)) tables.all_time.insert(row);
        }
    }
    return tables;
}

/// Reads what it is told, from the tables.
struct Reader {
    const Tables& tables;
    std::string hours_beyond, days_beyond;
    Rows read, hour_rows, range_rows;
    std::vector<Instant> hour_windows, day_windows, month_windows;

    static void add(Rows& to, const std::map<Instant, Rows>& from, Instant window, const std::string& beyond) {
        const auto found = from.find(window);
        if (found == from.end()) return;
        for (const Row& row : found->second)
            if (row.second > beyond) to.insert(row);
    }
    void month(Instant window) {
        add(read, tables.months, window, "");
        month_windows.push_back(window);
    }
    void day(Instant window, bool rest) {
        add(read, tables.days, window, rest ? days_beyond : "");
        day_windows.push_back(window);
    }
    void hour(Instant window, bool rest) {
        add(read, tables.hours, window, rest ? hours_beyond : "");
        add(hour_rows, tables.hours, window, rest ? hours_beyond : "");
        hour_windows.push_back(window);
    }
    void range(const HourRange& range) {
        EXPECT_LT(range.since, range.until);
        for (const auto& [window, rows] : tables.hours)
            if (window >= range.since && window < range.until)
                add(range_rows, tables.hours, window, range.rest && window == range.since ? hours_beyond : "");
    }
};

Position random_position(Random& random, const std::vector<Instant>& windows) {
    if (windows.empty() || below(random, 5) == 0) return {};
    return {windows[below(random, windows.size())], below(random, 3) == 0 ? "" : kIds[below(random, kIds.size())]};
}

/// The frontiers of one moment: coarse ones are in days whose hours are all done.
struct Moment {
    Position day, month, all_time;
    Instant days_since = kBeginning;
};

Moment make_moment(Random& random, const std::vector<StoredHour>& hours) {
    Moment moment;
    std::vector<Instant> bounds, days;
    for (const StoredHour& hour : hours) bounds.insert(bounds.end(), {hour.start, hour.end});
    moment.day = random_position(random, bounds);
    for (const StoredHour& hour : hours) {
        if (hour.end > moment.day.window) break;  // its day may be unfinished
        days.push_back(hour.day);
    }
    while (!days.empty() && !hours.empty()) {
        const auto unfinished = [&](const StoredHour& hour) { return hour.day == days.back() && hour.end > moment.day.window; };
        if (std::none_of(hours.begin(), hours.end(), unfinished)) break;
        days.pop_back();
    }
    moment.month = random_position(random, days);
    moment.all_time = random_position(random, days);
    if (below(random, 3) == 0) moment.days_since = std::min(moment.month.window, moment.all_time.window);
    return moment;
}

std::vector<StoredHour> with_neighbours(const std::vector<StoredHour>& hours, Instant since, Instant until) {
    std::vector<StoredHour> found;
    for (std::size_t i = 0; i < hours.size(); ++i) {
        const bool is_before = hours[i].start < since && (i + 1 == hours.size() || hours[i + 1].start >= since);
        const bool is_after = hours[i].start >= until && (i == 0 || hours[i - 1].start < until);
        if (is_before || is_after || (hours[i].start >= since && hours[i].start < until)) found.push_back(hours[i]);
    }
    return found;
}

Rows rows_of(const std::vector<StoredHour>& hours, Instant since, Instant until) {
    Rows rows;
    for (const StoredHour& hour : hours)
        if (hour.start >= since && hour.start < until)
            for (const std::string& id : kIds) rows.emplace(hour.start, id);
    return rows;
}

void expect_order(const std::vector<Instant>& windows) {
    for (std::size_t i = 1; i < windows.size(); ++i) EXPECT_LT(windows[i - 1], windows[i]);
}

/// Every wanted row once; and no list of a day or month that nothing was added to yet.
void expect_exact(const Reader& reader, const Rows& wanted) {
    EXPECT_EQ(reader.read, wanted);
    for (const Instant window : reader.day_windows) EXPECT_TRUE(reader.tables.days.contains(window)) << "day " << window;
    for (const Instant window : reader.month_windows) EXPECT_TRUE(reader.tables.months.contains(window)) << "month " << window;
    EXPECT_EQ(reader.range_rows, reader.hour_rows);
    for (const auto* windows : {&reader.hour_windows, &reader.day_windows, &reader.month_windows}) expect_order(*windows);
}

/// An hour that is done is read as such only at the edges, or where the day's rows are gone.
void expect_few_hours(const Reader& reader, const std::vector<StoredHour>& hours, const Moment& moment, Instant since, Instant until) {
    for (const StoredHour& hour : hours) {
        if (!moment.day.frontier().is_done(hour.start) || hour.day < moment.days_since) continue;
        const auto is_edge = [&](const StoredHour& other) {
            return other.day == hour.day && (other.start < since || other.start >= until);
        };
        if (std::any_of(hours.begin(), hours.end(), is_edge)) continue;
        EXPECT_EQ(std::count(reader.hour_windows.begin(), reader.hour_windows.end(), hour.start), 0) << "hour " << hour.start;
    }
}

Reader reader_of(const Tables& tables, const Moment& moment, const Position& coarse) {
    return {tables, moment.day.id, coarse.id, {}, {}, {}, {}, {}, {}};
}

void check_range(Random& random, const std::vector<StoredHour>& hours, const Moment& moment, const Tables& tables) {
    std::vector<Instant> bounds = {-1000, 1000};
    for (const StoredHour& hour : hours) bounds.insert(bounds.end(), {hour.start, hour.end});
    Instant since = bounds[below(random, bounds.size())], until = bounds[below(random, bounds.size())];
    if (since > until) std::swap(since, until);
    if (since == until) return;
    Reader reader = reader_of(tables, moment, moment.month);
    const std::vector<StoredHour> given = with_neighbours(hours, since, until);
    SpanSplit<Reader>(given, since, until, reader).of_range(moment.day.frontier(), moment.month.frontier(), moment.days_since);
    expect_exact(reader, rows_of(hours, since, until));
    expect_few_hours(reader, given, moment, since, until);
}

/// Of the hours from `from` on, as they are asked for: those before it are all rolled up.
void check_beside(const std::vector<StoredHour>& hours, Instant until, const Moment& moment, const Tables& tables, const Position& coarse,
                  Rows rolled_up) {
    const Instant from = std::max(hours.front().start, std::min(moment.day.window, coarse.window));
    const Instant since = std::min(from, until);
    std::vector<StoredHour> given;
    for (const StoredHour& hour : hours)
        if (hour.start >= since) given.push_back(hour);
    Reader reader = reader_of(tables, moment, coarse);
    SpanSplit<Reader>(given, since, until, reader).beside(coarse.frontier(), moment.day.frontier());
    reader.read.merge(rolled_up);
    expect_exact(reader, rows_of(hours, kBeginning, kEnd));
}

void check_windows(const std::vector<StoredHour>& hours, const Moment& moment, const Tables& tables) {
    check_beside(hours, kEnd, moment, tables, moment.all_time, tables.all_time);
    std::map<Instant, std::vector<StoredHour>> days, months;
    for (const StoredHour& hour : hours) {
        days[hour.day].push_back(hour);
        months[hour.month].push_back(hour);
    }
    for (const auto& [window, of_month] : months) {
        const auto rows = tables.months.find(window);
        check_beside(of_month, of_month.back().end, moment, tables, moment.month, rows == tables.months.end() ? Rows() : rows->second);
    }
    for (const auto& [window, of_day] : days) {
        if (window < moment.days_since) continue;
        const Instant since = std::max(of_day.front().start, moment.day.window);
        std::vector<StoredHour> given;
        for (const StoredHour& hour : of_day)
            if (hour.start >= since) given.push_back(hour);
        Reader reader = reader_of(tables, moment, {});
        SpanSplit<Reader>(given, std::min(since, of_day.back().end), of_day.back().end, reader).beside_day(moment.day.frontier());
        const auto rows = tables.days.find(window);
        if (rows != tables.days.end()) reader.read.insert(rows->second.begin(), rows->second.end());
        expect_exact(reader, rows_of(of_day, kBeginning, kEnd));
    }
}

std::string text_of(const std::vector<StoredHour>& hours, const Moment& moment) {
    std::string text;
    for (const StoredHour& hour : hours)
        text += "\n" + std::to_string(hour.start) + "-" + std::to_string(hour.end) + " day " + std::to_string(hour.day) + " month " +
                std::to_string(hour.month);
    for (const Position& position : {moment.day, moment.month, moment.all_time})
        text += "\nfrontier " + std::to_string(position.window) + "'" + position.id + "'";
    return text + "\ndays since " + std::to_string(moment.days_since);
}

TEST(SpanParts, ReadEveryRowOnce) {
    Random random(20261126);
    for (std::size_t i = 0; i < case_count(); ++i) {
        const std::vector<StoredHour> hours = make_hours(random);
        if (hours.empty()) continue;
        const Moment moment = make_moment(random, hours);
        const Tables tables = make_tables(hours, moment.day, moment.month, moment.all_time, moment.days_since);
        check_range(random, hours, moment, tables);
        check_windows(hours, moment, tables);
        ASSERT_FALSE(HasFailure()) << "case " << i << text_of(hours, moment);
    }
}

/// Three days of a month inside, a part of the next: the month's list, and hours.
TEST(SpanParts, MonthsAndHoursOfALongRange) {
    std::vector<StoredHour> hours;
    for (Instant day = 0; day < 6; ++day)
        for (Instant hour = 0; hour < 24; ++hour) hours.push_back({day * 24 + hour, day * 24 + hour + 1, day * 24, day < 3 ? 0 : 72});
    const Tables tables;
    Reader reader{tables, "", "", {}, {}, {}, {}, {}, {}};
    SpanSplit<Reader>(hours, 0, 5 * 24 + 2, reader).of_range({5 * 24, false}, {72, false}, 0);
    EXPECT_EQ(reader.month_windows, std::vector<Instant>{0});
    EXPECT_EQ(reader.day_windows, (std::vector<Instant>{72, 96}));
    EXPECT_EQ(reader.hour_windows, (std::vector<Instant>{120, 121}));
}

TEST(SpanParts, NothingStored) {
    const Tables tables;
    std::vector<HourRange> ranges;
    struct Sink {
        std::vector<HourRange>& ranges;
        void month(Instant) { FAIL(); }
        void day(Instant, bool) { FAIL(); }
        void hour(Instant, bool) { FAIL(); }
        void range(const HourRange& range) { ranges.push_back(range); }
    } sink{ranges};
    SpanSplit<Sink>({}, 10, 20, sink).of_range({kBeginning, false}, {kBeginning, false}, kBeginning);
    ASSERT_EQ(ranges.size(), 1U);
    EXPECT_EQ(ranges[0].since, 10);
    EXPECT_EQ(ranges[0].until, 20);
    EXPECT_FALSE(ranges[0].rest);
}

}  // namespace
}  // namespace topk
