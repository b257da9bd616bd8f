// The rules for events once more, for `topkd verify`: another JSON library, another calendar, no code of the ingest path.
// Where the decoder stops at the first fault, this one names all of them, since any is a good reason for a dead letter.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace topkd::verify {

/// What is wrong with a record, as a set of bits.
enum Fault : unsigned {
    kNullValue = 1U << 0,
    kEmptyWithoutKey = 1U << 1,
    kNotJson = 1U << 2,
    kNotObject = 1U << 3,
    kIdMissing = 1U << 4,
    kIdNotString = 1U << 5,
    kIdEmpty = 1U << 6,
    kIdTooLong = 1U << 7,
    kIdNotUtf8 = 1U << 8,
    kIdContainsNul = 1U << 9,
    kTimeNotReadable = 1U << 10,
    kTimeMissing = 1U << 11,
    kTimeOutOfRange = 1U << 12,
    kViewsNotInteger = 1U << 13,
    kViewsOutOfRange = 1U << 14,
};

/// An event, or the faults that make the record none. Times in milliseconds since the epoch.
struct Decoded {
    unsigned faults = 0;
    std::string video_id;
    std::int64_t time = 0;
    std::int64_t views = 1;
};

/// Key and value: none for null. The timestamp: none if the record has none.
Decoded decode(std::optional<std::string_view> key, std::optional<std::string_view> value, std::optional<std::int64_t> timestamp);

/// An RFC 3339 date-time in milliseconds since the epoch, cut off towards the past. A leap second, where it may occur, is
/// the last millisecond before it.
std::optional<std::int64_t> parse_time(std::string_view text);

/// The faults that a dead letter's reason speaks of; 0 for an unknown one, and for those that depend on the clock.
unsigned faults_named_by(std::string_view reason);

}  // namespace topkd::verify
