// Cuts off clients that are too slow: the library's own time-out is one of silence, which a byte now and then puts off for ever. And those
// that closed amid a request, which the library may not notice. Knows
// sockets and the clock only. A sweep looks at all of them; for that it asks the kernel how many bytes a TCP socket has received.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <list>
#include <mutex>
#include <thread>

namespace topkd {

class ConnectionWatch {
  public:
    enum class Phase : std::uint8_t {
        kReading,    ///< idle, or a request is coming in
        kHandling,   ///< its answer is being made: our own time
        kSending,    ///< the answer goes out
        kStreaming,  ///< an answer without an end goes out
    };

    /// One connection; its server's threads set the phase, the sweep reads it.
    class Entry {
      public:
        void enter(Phase phase) {
            phase_.store(phase, std::memory_order_relaxed);
            changes_.fetch_add(1, std::memory_order_relaxed);
        }

      private:
        friend class ConnectionWatch;
        using Instant = std::chrono::steady_clock::time_point;

        int socket_ = -1;
        std::list<Entry>::iterator place_{};
        std::atomic<Phase> phase_ = Phase::kReading;
        std::atomic<std::uint32_t> changes_ = 0;
        // The sweep's own
        std::uint32_t changes_seen_ = 0;
        Instant since_{};
        std::uint64_t received_ = 0;
        bool bytes_came_ = false;
        Instant first_byte_{};
    };

    struct Limits {
        std::chrono::milliseconds reading;  ///< from a request's first byte to the end of its headers
        std::chrono::milliseconds sending;  ///< for the whole of an answer that is none of streams
    };

    explicit ConnectionWatch(Limits limits);
    ~ConnectionWatch();
    ConnectionWatch(const ConnectionWatch&) = delete;
    ConnectionWatch& operator=(const ConnectionWatch&) = delete;

    /// The entry lives until remove, which must be called before the socket is closed. Any thread.
    Entry* add(int socket);
    void remove(Entry* entry);
    std::size_t size() const { return size_.load(std::memory_order_relaxed); }

    /// Shuts the sockets down that exceed a limit at `now`; called by the thread, and by tests. The number of them.
    int sweep(std::chrono::steady_clock::time_point now);

  private:
    bool is_too_slow(Entry& entry, std::chrono::steady_clock::time_point now) const;
    void loop();

    const Limits limits_;
    std::mutex mutex_;  // guards entries_, and with it that a socket in it is open
    std::list<Entry> entries_;
    std::atomic<std::size_t> size_ = 0;
    std::mutex stop_mutex_;
    std::condition_variable stopped_;
    bool stopping_ = false;
    std::thread thread_;
};

}  // namespace topkd
