#include "maintenance.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

namespace topkd {

using std::chrono::milliseconds;

namespace {

constexpr milliseconds kCancelPatience{500};

const char* failure_of(MaintenancePart part) {
    switch (part) {
        case MaintenancePart::kSeal:
            return "nothing is sealed";
        case MaintenancePart::kRollUp:
            return "nothing is rolled up";
        case MaintenancePart::kRefresh:
            return "no lists are made";
        case MaintenancePart::kPrepare:
            return "no long spans are prepared";
        case MaintenancePart::kExpire:
            return "nothing expires";
        case MaintenancePart::kPartitions:
            return "no partitions are made ahead";
    }
    return "";
}

}  // namespace

Maintenance::Maintenance(Maintainer& maintainer, milliseconds interval, Metrics* metrics)
    : maintainer_(maintainer), interval_(interval), metrics_(metrics) {
    for (std::size_t i = 0; i < turns_.size(); ++i) {
        turns_[i].part = kMaintenanceParts[i];
    }
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
    std::unique_lock lock(mutex_);
    for (;;) {
        // What has waited longest; parts due at the same time in their order. So no part waits longer than one step of each other.
        Turn& turn = *std::min_element(turns_.begin(), turns_.end(), [](const Turn& a, const Turn& b) { return a.due < b.due; });
        if (changed_.wait_until(lock, turn.due, [this] { return stopping_; })) {
            break;
        }
        lock.unlock();
        const Instant begun = std::chrono::steady_clock::now();
        const auto result = maintainer_.step(turn.part);
        const auto took = std::chrono::steady_clock::now() - begun;
        lock.lock();
        if (!stopping_) {  // what fails then was cancelled
            if (metrics_ != nullptr) {
                metrics_->maintained(turn.part, took, result.has_value());
            }
            plan_next(turn, result, std::chrono::steady_clock::now());
        }
    }
    ended_ = true;
    changed_.notify_all();
}

void Maintenance::plan_next(Turn& turn, const tl::expected<bool, SinkError>& result, Instant now) {
    const bool seals = turn.part == MaintenancePart::kSeal;
    const milliseconds rest = seals ? interval_ : interval_ * kRest;
    if (!result) {
        tell_trouble(turn, result.error().message);
        turn.due = now + std::max(rest, turn.backoff.next());
        return;
    }
    turn.backoff.reset();
    tell_end_of_trouble(turn);
    turn.due = *result && !seals ? now : now + rest;
    if (*result && seals) {
        for (Turn& other : turns_) {
            if (other.part != turn.part && other.trouble.empty()) {
                other.due = std::min(other.due, now);
            }
        }
    }
}

bool Maintenance::others_have(const Turn& turn, const std::string& trouble) const {
    return std::any_of(turns_.begin(), turns_.end(), [&](const Turn& other) { return &other != &turn && other.trouble == trouble; });
}

/// A server that is away is the trouble of all parts: one of them tells it.
void Maintenance::tell_trouble(Turn& turn, const std::string& trouble) {
    if (turn.trouble != trouble && !others_have(turn, trouble)) {
        spdlog::warn("maintenance: {}, trying again: {}", failure_of(turn.part), trouble);
    }
    turn.trouble = trouble;
}

void Maintenance::tell_end_of_trouble(Turn& turn) {
    const std::string trouble = std::exchange(turn.trouble, {});
    if (!trouble.empty() && !others_have(turn, trouble)) {
        spdlog::info("maintenance works again; it failed with: {}", trouble);
    }
}

}  // namespace topkd
