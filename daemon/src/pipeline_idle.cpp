// Partitions of which no record comes. Idle ones: without records no event time passes, and a partition that stands still holds back the
// sealing of all. So the owner of a partition that is silent at its end lets the watermark follow the clock, at a distance. Only on proof
// that there is nothing to read: a consumer that is cut off, or waits for a transaction, sees the same silence.
#include <spdlog/spdlog.h>

#include "pipeline.h"

namespace topkd {

namespace {

constexpr std::chrono::milliseconds kIdleAdvanceInterval{2000};
/// Less is not worth a flush: with a silent broker it would be the jitter of how well the database's clock is known.
constexpr std::chrono::milliseconds kLeastAdvance{500};
constexpr std::chrono::milliseconds kSilenceInterval{1000};
constexpr std::chrono::seconds kCutOff{30};

}  // namespace

void Pipeline::advance_idle() {
    // With --exit-at-end the records are old and the clock has nothing to say about them.
    if (!config_.ends.empty() || !limits_ || must_resume_ || !connected_ || revocation_ || now_ < idle_advance_at_) {
        return;
    }
    bool advanced = false;
    for (const auto& [partition, state] : partitions_) {
        const std::optional<Millis> target = idle_watermark(state);
        if (target && (!state.watermark() || raw(*state.watermark()) + kLeastAdvance.count() <= raw(*target))) {
            batch_.advance_idle(partition, state.epoch(), state.position(), *target);
            advanced = true;
        }
    }
    if (advanced) {
        idle_advance_at_ = now_ + kIdleAdvanceInterval;
    }
}

// The proof of the end is some seconds old, and the silence proven only up to then: so is the clock that is followed.
std::optional<Millis> Pipeline::idle_watermark(const PartitionState& state) const {
    const std::optional<Millis> clock = database_clock_.bound(wall_, now_);
    const std::optional<ConfirmedEnd> end = source_.confirmed_end(state.partition());
    if (!clock || !end || end->offset != state.position() || !state.silent(end->as_of, limits_->idle_timeout)) {
        return std::nullopt;
    }
    const auto age = std::chrono::ceil<std::chrono::milliseconds>(now_ - std::min(end->as_of, now_));
    return Millis{raw(*clock) - age.count() - limits_->idle_timeout.count()};
}

// From here on the records that follow are judged by the advance, as they will be when they are read again behind it. Until
// here a record would have cancelled it (Batch::progress).
void Pipeline::adopt_idle_advances(const Batch& batch) {
    for (const auto& [partition, progress] : batch.partitions()) {
        const auto found = partitions_.find(partition);
        if (progress.idle() && progress.watermark && found != partitions_.end()) {
            found->second.raise_watermark(*progress.watermark);
        }
    }
}

// Such a partition looks idle to everybody else: known ends stand still with the broker, so it has no lag.
void Pipeline::watch_silence() {
    if (now_ < silence_at_) {
        return;
    }
    silence_at_ = now_ + kSilenceInterval;
    for (auto& [partition, state] : partitions_) {
        if (!state.reading()) {
            continue;
        }
        const Instant heard_of = std::max(state.heard_at(), source_.answered_since(partition).value_or(Instant{}));
        if (state.cut_off_at && heard_of > *state.cut_off_at) {
            spdlog::info("{}: its broker answers again", name_of(partition));
            state.cut_off_at.reset();
        } else if (!state.cut_off_at && now_ >= std::max(heard_of, state.started_at()) + kCutOff) {
            spdlog::warn("{}: no record for {} s, and its broker answers nothing", name_of(partition), kCutOff.count());
            state.cut_off_at = now_;
        }
    }
}

}  // namespace topkd
