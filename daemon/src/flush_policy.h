// When a batch is flushed, and when it may not grow further. Decides from sizes and times alone; knows no database.
// Memory: growing is one eighth of --memory, the batch in flight with its encoded forms (sorted cells, message, libpq's
// copy) three eighths, librdkafka's queues two fifths, the rest is slack.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>

#include "batch.h"
#include "clock.h"

namespace topkd {

/// The share of --memory that a growing batch may take.
constexpr std::size_t growing_share(std::uint64_t memory) {
    return static_cast<std::size_t>(memory / 8);
}

/// The share of --memory for what librdkafka has fetched and not delivered yet.
constexpr std::uint64_t queue_share(std::uint64_t memory) {
    return memory / 5 * 2;
}

class FlushPolicy {
  public:
    FlushPolicy(std::chrono::milliseconds interval, std::size_t growing_bytes) : interval_(interval), growing_bytes_(growing_bytes) {}

    /// Whether the batch should go to the database now, given that the database is idle.
    bool due(const Batch& batch, Instant now) const { return !batch.empty() && (now >= last_flush_ + interval_ || full(batch)); }

    /// Whether no further record may be added before a flush.
    bool full(const Batch& batch) const { return batch.bytes() >= growing_bytes_ || (record_limit_ && batch.records() >= *record_limit_); }

    void flush_started(Instant now) { last_flush_ = now; }

    Instant next_flush() const { return last_flush_ + interval_; }

    /// The batch of so many records met an error of data: halve. At one record there is nothing left to halve.
    void cut_down(std::uint64_t records) { record_limit_ = std::max<std::uint64_t>(1, records / 2); }

    /// A flush went through: double a limit, and forget it when it no longer limits anything.
    void flush_succeeded() {
        if (record_limit_) {
            *record_limit_ *= 2;
            if (*record_limit_ > kUnlimited) {
                record_limit_.reset();
            }
        }
    }

    std::optional<std::uint64_t> record_limit() const { return record_limit_; }

  private:
    static constexpr std::uint64_t kUnlimited = 1'000'000;

    std::chrono::milliseconds interval_;
    std::size_t growing_bytes_;
    Instant last_flush_{};
    std::optional<std::uint64_t> record_limit_;
};

}  // namespace topkd
