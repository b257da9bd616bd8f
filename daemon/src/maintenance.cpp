#include "maintenance.h"

#include <spdlog/spdlog.h>

#include <algorithm>

namespace topkd {

using std::chrono::milliseconds;

namespace {

constexpr milliseconds kCancelPatience{500};

}  // namespace

Maintenance::Maintenance(Maintainer& maintainer, milliseconds interval) : maintainer_(maintainer), interval_(interval) {
    thread_ = std::thread([this] { loop(); });
}

Maintenance::~Maintenance() {
    stop();
    thread_.join();
}

void Maintenance::stop() {
    std::unique_lock lock(mutex_);
    stopping_ = true;
    changed_.notify_all();
    // A call that begins right now is stopped by no cancel that came before it; a broken connection stops it too.
    if (!ended_) {
        maintainer_.cancel();
        if (!changed_.wait_for(lock, kCancelPatience, [this] { return ended_; })) {
            maintainer_.abort();
        }
    }
}

void Maintenance::loop() {
    milliseconds wait{0};
    std::unique_lock lock(mutex_);
    while (!changed_.wait_for(lock, wait, [this] { return stopping_; })) {
        lock.unlock();
        const auto result = maintainer_.seal();
        lock.lock();
        if (!stopping_) {
            wait = wait_after(result);
        }
    }
    ended_ = true;
    changed_.notify_all();
}

milliseconds Maintenance::wait_after(const tl::expected<void, SinkError>& result) {
    if (result) {
        backoff_.reset();
        if (!trouble_.empty()) {
            trouble_.clear();
            spdlog::info("maintenance works again");
        }
        return interval_;
    }
    if (trouble_ != result.error().message) {
        trouble_ = result.error().message;
        spdlog::warn("maintenance: nothing is sealed, trying again: {}", trouble_);
    }
    return std::max(interval_, backoff_.next());
}

}  // namespace topkd
