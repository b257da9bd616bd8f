// The seam to the database: the claim/flush protocol as blocking calls, made from one thread at a time (abort excepted).
// Any call may fail with an outage after having taken effect: the caller never knows, and never sends a batch twice.
// Tests put a fake database behind this interface.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <tl/expected.hpp>
#include <vector>

#include "batch.h"
#include "sink_error.h"
#include "source.h"
#include "types.h"
#include "window.h"

namespace topkd {

/// Claims the partitions, or resumes with the epochs of an earlier claim when `epochs` has one for each of them.
struct ClaimRequest {
    TopicState topic;
    std::vector<Partition> partitions;
    std::vector<std::int64_t> epochs;

    bool resumes() const { return !epochs.empty(); }
};

enum class ClaimStatus { kOk, kFenced, kBelowStart, kBeyondEnd };

struct ClaimedPartition {
    Partition partition{};
    ClaimStatus status = ClaimStatus::kOk;
    std::int64_t epoch = 0;
    Offset next_offset{};
    std::optional<Fingerprint> last;
    std::optional<Millis> watermark;
};

/// How the counter judges times, as the database has it.
struct CounterLimits {
    std::chrono::milliseconds max_age{};
    std::chrono::milliseconds max_clock_skew{};
    std::chrono::milliseconds lateness{};      ///< how long behind its end, by its partition's watermark, an hour stays open
    std::chrono::milliseconds idle_timeout{};  ///< silence after which a partition's watermark follows the clock
};

struct ClaimResult {
    std::vector<ClaimedPartition> partitions;
    std::optional<Millis> sealed_through;  ///< none: nothing is sealed
    CounterLimits limits;
    std::optional<Millis> clock;  ///< the database's, as it answered
};

struct FlushResult {
    std::optional<Millis> sealed_through;  ///< as read under the seal lock; none: nothing is sealed
    std::optional<Millis> clock;           ///< the database's, as it answered
};

class Sink {
  public:
    virtual ~Sink() = default;

    /// Opens a new connection and checks that the extension is there in the version this program speaks to.
    virtual tl::expected<void, SinkError> connect() = 0;

    /// False after any error that leaves the connection unusable; then connect again, and resume before flushing.
    virtual bool connected() const = 0;

    virtual tl::expected<ClaimResult, SinkError> claim(const ClaimRequest& request) = 0;

    /// One transaction: the batch and its offsets.
    virtual tl::expected<FlushResult, SinkError> flush(const Batch& batch) = 0;

    /// Every hour that overlaps [since, until).
    virtual tl::expected<std::vector<Hour>, SinkError> hours(Millis since, Millis until) = 0;

    /// Asks the server to give up the call in progress, which then fails as an outage; the connection stays. Any thread.
    virtual void cancel() = 0;

    /// Breaks the connection so that a call in progress fails soon. Any thread.
    virtual void abort() = 0;
};

}  // namespace topkd
