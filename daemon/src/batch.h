// What one flush will carry: the sums, late views and dead letters of the records read since the last one, and how far
// each partition came. Grows record by record on the consumer thread, is moved to the sink worker whole, and is either
// committed whole or thrown away whole; there is no third way to get rid of a record.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "aggregate.h"
#include "dead_reason.h"
#include "event_times.h"
#include "types.h"

namespace topkd {

/// Identifies the last record consumed of a partition, so that a topic made again betrays itself.
struct Fingerprint {
    Offset offset{};
    std::int64_t timestamp_ms = -1;
    std::uint32_t crc = 0;

    friend bool operator==(const Fingerprint&, const Fingerprint&) = default;
};

Fingerprint fingerprint_of(const Record& record);

/// One partition's part in a batch. counted + late + dead + skipped = to - from. With from = to it is an idle advance: no
/// records, only a watermark that the clock moved on.
struct PartitionProgress {
    Partition partition{};
    std::int64_t epoch = 0;
    Offset from{};
    Offset to{};
    std::optional<Fingerprint> last;  ///< none when only offsets without records were passed
    std::optional<Millis> watermark;  ///< of the records in this batch; none without events
    std::int64_t counted = 0;
    std::int64_t late = 0;
    std::int64_t dead = 0;
    std::int64_t skipped = 0;

    bool idle() const { return from == to; }
};

struct DeadLetter {
    Partition partition{};
    Offset offset{};
    std::optional<Millis> timestamp;
    std::string reason;
    std::optional<std::string> key;
    std::optional<std::string> payload;
};

class Batch {
  public:
    static constexpr std::size_t kPayloadBytes = 4096;  ///< stored of one key or payload at most
    /// Beyond it, in a flood, offsets and reasons only: of a batch, and of each record of one that is larger.
    static constexpr std::size_t kPayloadBytesPerBatch = 1 << 20;
    static constexpr std::size_t kPayloadBytesPerRecord = 4;

    /// The partition's progress, to be moved on; opened at `from` with this epoch if the batch has none yet. An idle advance
    /// that it held is dropped: what comes now shows that the partition was not silent, and must not be judged by it.
    PartitionProgress& progress(Partition partition, std::int64_t epoch, Offset from);

    /// Advances the watermark of a partition without records. Does nothing if the batch has records or offsets of it.
    void advance_idle(Partition partition, std::int64_t epoch, Offset at, Millis watermark);

    /// Forgets an idle advance of the partition. True if the batch holds more of it than that, which only a rewind undoes.
    bool release(Partition partition);

    /// Whether any partition's offset is moved.
    bool consumes() const;

    void count(Millis hour_start, std::string_view video_id, std::int64_t views);
    void count_late(Millis hour_start, std::string_view video_id, std::int64_t views);
    void bury(const Record& record, DeadReason reason);

    /// Of an event that was counted; `wall` is the clock now.
    void note_time(Millis time, Millis wall) { event_times_.add(time, wall); }

    /// One more record was consumed; the books of its partition are the caller's.
    void record_consumed() { ++records_; }

    std::uint64_t records() const { return records_; }
    bool empty() const { return progress_.empty(); }
    std::size_t rows() const { return deltas_.size() + late_.size() + dead_.size(); }
    std::size_t bytes() const { return deltas_.bytes() + late_.bytes() + dead_bytes_; }

    const Aggregate& deltas() const { return deltas_; }
    const Aggregate& late() const { return late_; }
    const std::vector<DeadLetter>& dead() const { return dead_; }
    const EventTimes& event_times() const { return event_times_; }
    const std::map<Partition, PartitionProgress>& partitions() const { return progress_; }

    /// Empties it; room is kept, at most what the last filling took.
    void clear();

  private:
    Aggregate deltas_;
    Aggregate late_;
    std::vector<DeadLetter> dead_;
    EventTimes event_times_;
    std::size_t dead_bytes_ = 0;
    std::size_t payload_bytes_ = 0;
    std::map<Partition, PartitionProgress> progress_;
    std::uint64_t records_ = 0;
};

}  // namespace topkd
