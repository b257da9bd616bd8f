// The delta encoding read back, as strictly as the server does, with code of its own.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace topkd::test {

using Sums = std::map<std::pair<std::int64_t, std::string>, std::int64_t>;  // (hour start, video) → views

/// None if the bytes break a rule of the encoding: unknown version, an empty hour, keys not strictly ascending, ids out of
/// 1 to 256 bytes, views below 1, missing or left-over bytes.
inline std::optional<Sums> parse_deltas(std::string_view bytes) {
    bool short_of_bytes = false;
    const auto take = [&](std::size_t count) {
        if (bytes.size() < count) short_of_bytes = true;
        const std::string_view taken = bytes.substr(0, count);
        bytes.remove_prefix(taken.size());
        return taken;
    };
    const auto integer = [&](std::size_t width) {
        std::uint64_t value = 0;
        for (const char c : take(width)) value = value << 8 | static_cast<unsigned char>(c);
        return static_cast<std::int64_t>(value);
    };

    Sums sums;
    if (integer(1) != 1) return std::nullopt;
    std::optional<std::int64_t> last_hour;
    while (!bytes.empty()) {
        const std::int64_t hour = integer(8);
        const std::int64_t count = integer(4);
        if (count == 0 || (last_hour && hour <= *last_hour)) return std::nullopt;
        last_hour = hour;
        std::optional<std::string> last_id;
        for (std::int64_t i = 0; i < count; ++i) {
            const auto length = static_cast<std::size_t>(integer(2));
            const std::string id(take(length));
            const std::int64_t views = integer(8);
            if (short_of_bytes || id.empty() || id.size() > 256 || views < 1 || (last_id && id <= *last_id)) return std::nullopt;
            last_id = id;
            sums[{hour, id}] = views;
        }
    }
    if (short_of_bytes) return std::nullopt;
    return sums;
}

}  // namespace topkd::test
