// How full librdkafka's queue of fetched records is, and when its fetching thread is to be woken. That thread stops fetching when the
// queue reaches one of its limits, and then looks again after a second, unless something wakes it: librdkafka's issue 2879, mended by
// fetch.queue.backoff.ms in 2.2. A queue that holds less than what a second consumes would run dry in between.
//
// The limit in records is exact. The one in bytes is estimated from the records taken, so that the thread may find the queue
// still full when it is woken the first time; it is woken again with every eighth that the queue shrinks until it has grown.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace topkd {

class QueueGauge {
  public:
    QueueGauge(std::uint64_t records, std::uint64_t bytes) : records_(static_cast<double>(records)), bytes_(static_cast<double>(bytes)) {}

    /// So many records of so many bytes were taken, and so many are left. True when the fetching thread may sleep although there is room.
    bool taken(std::size_t records, std::size_t bytes, std::size_t left) {
        if (records > 0) {
            const auto count = static_cast<double>(records);
            const double size = static_cast<double>(bytes) / count;
            size_ = size_ > 0 ? size_ + (size - size_) * count / (count + kRemembered) : size;
        }
        const double before = fullness(left + records);
        const double after = fullness(left);
        if (before > last_ && before >= kMayBeFull) {
            wake_below_ = 1;
        }
        last_ = after;
        if (after >= wake_below_) {
            return false;
        }
        wake_below_ = after - kStep;
        return true;
    }

  private:
    static constexpr double kStep = 1.0 / 8;
    static constexpr double kMayBeFull = 1 - kStep;  // the estimate of bytes is a little wrong
    static constexpr double kRemembered = 4096;      // records that the size is the average of, or so

    double fullness(std::size_t records) const {
        const auto count = static_cast<double>(records);
        return std::max(count / records_, count * size_ / bytes_);
    }

    double records_;
    double bytes_;
    double size_ = 0;        // bytes of a record, lately
    double last_ = 0;        // the fullness behind the last records taken
    double wake_below_ = 0;  // never: it was not full
};

}  // namespace topkd
