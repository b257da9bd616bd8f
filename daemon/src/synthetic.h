// The records of the synthetic producer, without Kafka: which video, at what event time. A sequence is a function of its
// settings alone, so that a run can be repeated from its seed. The clock is passed in.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "types.h"
#include "zipf.h"

namespace topkd {

struct SyntheticSettings {
    std::uint64_t videos = 100'000;  ///< at least 1
    double zipf = 1.0;               ///< at least 0
    std::uint64_t seed = 1;
    double rate = 0;                        ///< records a second of schedule; 0: kNominalRate
    std::optional<Millis> start;            ///< event time of the first record; none: the clock's
    double time_scale = 1.0;                ///< seconds of event time a second of schedule, at least 0
    std::chrono::milliseconds disorder{0};  ///< event times lie up to this far behind
};

/// The schedule's records a second where no rate limits them: one a millisecond.
inline constexpr double kNominalRate = 1000;

struct SyntheticRecord {
    std::string key;
    std::string value;
    Millis timestamp{};  ///< the record's: the event time before disorder
};

class SyntheticSequence {
  public:
    /// `begun` is the clock's time when production began; unused if a start is set.
    SyntheticSequence(const SyntheticSettings& settings, Millis begun);

    /// Overwrites `record` with the next one of the sequence. Time is that of the schedule if a start is set, else `now`,
    /// stretched by the time scale from the beginning of production.
    void next(Millis now, SyntheticRecord& record);

    /// The id of a rank: a fixed permutation, so that the popular videos are not neighbours in the order of ids, and are
    /// the same ones for every seed.
    static std::uint64_t video_number(std::uint64_t rank, std::uint64_t videos);

  private:
    Millis scheduled(Millis now) const;

    SyntheticSettings settings_;
    Millis begun_;
    Random random_;
    Zipf zipf_;
    std::uint64_t index_ = 0;
};

}  // namespace topkd
