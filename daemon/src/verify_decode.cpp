#include "verify_decode.h"

#include <array>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

namespace topkd::verify {

namespace {

constexpr std::size_t kMaxIdBytes = 256;
constexpr std::int64_t kMaxViews = 1'000'000;
constexpr std::size_t kMaxDepth = 512;
constexpr std::int64_t kFirstTime = -210'866'803'200'000;   // 4713-11-24 BC, PostgreSQL's first timestamp
constexpr std::int64_t kTimeBound = 9'224'318'016'000'000;  // the year 294277, where its timestamps end

/// The value of one member, as far as events care.
struct Value {
    enum class Kind { absent, integer, huge_integer, string, other } kind = Kind::absent;
    std::int64_t integer = 0;
    std::string string;
};

/// Listens to nlohmann's parser and keeps the three members of the outermost object.
class Listener : public nlohmann::json_sax<nlohmann::json> {
  public:
    Value video_id, ts, views;
    bool outermost_is_object = false;

    bool null() override { return take({Value::Kind::other, 0, {}}); }
    bool boolean(bool) override { return take({Value::Kind::other, 0, {}}); }
    bool number_integer(number_integer_t number) override { return take({Value::Kind::integer, number, {}}); }
    bool number_unsigned(number_unsigned_t number) override {
        const bool fits = number <= static_cast<number_unsigned_t>(std::numeric_limits<std::int64_t>::max());
        return take({fits ? Value::Kind::integer : Value::Kind::huge_integer, static_cast<std::int64_t>(number), {}});
    }
    bool number_float(number_float_t, const string_t& text) override {
        // Integers beyond 64 bits come as floats; their text tells.
        const bool integer = text.find_first_of(".eE") == string_t::npos;
        return take({integer ? Value::Kind::huge_integer : Value::Kind::other, 0, {}});
    }
    bool string(string_t& text) override { return take({Value::Kind::string, 0, std::move(text)}); }
    bool binary(binary_t&) override { return false; }
    bool start_object(std::size_t) override {
        if (depth_ == 0) {
            outermost_is_object = true;
        }
        return enter();
    }
    bool key(string_t& name) override {
        if (depth_ == 1) {
            member_ = name == "video_id" ? &video_id : name == "ts" ? &ts : name == "views" ? &views : nullptr;
        }
        return true;
    }
    bool end_object() override { return leave(); }
    bool start_array(std::size_t) override { return enter(); }
    bool end_array() override { return leave(); }
    bool parse_error(std::size_t, const std::string&, const nlohmann::detail::exception&) override { return false; }

  private:
    bool enter() {
        take({Value::Kind::other, 0, {}});
        return ++depth_ <= kMaxDepth;
    }
    bool leave() {
        --depth_;
        return true;
    }
    bool take(Value value) {
        if (depth_ == 1 && outermost_is_object && member_ != nullptr) {
            *member_ = std::move(value);
        }
        return true;
    }

    std::size_t depth_ = 0;
    Value* member_ = nullptr;
};

bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

/// Copies a run of digits, at most `keep` of them.
void copy_digits(std::string_view text, std::size_t& at, std::size_t keep, std::string& out) {
    for (std::size_t taken = 0; at < text.size() && is_digit(text[at]); ++at, ++taken) {
        if (taken < keep) {
            out += text[at];
        }
    }
}

/// JSON has numbers of any size; nlohmann's parser refuses those beyond double. Shortens long integers to 20 digits, which
/// is more than 64 bits hold, and exponents to one digit: what is an integer and what fits stays as it was.
std::string with_small_numbers(std::string_view text) {
    std::string out;
    out.reserve(text.size());
    bool in_string = false;
    for (std::size_t i = 0; i < text.size();) {
        const char c = text[i];
        if (in_string && c == '\\' && i + 1 < text.size()) {
            out += c;
            out += text[i + 1];
            i += 2;
        } else if (in_string || !is_digit(c)) {
            in_string = in_string != (c == '"');
            out += c;
            ++i;
        } else {
            const char before = i == 0 ? ' ' : text[i - 1];
            const bool exponent = before == 'e' || before == 'E' ||
                                  ((before == '+' || before == '-') && i >= 2 && (text[i - 2] == 'e' || text[i - 2] == 'E'));
            copy_digits(text, i, exponent ? 1 : 20, out);
        }
    }
    return out;
}

bool needs_small_numbers(std::string_view text) {
    std::size_t run = 0;
    for (std::size_t i = 0; i < text.size(); ++i) {
        run = is_digit(text[i]) ? run + 1 : 0;
        if (run > 20 ||
            (is_digit(text[i]) && i >= 2 && (text[i - 1] == 'e' || text[i - 1] == 'E' || text[i - 2] == 'e' || text[i - 2] == 'E'))) {
            return true;
        }
    }
    return false;
}

/// Well-formed UTF-8 by the table of Unicode 15, section 3.9: bounds of the second byte by lead byte.
bool is_utf8(std::string_view text) {
    for (std::size_t i = 0; i < text.size();) {
        const auto lead = static_cast<unsigned char>(text[i]);
        if (lead < 0x80) {
            ++i;
            continue;
        }
        const std::size_t length = lead >= 0xC2 && lead <= 0xDF   ? 2
                                   : lead >= 0xE0 && lead <= 0xEF ? 3
                                   : lead >= 0xF0 && lead <= 0xF4 ? 4
                                                                  : 0;
        if (length == 0 || i + length > text.size()) {
            return false;
        }
        const unsigned char low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
        const unsigned char high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
        for (std::size_t k = 1; k < length; ++k) {
            const auto byte = static_cast<unsigned char>(text[i + k]);
            if (byte < (k == 1 ? low : 0x80) || byte > (k == 1 ? high : 0xBF)) {
                return false;
            }
        }
        i += length;
    }
    return true;
}

unsigned id_faults(std::string_view id) {
    unsigned faults = 0;
    faults |= id.empty() ? kIdEmpty : 0U;
    faults |= id.size() > kMaxIdBytes ? kIdTooLong : 0U;
    faults |= is_utf8(id) ? 0U : kIdNotUtf8;
    faults |= id.find('\0') != std::string_view::npos ? kIdContainsNul : 0U;
    return faults;
}

void set_time(std::optional<std::int64_t> time, unsigned otherwise, Decoded& event) {
    if (!time) {
        event.faults |= otherwise;
    } else if (*time < kFirstTime || *time >= kTimeBound) {
        event.faults |= kTimeOutOfRange;
    } else {
        event.time = *time;
    }
}

void read_time(const Value& ts, std::optional<std::int64_t> timestamp, Decoded& event) {
    switch (ts.kind) {
        case Value::Kind::absent:
            return set_time(timestamp, kTimeMissing, event);
        case Value::Kind::integer:
            return set_time(ts.integer, 0, event);
        case Value::Kind::huge_integer:
            event.faults |= kTimeOutOfRange;
            return;
        case Value::Kind::string:
            return set_time(parse_time(ts.string), kTimeNotReadable, event);
        case Value::Kind::other:
            event.faults |= kTimeNotReadable;
    }
}

void read_views(const Value& views, Decoded& event) {
    if (views.kind == Value::Kind::absent) {
        return;
    }
    if (views.kind == Value::Kind::integer && views.integer >= 1 && views.integer <= kMaxViews) {
        event.views = views.integer;
    } else if (views.kind == Value::Kind::integer || views.kind == Value::Kind::huge_integer) {
        event.faults |= kViewsOutOfRange;
    } else {
        event.faults |= kViewsNotInteger;
    }
}

Decoded decode_json(std::string_view text, std::optional<std::int64_t> timestamp) {
    Decoded event;
    Listener listener;
    // Two liberties of the parser that events do not have: it skips a byte order mark, and ends at a NUL.
    if (text.starts_with("\xEF\xBB\xBF") || text.find('\0') != std::string_view::npos) {
        event.faults = kNotJson;
        return event;
    }
    std::string shortened;
    if (needs_small_numbers(text)) {
        text = shortened = with_small_numbers(text);
    }
    if (!nlohmann::json::sax_parse(text.begin(), text.end(), &listener)) {
        event.faults = kNotJson;
        return event;
    }
    if (!listener.outermost_is_object) {
        event.faults = kNotObject;
        return event;
    }
    if (listener.video_id.kind == Value::Kind::absent) {
        event.faults |= kIdMissing;
    } else if (listener.video_id.kind != Value::Kind::string) {
        event.faults |= kIdNotString;
    } else {
        event.faults |= id_faults(listener.video_id.string);
        event.video_id = std::move(listener.video_id.string);
    }
    read_time(listener.ts, timestamp, event);
    read_views(listener.views, event);
    return event;
}

// --- RFC 3339 ---

/// The number in text[from, from + count), or -1.
int number(std::string_view text, std::size_t from, std::size_t count) {
    int value = 0;
    for (std::size_t i = from; i < from + count; ++i) {
        if (i >= text.size() || !is_digit(text[i])) {
            return -1;
        }
        value = value * 10 + (text[i] - '0');
    }
    return value;
}

bool within(int value, int low, int high) {
    return value >= low && value <= high;
}

int days_in_month(int year, int month) {
    constexpr std::array kDays{31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    const bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return kDays[static_cast<std::size_t>(month - 1)] + (month == 2 && leap ? 1 : 0);
}

/// Days from 1970-01-01 to the date, by counting: leap years before the year, then the months before the month.
std::int64_t day_number(int year, int month, int day) {
    const auto leap_days_before = [](std::int64_t y) { return (y + 3) / 4 - (y + 99) / 100 + (y + 399) / 400; };
    std::int64_t days = std::int64_t{year} * 365 + leap_days_before(year) - (std::int64_t{1970} * 365 + leap_days_before(1970));
    for (int m = 1; m < month; ++m) {
        days += days_in_month(year, m);
    }
    return days + day - 1;
}

/// The offset at the end of the text in minutes ahead of UTC.
std::optional<int> offset_minutes(std::string_view zone) {
    if (zone == "Z" || zone == "z") {
        return 0;
    }
    if (zone.size() != 6 || (zone[0] != '+' && zone[0] != '-') || zone[3] != ':') {
        return std::nullopt;
    }
    const int hours = number(zone, 1, 2), minutes = number(zone, 4, 2);
    if (!within(hours, 0, 23) || !within(minutes, 0, 59)) {
        return std::nullopt;
    }
    return (zone[0] == '+' ? 1 : -1) * (hours * 60 + minutes);
}

}  // namespace

std::optional<std::int64_t> parse_time(std::string_view text) {
    // yyyy-mm-ddThh:mm:ss, 19 characters, then a fraction or none, then the zone
    if (text.size() < 20 || text[4] != '-' || text[7] != '-' || (text[10] != 'T' && text[10] != 't') || text[13] != ':' ||
        text[16] != ':') {
        return std::nullopt;
    }
    const int year = number(text, 0, 4), month = number(text, 5, 2), day = number(text, 8, 2);
    const int hour = number(text, 11, 2), minute = number(text, 14, 2), second = number(text, 17, 2);
    if (year < 0 || !within(month, 1, 12) || !within(day, 1, days_in_month(year, month)) || !within(hour, 0, 23) ||
        !within(minute, 0, 59) || !within(second, 0, 60)) {
        return std::nullopt;
    }
    std::size_t at = 19;
    std::int64_t fraction = 0;
    if (text[at] == '.') {
        std::string digits;
        copy_digits(text, ++at, 3, digits);
        if (digits.empty()) {
            return std::nullopt;
        }
        digits.resize(3, '0');
        fraction = number(digits, 0, 3);
    }
    const auto offset = offset_minutes(text.substr(at));
    if (!offset) {
        return std::nullopt;
    }
    const std::int64_t minutes = day_number(year, month, day) * 1440 + hour * 60 + minute - *offset;
    if (second == 60) {
        const bool last_minute_of_day = (minutes % 1440 + 1440) % 1440 == 1439;
        return last_minute_of_day ? std::optional<std::int64_t>(minutes * 60'000 + 59'999) : std::nullopt;
    }
    return minutes * 60'000 + second * 1000 + fraction;
}

Decoded decode(std::optional<std::string_view> key, std::optional<std::string_view> value, std::optional<std::int64_t> timestamp) {
    Decoded event;
    if (!value) {
        event.faults = kNullValue;
    } else if (!value->empty()) {
        event = decode_json(*value, timestamp);
    } else if (!key) {
        event.faults = kEmptyWithoutKey;
    } else {
        event.faults = id_faults(*key);
        event.video_id = *key;
        read_time({}, timestamp, event);
    }
    return event;
}

unsigned faults_named_by(std::string_view reason) {
    constexpr std::array<std::pair<std::string_view, unsigned>, 15> kReasons{{
        {"null value", kNullValue},
        {"empty value without key", kEmptyWithoutKey},
        {"not JSON", kNotJson},
        {"not an object", kNotObject},
        {"video_id missing", kIdMissing},
        {"video_id not a string", kIdNotString},
        {"video_id empty", kIdEmpty},
        {"video_id longer than 256 bytes", kIdTooLong},
        {"video_id not UTF-8", kIdNotUtf8},
        {"video_id contains NUL", kIdContainsNul},
        {"ts not an integer or RFC 3339 string", kTimeNotReadable},
        {"ts missing", kTimeMissing},
        {"ts out of range", kTimeOutOfRange},
        {"views not an integer", kViewsNotInteger},
        {"views out of range", kViewsOutOfRange},
    }};
    const std::string_view words = reason.substr(0, reason.find(':'));
    for (const auto& [known, fault] : kReasons) {
        if (words == known) {
            return fault;
        }
    }
    return 0;
}

}  // namespace topkd::verify
