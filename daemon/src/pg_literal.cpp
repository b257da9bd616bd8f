#include "pg_literal.h"

#include <fmt/format.h>

namespace topkd {
namespace {

/// Quotes for one level: the text between double quotes, each double quote and backslash escaped by a backslash.
void append_quoted(std::string& to, std::string_view text) {
    to += '"';
    for (const char c : text) {
        if (c == '"' || c == '\\') {
            to += '\\';
        }
        to += c;
    }
    to += '"';
}

struct Date {
    std::int64_t year;  // astronomical: 0 is 1 BC
    unsigned month;
    unsigned day;
};

/// Days since 1970-01-01 to the proleptic Gregorian date, for any year (Howard Hinnant's civil_from_days).
/// std::chrono's year ends at 32767, PostgreSQL's timestamps do not.
Date date_of(std::int64_t days) {
    constexpr std::int64_t kDaysPerEra = 146'097;
    days += 719'468;  // from 0000-03-01
    const std::int64_t era = (days >= 0 ? days : days - (kDaysPerEra - 1)) / kDaysPerEra;
    const auto day_of_era = static_cast<unsigned>(days - era * kDaysPerEra);
    const unsigned year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36'524 - day_of_era / 146'096) / 365;
    const unsigned day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    const unsigned shifted_month = (5 * day_of_year + 2) / 153;
    const unsigned day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    const unsigned month = shifted_month < 10 ? shifted_month + 3 : shifted_month - 9;
    return {static_cast<std::int64_t>(year_of_era) + era * 400 + (month <= 2 ? 1 : 0), month, day};
}

}  // namespace

std::string timestamp_literal(Millis instant) {
    constexpr std::int64_t kDay = 86'400'000;
    const std::int64_t ms = raw(instant);
    const std::int64_t days = ms >= 0 ? ms / kDay : (ms - (kDay - 1)) / kDay;
    const std::int64_t in_day = ms - days * kDay;
    const Date date = date_of(days);
    const bool bc = date.year <= 0;
    return fmt::format("{:04}-{:02}-{:02} {:02}:{:02}:{:02}.{:03}+00{}", bc ? 1 - date.year : date.year, date.month, date.day,
                       in_day / 3'600'000, in_day / 60'000 % 60, in_day / 1000 % 60, in_day % 1000, bc ? " BC" : "");
}

std::string bytea_literal(std::string_view bytes) {
    constexpr std::string_view kDigits = "0123456789abcdef";
    std::string text = "\\x";
    text.reserve(2 + 2 * bytes.size());
    for (const char c : bytes) {
        const auto byte = static_cast<unsigned char>(c);
        text += kDigits[byte >> 4];
        text += kDigits[byte & 15];
    }
    return text;
}

CompositeArray& CompositeArray::begin_row() {
    row_ = "(";
    first_field_ = true;
    return *this;
}

void CompositeArray::separate() {
    if (!first_field_) {
        row_ += ',';
    }
    first_field_ = false;
}

CompositeArray& CompositeArray::field(std::int64_t value) {
    separate();
    row_ += std::to_string(value);
    return *this;
}

CompositeArray& CompositeArray::field(std::string_view value) {
    separate();
    append_quoted(row_, value);  // quoted always: an empty field unquoted is NULL
    return *this;
}

CompositeArray& CompositeArray::field(const std::optional<std::string>& value) {
    return value ? field(std::string_view(*value)) : null();
}

CompositeArray& CompositeArray::null() {
    separate();
    return *this;
}

void CompositeArray::end_row() {
    row_ += ')';
    if (!rows_.empty()) {
        rows_ += ',';
    }
    append_quoted(rows_, row_);
}

std::string array_literal(const std::vector<std::int64_t>& values) {
    std::string text = "{";
    for (const std::int64_t value : values) {
        text += (text.size() > 1 ? "," : "") + std::to_string(value);
    }
    return text + "}";
}

}  // namespace topkd
