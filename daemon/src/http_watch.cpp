#include "http_watch.h"

#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <optional>

namespace topkd {
namespace {

/// None: not a TCP socket. Who can connect to a unix socket is trusted not to drip.
std::optional<std::uint64_t> bytes_received(int socket) {
    tcp_info info = {};
    socklen_t length = sizeof(info);
    if (::getsockopt(socket, IPPROTO_TCP, TCP_INFO, &info, &length) != 0 ||
        length < offsetof(tcp_info, tcpi_bytes_received) + sizeof(info.tcpi_bytes_received)) {
        return std::nullopt;
    }
    return info.tcpi_bytes_received;
}

// TCP_CLOSE_WAIT of netinet/tcp.h, which cannot stand beside linux/tcp.h
constexpr std::uint8_t kCloseWait = 8;

/// The client has closed, or will send no more, and everything it sent was read.
bool has_ended(int socket) {
    tcp_info info = {};
    socklen_t length = sizeof(info);
    int unread = 0;
    return ::getsockopt(socket, IPPROTO_TCP, TCP_INFO, &info, &length) == 0 && info.tcpi_state == kCloseWait &&
           ::ioctl(socket, FIONREAD, &unread) == 0 && unread == 0;
}

}  // namespace

ConnectionWatch::ConnectionWatch(Limits limits) : limits_(limits), thread_([this] { loop(); }) {}

ConnectionWatch::~ConnectionWatch() {
    {
        const std::lock_guard lock(stop_mutex_);
        stopping_ = true;
    }
    stopped_.notify_all();
    thread_.join();
}

ConnectionWatch::Entry* ConnectionWatch::add(int socket) {
    const std::lock_guard lock(mutex_);
    Entry& entry = entries_.emplace_front();
    entry.socket_ = socket;
    entry.place_ = entries_.begin();
    entry.since_ = std::chrono::steady_clock::now();
    size_.store(entries_.size(), std::memory_order_relaxed);
    return &entry;
}

void ConnectionWatch::remove(Entry* entry) {
    const std::lock_guard lock(mutex_);
    entries_.erase(entry->place_);
    size_.store(entries_.size(), std::memory_order_relaxed);
}

bool ConnectionWatch::is_too_slow(Entry& entry, std::chrono::steady_clock::time_point now) const {
    const std::uint32_t changes = entry.changes_.load(std::memory_order_relaxed);
    const Phase phase = entry.phase_.load(std::memory_order_relaxed);
    if (changes != entry.changes_seen_) {
        entry.changes_seen_ = changes;
        entry.since_ = now;
        entry.received_ = bytes_received(entry.socket_).value_or(0);
        entry.bytes_came_ = false;
        return false;
    }
    if (phase == Phase::kSending) {
        return now - entry.since_ > limits_.sending;
    }
    if (phase != Phase::kReading) {
        return false;
    }
    if (has_ended(entry.socket_)) {  // half a request, which the library waits to go on
        return true;
    }
    // An idle connection is no slow request: that begins with a byte. (The first request of one has 0 bytes before it.)
    if (!entry.bytes_came_) {
        const auto received = bytes_received(entry.socket_);
        entry.bytes_came_ = received && *received != entry.received_;
        entry.first_byte_ = now;
    }
    return entry.bytes_came_ && now - entry.first_byte_ > limits_.reading;
}

int ConnectionWatch::sweep(std::chrono::steady_clock::time_point now) {
    int cut = 0;
    const std::lock_guard lock(mutex_);
    for (Entry& entry : entries_) {
        if (is_too_slow(entry, now)) {
            ::shutdown(entry.socket_, SHUT_RDWR);  // its server sees the end, and closes it
            ++cut;
        }
    }
    return cut;
}

void ConnectionWatch::loop() {
    const auto interval = std::clamp(limits_.reading / 4, std::chrono::milliseconds(50), std::chrono::milliseconds(1000));
    std::unique_lock lock(stop_mutex_);
    while (!stopped_.wait_for(lock, interval, [this] { return stopping_; })) {
        lock.unlock();
        sweep(std::chrono::steady_clock::now());
        lock.lock();
    }
}

}  // namespace topkd
