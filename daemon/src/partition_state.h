// One assigned partition's way through the protocol:
//
//   unclaimed ──claim──▶ held ──start──▶ running ──rewind──▶ held
//       ▲                 │                 │
//       ├── fenced ◀──────┴─────────────────┤   another owner: wait, then claim anew if still assigned
//       └── refused ◀───────────────────────┘   the offsets lie: not read, claimed again every few seconds
//
// Held and running have an epoch and a committed offset, the database's; running also has a position, the offset behind
// the last one that went into a batch. Position and committed differ by what is unflushed, and only by that. The watermark
// goes with the offset: a committed one, the database's, and one as of the position, by which the next record is judged.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "batch.h"
#include "clock.h"
#include "sink.h"
#include "source.h"
#include "types.h"

namespace topkd {

enum class Phase { kUnclaimed, kHeld, kRunning, kFenced, kRefused };

class PartitionState {
  public:
    PartitionState(Partition partition, Instant claim_at) : partition_(partition), claim_at_(claim_at), quiet_since_(claim_at) {}

    Partition partition() const { return partition_; }
    Phase phase() const { return phase_; }

    /// Whether an epoch is held, so that a resume must ask for this partition.
    bool claimed() const { return phase_ == Phase::kHeld || phase_ == Phase::kRunning; }
    std::int64_t epoch() const { return epoch_; }
    Offset committed_offset() const { return committed_; }
    std::optional<Millis> committed_watermark() const { return committed_watermark_; }
    Offset position() const { return position_; }

    /// How far event time has come at the position; none before the first event.
    std::optional<Millis> watermark() const { return watermark_; }

    // Claiming.
    bool claim_due(Instant now) const { return !claimed() && !claiming_ && now >= claim_at_; }
    bool claiming() const { return claiming_; }
    void claim_sent() { claiming_ = true; }
    void claim_failed(Instant retry_at);
    void claim_again(Instant at);
    void fence(Instant until);

    /// Returns true if the reason is new, so that it is logged once.
    bool refuse(const std::string& reason, Instant retry_at);

    /// A refusal stands until the partition is known to be readable again.
    bool refused() const { return !refusal_.empty(); }

    /// The first finding of an implausible offset may be a race with its previous owner's last flush; counts findings.
    int implausible_again() { return ++implausible_; }

    // Why it is not read, as it was told.
    bool leaderless = false;              ///< nobody tells its bounds
    std::optional<Offset> unreadable_at;  ///< what lies there cannot be read
    std::optional<Instant> cut_off_at;    ///< since 30 s before then nothing has been heard of it

    /// Adopts what a claim or a resume returned: held. The next start verifies the fingerprint if its record is still there.
    void adopt(const ClaimedPartition& claimed, Offset log_start);

    // Reading.
    void hold();                 ///< running → held; position and watermark are the committed ones again
    StartAt start(Instant now);  ///< held or interrupted → running: where the source starts it
    bool reading() const { return phase_ == Phase::kRunning && reading_; }
    /// The source stopped it; the position stays. Not to be started again before `until`.
    void interrupt(Instant until = {}) {
        reading_ = false;
        interrupted_until_ = until;
    }
    bool may_go_on(Instant now) const { return interrupted() && now >= interrupted_until_; }
    bool interrupted() const { return phase_ == Phase::kRunning && !reading_; }
    bool verifying() const { return verifying_; }

    enum class Verdict { kConsume, kDrop, kMismatch };
    /// What to do with a record that the source delivered. Requires reading().
    Verdict examine(const Record& record);

    /// The log ends at `end`: false if it ends before the record that was to be verified.
    bool examine_end(Offset end);

    /// A readable partition is no longer refused; true if it was.
    bool accept();

    void advance(Offset to) { position_ = to; }
    void raise_watermark(Millis to) { watermark_ = std::max(watermark_, std::optional(to)); }
    void commit(const PartitionProgress& progress);

    // Idleness.
    void heard(Instant now);                ///< a record was delivered
    void reached_end() { at_end_ = true; }  ///< the source said that nothing is left below the position
    bool at_end() const { return at_end_; }
    /// Whether it is read, at its end, and was silent for so long. The end may have moved since it was told.
    Instant heard_at() const { return quiet_since_; }
    Instant started_at() const { return started_at_; }
    bool silent(Instant now, std::chrono::milliseconds duration) const { return reading() && at_end_ && now - quiet_since_ >= duration; }

  private:
    Partition partition_;
    Phase phase_ = Phase::kUnclaimed;
    Instant claim_at_;
    bool claiming_ = false;
    int implausible_ = 0;
    std::string refusal_;

    std::int64_t epoch_ = 0;
    Offset committed_{};
    std::optional<Fingerprint> last_;
    bool verifying_ = false;
    std::optional<Millis> committed_watermark_;

    Offset position_{};
    std::optional<Millis> watermark_;
    bool reading_ = false;
    bool at_end_ = false;
    Instant quiet_since_;
    Instant started_at_{};
    Instant interrupted_until_{};
};

}  // namespace topkd
