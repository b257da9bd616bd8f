#include "window.h"

#include <algorithm>
#include <iterator>

namespace topkd {
namespace {

constexpr auto starts_before = [](const Hour& a, const Hour& b) { return a.start < b.start; };

bool disjoint(const std::vector<Hour>& sorted) {
    if (std::any_of(sorted.begin(), sorted.end(), [](const Hour& hour) { return hour.end <= hour.start; })) return false;
    return std::adjacent_find(sorted.begin(), sorted.end(), [](const Hour& a, const Hour& b) { return a.end > b.start; }) == sorted.end();
}

}  // namespace

bool HourMap::load(std::vector<Hour> hours) {
    std::sort(hours.begin(), hours.end(), starts_before);
    if (!disjoint(hours)) return false;

    std::vector<Hour> merged;
    merged.reserve(hours_.size() + hours.size());
    auto fresh = hours.cbegin();
    for (const Hour& known : hours_) {
        while (fresh != hours.cend() && fresh->end <= known.start) merged.push_back(*fresh++);
        const bool overlaps_next = fresh != hours.cend() && fresh->start < known.end;
        const bool overlaps_previous = !merged.empty() && merged.back().end > known.start;
        if (!overlaps_next && !overlaps_previous) merged.push_back(known);
    }
    std::copy(fresh, hours.cend(), std::back_inserter(merged));
    hours_ = std::move(merged);
    return true;
}

const Hour* HourMap::find(Millis instant) const {
    if (found_ < hours_.size() && instant >= hours_[found_].start && instant < hours_[found_].end) return &hours_[found_];
    const auto behind = std::upper_bound(hours_.begin(), hours_.end(), instant, [](Millis t, const Hour& hour) { return t < hour.start; });
    if (behind == hours_.begin()) return nullptr;
    const Hour& hour = *std::prev(behind);
    if (instant >= hour.end) return nullptr;
    found_ = static_cast<std::size_t>(&hour - hours_.data());
    return &hour;
}

Millis HourMap::covers_from() const {
    return hours_.empty() ? Millis{} : hours_.front().start;
}

Millis HourMap::covers_until() const {
    return hours_.empty() ? Millis{} : hours_.back().end;
}

}  // namespace topkd
