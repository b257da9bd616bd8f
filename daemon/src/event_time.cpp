// RFC 3339 by hand: std::chrono::parse is missing from libstdc++ 12, and strptime reads more than the grammar allows.
#include "event_time.h"

#include <cstddef>
#include <cstdint>

namespace topkd {
namespace {

using namespace std::chrono;

/// Reads from the front of a text; every step says whether the text went along.
class Scanner {
  public:
    explicit Scanner(std::string_view text) : rest_(text) {}

    /// Exactly `count` decimal digits.
    std::optional<int> digits(std::size_t count) {
        if (rest_.size() < count) return std::nullopt;
        int value = 0;
        for (std::size_t i = 0; i < count; ++i) {
            if (!is_digit(rest_[i])) return std::nullopt;
            value = value * 10 + (rest_[i] - '0');
        }
        rest_.remove_prefix(count);
        return value;
    }

    bool one_of(std::string_view characters) {
        if (rest_.empty() || characters.find(rest_.front()) == std::string_view::npos) return false;
        rest_.remove_prefix(1);
        return true;
    }

    /// One or more digits behind a decimal point, as whole milliseconds; the rest is cut off.
    std::optional<milliseconds> fraction() {
        if (rest_.empty() || !is_digit(rest_.front())) return std::nullopt;
        int value = 0;
        for (int scale = 100; !rest_.empty() && is_digit(rest_.front()); scale /= 10) {
            value += (rest_.front() - '0') * scale;
            rest_.remove_prefix(1);
        }
        return milliseconds{value};
    }

    bool at_end() const { return rest_.empty(); }

  private:
    static bool is_digit(char c) { return c >= '0' && c <= '9'; }

    std::string_view rest_;
};

std::optional<sys_days> read_date(Scanner& in) {
    const auto y = in.digits(4);
    if (!y || !in.one_of("-")) return std::nullopt;
    const auto m = in.digits(2);
    if (!m || !in.one_of("-")) return std::nullopt;
    const auto d = in.digits(2);
    if (!d) return std::nullopt;
    const year_month_day date{year{*y}, month{static_cast<unsigned>(*m)}, day{static_cast<unsigned>(*d)}};
    if (!date.ok()) return std::nullopt;
    return sys_days{date};
}

struct TimeOfDay {
    seconds since_midnight{};  ///< a leap second counts as the second before it
    milliseconds fraction{};
    bool leap_second = false;
};

std::optional<TimeOfDay> read_time(Scanner& in) {
    const auto hour = in.digits(2);
    if (!hour || *hour > 23 || !in.one_of(":")) return std::nullopt;
    const auto minute = in.digits(2);
    if (!minute || *minute > 59 || !in.one_of(":")) return std::nullopt;
    const auto second = in.digits(2);
    if (!second || *second > 60) return std::nullopt;
    TimeOfDay time;
    if (in.one_of(".")) {
        const auto fraction = in.fraction();
        if (!fraction) return std::nullopt;
        time.fraction = *fraction;
    }
    time.leap_second = *second == 60;
    if (time.leap_second) time.fraction = milliseconds{999};
    time.since_midnight = hours{*hour} + minutes{*minute} + seconds{time.leap_second ? 59 : *second};
    return time;
}

/// How far local time is ahead of UTC.
std::optional<minutes> read_offset(Scanner& in) {
    if (in.one_of("Zz")) return minutes{0};
    const bool ahead = in.one_of("+");
    if (!ahead && !in.one_of("-")) return std::nullopt;
    const auto hour = in.digits(2);
    if (!hour || *hour > 23 || !in.one_of(":")) return std::nullopt;
    const auto minute = in.digits(2);
    if (!minute || *minute > 59) return std::nullopt;
    const minutes offset = hours{*hour} + minutes{*minute};
    return ahead ? offset : -offset;
}

}  // namespace

std::optional<Millis> parse_rfc3339(std::string_view text) {
    Scanner in{text};
    const auto date = read_date(in);
    if (!date || !in.one_of("Tt")) return std::nullopt;
    const auto time = read_time(in);
    if (!time) return std::nullopt;
    const auto offset = read_offset(in);
    if (!offset || !in.at_end()) return std::nullopt;

    const sys_seconds instant = *date + time->since_midnight - *offset;
    if (time->leap_second && floor<minutes>(instant) - floor<days>(instant) != 23h + 59min) return std::nullopt;
    const auto since_epoch = duration_cast<milliseconds>(instant.time_since_epoch()) + time->fraction;
    return Millis{std::int64_t{since_epoch.count()}};
}

std::optional<DeadReason> check_limits(Millis time, Millis now, const TimeLimits& limits) {
    const std::int64_t age = raw(now) - raw(time);  // both are within ±2^54, so this fits
    if (age > limits.max_age.count()) return DeadReason{"older than max_age: by " + std::to_string(age - limits.max_age.count()) + " ms"};
    const std::int64_t skew = -age;
    if (skew > limits.max_clock_skew.count()) return DeadReason{"ahead of the clock: by " + std::to_string(skew) + " ms"};
    return std::nullopt;
}

}  // namespace topkd
