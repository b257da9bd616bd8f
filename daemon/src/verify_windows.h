// The windows that `topkd verify` compares: hours, and where rows of hours expired the days, or months, that they went into.
#pragma once

#include <compare>
#include <cstdint>
#include <functional>
#include <map>
#include <string_view>

#include "verify_stored.h"

namespace topkd::verify {

struct WindowName {
    enum class Span { hour, day, month } span;
    Instant start;

    auto operator<=>(const WindowName&) const = default;
    std::string_view span_name() const;
};

struct Window {
    HourViews videos;
    std::int64_t expired_late = 0;  ///< of its late views, how many are not in its videos any more
};

/// The bounds of the hour that begins then; none if they are not known, and it is compared as an hour.
using BoundsOf = std::function<const HourBounds*(Instant hour)>;

/// Takes the hours out of `stored`, with what was recounted of them, and puts them together with its days and months.
std::map<WindowName, Window> windows_of(Stored& stored, const BoundsOf& bounds_of);

}  // namespace topkd::verify
