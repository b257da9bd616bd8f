// The words of the data path: what a record is, and the strong types that keep partitions, offsets and times apart.
// Times are milliseconds since 1970-01-01 UTC, as in Kafka. Header only; no logic beyond conversions.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string_view>

namespace topkd {

/// A Kafka partition of the one topic this process reads.
enum class Partition : std::int32_t {};

/// An offset in a partition's log. Ranges are half open: [from, to).
enum class Offset : std::int64_t {};

/// An instant, in milliseconds since the epoch, UTC.
enum class Millis : std::int64_t {};

constexpr std::int32_t raw(Partition partition) {
    return static_cast<std::int32_t>(partition);
}
constexpr std::int64_t raw(Offset offset) {
    return static_cast<std::int64_t>(offset);
}
constexpr std::int64_t raw(Millis instant) {
    return static_cast<std::int64_t>(instant);
}

constexpr Offset next(Offset offset) {
    return Offset{raw(offset) + 1};
}

/// One record as it lies in the log. The views are borrowed: valid until the source is polled again.
struct Record {
    Partition partition{};
    Offset offset{};
    std::optional<Millis> timestamp;        ///< none when the broker delivers -1
    std::optional<std::string_view> key;    ///< none for a null key
    std::optional<std::string_view> value;  ///< none for a null value (a tombstone)
};

}  // namespace topkd
