// When a batch is flushed, and when it may not grow further. Decides from sizes and times alone; knows no database but by how
// long it took.
//
// Normally a batch goes when the interval has passed. It goes earlier when, by the database's speed, its oldest record would otherwise be
// seen later than kAgeTenths / 10 intervals after it was read: a second, with the default interval and some slack. A database that is
// slower than that is kept busy without a pause: every batch is what came in while the one before was written, so that batches grow, and
// with them what a row costs less. They stop growing, and reading stops, at the memory bound or at what the database takes in
// kLongestFlush, so that a rebalance can wait for it.
//
// With a backlog, which is a million records and kBacklog's reading at least, what is read is not seen in time whatever is done: batches
// go at kBacklogInterval then, with fewer rows for the same events; not before the database has shown its speed, which bounds them. Memory:
// growing is one eighth of --memory, the batch in flight with its encoded forms (sorted cells, message, libpq's copy) three eighths,
// librdkafka's queues two fifths, the rest is slack.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>

#include "batch.h"
#include "clock.h"

namespace topkd {

/// The share of --memory that a growing batch may take. PostgreSQL takes no message beyond 1 GiB, and a batch encoded is smaller than in
/// memory.
constexpr std::size_t growing_share(std::uint64_t memory) {
    return static_cast<std::size_t>(std::min(memory / 8, std::uint64_t{768} << 20));
}

/// The share of --memory for what librdkafka has fetched and not delivered yet.
constexpr std::uint64_t queue_share(std::uint64_t memory) {
    return memory / 5 * 2;
}

class FlushPolicy {
  public:
    static constexpr std::chrono::seconds kLongestFlush{3};
    static constexpr std::chrono::seconds kBacklog{5};
    static constexpr std::uint64_t kBacklogRecords = 1'000'000;  ///< fewer are read in a second or two, whatever the pace was before them
    static constexpr std::chrono::seconds kBacklogInterval{3};
    static constexpr int kAgeTenths = 18;
    /// Smaller flushes say more about round trips than about rows: they only tell when the database is quicker than was known.
    static constexpr std::size_t kRowsThatTell = 1000;
    static constexpr std::size_t kLeastRowLimit = 10'000;  ///< however slow the database has been

    FlushPolicy(std::chrono::milliseconds interval, std::size_t growing_bytes) : interval_(interval), growing_bytes_(growing_bytes) {}

    /// Whether the batch should go to the database now, given that the database is idle.
    bool due(const Batch& batch, Instant now) const {
        return !batch.empty() &&
               (now >= next_flush() || full(batch) || (!behind_ && now + expected(batch) >= last_flush_ + interval_ * kAgeTenths / 10));
    }

    /// Whether no further record may be added before a flush.
    bool full(const Batch& batch) const {
        return batch.bytes() >= growing_bytes_ || (record_limit_ && batch.records() >= *record_limit_) ||
               (row_nanoseconds_ > 0 && batch.rows() >= row_limit());
    }

    /// How many records may be asked for before the batch is looked at again. Never 0: of a full batch's partitions none is read.
    std::size_t room(const Batch& batch) const {
        if (!record_limit_) {
            return std::numeric_limits<std::size_t>::max();
        }
        return static_cast<std::size_t>(*record_limit_ - std::min(*record_limit_ - 1, batch.records()));
    }

    /// A batch goes; so many records are known to be left where it was read.
    void flush_started(const Batch& batch, std::uint64_t left, Instant now) {
        behind_ = row_nanoseconds_ > 0 && left >= kBacklogRecords && batch.records() > 0 &&
                  time_to_read(left, batch.records(), now - last_flush_) > kBacklog;
        last_flush_ = now;
    }

    /// Whether a batch waits longer than the interval, for a backlog that may have been read since it was seen.
    bool waits_for_backlog(Instant now) const { return behind_ && now >= last_flush_ + interval_; }

    void backlog_is_read() { behind_ = false; }

    Instant next_flush() const {
        return last_flush_ + (behind_ ? std::max<std::chrono::milliseconds>(interval_, kBacklogInterval) : interval_);
    }

    /// The batch of so many records met an error of data: halve. At one record there is nothing left to halve.
    void cut_down(std::uint64_t records) { record_limit_ = std::max<std::uint64_t>(1, records / 2); }

    /// A flush of so many rows went through: double a limit, and forget it when it no longer limits anything.
    void flush_succeeded(std::size_t rows, std::chrono::nanoseconds took) {
        if (record_limit_) {
            *record_limit_ *= 2;
            if (*record_limit_ > kUnlimited) {
                record_limit_.reset();
            }
        }
        const double now = static_cast<double>(took.count()) / static_cast<double>(std::max<std::size_t>(rows, 1));
        if (row_nanoseconds_ > 0 && (rows >= kRowsThatTell || now < row_nanoseconds_)) {
            row_nanoseconds_ += (now - row_nanoseconds_) * kNewShare;
        } else if (rows >= kRowsThatTell) {
            row_nanoseconds_ = now;
        }
    }

    std::optional<std::uint64_t> record_limit() const { return record_limit_; }

    /// How many rows the database takes in kLongestFlush. Requires that it has shown its speed.
    std::size_t row_limit() const {
        const double longest = std::chrono::duration<double, std::nano>(kLongestFlush).count();
        return std::max(kLeastRowLimit, static_cast<std::size_t>(longest / row_nanoseconds_));
    }

  private:
    static constexpr std::uint64_t kUnlimited = 1'000'000;
    static constexpr double kNewShare = 0.3;  // of the last flush in what is known of the speed

    /// At the pace of the records read last.
    static std::chrono::duration<double> time_to_read(std::uint64_t left, std::uint64_t read, std::chrono::duration<double> took) {
        return took * (static_cast<double>(left) / static_cast<double>(read));
    }

    std::chrono::nanoseconds expected(const Batch& batch) const {
        return std::chrono::nanoseconds(static_cast<std::int64_t>(row_nanoseconds_ * static_cast<double>(batch.rows())));
    }

    std::chrono::milliseconds interval_;
    std::size_t growing_bytes_;
    Instant last_flush_{};
    bool behind_ = false;  // a backlog was left by the last flush
    std::optional<std::uint64_t> record_limit_;
    double row_nanoseconds_ = 0;  // 0: not known yet
};

}  // namespace topkd
