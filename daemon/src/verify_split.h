// Which events were late, decided once more for `topkd verify`, and whether that decision can be compared with the stored
// one at all: it is the same in every replay only if no partition's watermark ever followed the clock, all partitions were
// there from the start, none was reset, and no record was ahead of the clock. No code of the ingest path.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "verify_stored.h"

namespace topkd::verify {

/// How far event time came in one partition. Records are passed in offset order.
class EventTime {
  public:
    /// An event of an hour that ends then, when all records before it have passed.
    bool too_late_for(Instant hour_end, std::int64_t lateness) const { return reached_ && *reached_ - lateness >= hour_end; }

    /// An event that was counted or late has been passed. The wall clock, which bounds this too, is not known any more.
    void pass(Instant event, std::optional<Instant> record) {
        const Instant seen = record && *record < event ? *record : event;
        if (!reached_ || seen > *reached_) {
            reached_ = seen;
        }
    }

    std::optional<Instant> reached() const { return reached_; }

  private:
    std::optional<Instant> reached_;
};

using EventTimes = std::map<int, EventTime>;  // by partition

/// Why counted and late cannot be compared one by one, in words; none if they can. The event times are the log's, at the
/// ends of the books.
std::optional<std::string> split_obstacle(const Stored& stored, const EventTimes& times);

}  // namespace topkd::verify
