// The hours of a counter's time zone, as the database gave them: which hour an instant lies in, and which day and month
// that hour belongs to. Bounds are never computed here; there is one truth for time zones, and it is PostgreSQL's.
// Hours are 30 to 120 minutes long where a zone's offset changes, and start off the UTC hour in zones that do.
#pragma once

#include <chrono>
#include <cstddef>
#include <optional>
#include <vector>

#include "types.h"

namespace topkd {

/// One hour window, [start, end), with the starts of its local day and month.
struct Hour {
    Millis start{};
    Millis end{};
    Millis day_start{};
    Millis month_start{};

    friend bool operator==(const Hour&, const Hour&) = default;
};

/// Whether an event of the hour comes too late for it: the hour is sealed, or its own partition's watermark has left it
/// behind by the lateness. Both bounds may be unknown yet.
inline bool is_late(const Hour& hour, std::optional<Millis> watermark, std::optional<Millis> sealed_through,
                    std::chrono::milliseconds lateness) {
    const bool sealed = sealed_through && hour.end <= *sealed_through;
    return sealed || (watermark && raw(hour.end) + lateness.count() <= raw(*watermark));
}

/// Hours by time. Not thread safe.
class HourMap {
  public:
    /// Adds hours, in any order; hours already known that overlap the new ones give way to them. Holes are allowed.
    /// Returns false, and changes nothing, if an hour is empty (end <= start) or two of the new ones overlap.
    /// Invalidates pointers that find returned.
    [[nodiscard]] bool load(std::vector<Hour> hours);

    /// The hour that contains the instant, or null where none is loaded. Valid until the next load or clear.
    const Hour* find(Millis instant) const;

    /// Start of the first hour and end of the last one; both the epoch when empty. Between them there may be holes.
    Millis covers_from() const;
    Millis covers_until() const;

    std::size_t size() const { return hours_.size(); }
    bool empty() const { return hours_.empty(); }
    void clear() { hours_.clear(); }

  private:
    std::vector<Hour> hours_;        // by start, disjoint
    mutable std::size_t found_ = 0;  // the last answer: most events are of the same hour as the one before
};

}  // namespace topkd
