#include "verify_windows.h"

#include <utility>

namespace topkd::verify {

namespace {

using Span = WindowName::Span;

WindowName window_of(const Stored& stored, Instant hour, const BoundsOf& bounds_of) {
    const HourBounds* bounds = stored.hours_expired_through ? bounds_of(hour) : nullptr;
    if (bounds != nullptr && stored.days_expired_through && bounds->month < *stored.days_expired_through) {
        return {Span::month, bounds->month};
    }
    if (bounds != nullptr && bounds->day < *stored.hours_expired_through) {
        return {Span::day, bounds->day};
    }
    return {Span::hour, hour};
}

void add_hour(HourViews& into, HourViews&& hour) {
    if (into.empty()) {
        into = std::move(hour);
        return;
    }
    for (const auto& [video_id, views] : hour) {
        Views& sum = into[video_id];
        sum.counted += views.counted;
        sum.late += views.late;
        sum.recounted += views.recounted;
        sum.recounted_late += views.recounted_late;
    }
}

void add_sums(std::map<WindowName, Window>& windows, Span span, const std::unordered_map<Instant, Sums>& stored) {
    for (const auto& [start, sums] : stored) {
        Window& window = windows[{span, start}];
        for (const auto& [video_id, views] : sums) {
            window.videos[video_id].counted += views;
        }
    }
}

}  // namespace

std::string_view WindowName::span_name() const {
    return span == Span::hour ? "hour" : span == Span::day ? "day" : "month";
}

std::map<WindowName, Window> windows_of(Stored& stored, const BoundsOf& bounds_of) {
    std::map<WindowName, Window> windows;
    for (auto& [hour, videos] : stored.hours) {
        add_hour(windows[window_of(stored, hour, bounds_of)].videos, std::move(videos));
    }
    stored.hours.clear();
    for (const auto& [hour, views] : stored.expired_late) {
        windows[window_of(stored, hour, bounds_of)].expired_late += views;
    }
    add_sums(windows, Span::day, stored.days);
    add_sums(windows, Span::month, stored.months);
    return windows;
}

}  // namespace topkd::verify
