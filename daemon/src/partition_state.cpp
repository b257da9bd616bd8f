#include "partition_state.h"

namespace topkd {

void PartitionState::claim_failed(Instant retry_at) {
    claiming_ = false;
    claim_at_ = retry_at;
}

void PartitionState::claim_again(Instant at) {
    phase_ = Phase::kUnclaimed;
    claiming_ = false;
    reading_ = false;
    claim_at_ = at;
}

void PartitionState::fence(Instant until) {
    claim_again(until);
    phase_ = Phase::kFenced;
}

bool PartitionState::refuse(const std::string& reason, Instant retry_at) {
    claim_again(retry_at);
    phase_ = Phase::kRefused;
    const bool news = refusal_ != reason;
    refusal_ = reason;
    return news;
}

void PartitionState::adopt(const ClaimedPartition& claimed, Offset log_start) {
    phase_ = Phase::kHeld;
    claiming_ = false;
    reading_ = false;
    implausible_ = 0;
    epoch_ = claimed.epoch;
    committed_ = claimed.next_offset;
    position_ = committed_;
    committed_watermark_ = claimed.watermark;
    watermark_ = committed_watermark_;
    last_ = claimed.last;
    verifying_ = last_ && last_->offset >= log_start && last_->offset < committed_;
}

void PartitionState::hold() {
    if (phase_ == Phase::kRunning) {
        phase_ = Phase::kHeld;
        reading_ = false;
        position_ = committed_;
        watermark_ = committed_watermark_;
    }
}

StartAt PartitionState::start(Instant now) {
    started_at_ = now;
    if (phase_ == Phase::kHeld) {
        phase_ = Phase::kRunning;
        position_ = committed_;
        watermark_ = committed_watermark_;
    }
    reading_ = true;
    at_end_ = false;  // the source will tell again
    return {partition_, verifying_ ? last_->offset : position_};
}

PartitionState::Verdict PartitionState::examine(const Record& record) {
    if (verifying_) {
        if (record.offset < last_->offset) {
            return Verdict::kDrop;
        }
        if (record.offset == last_->offset && fingerprint_of(record) != *last_) {
            return Verdict::kMismatch;
        }
        verifying_ = false;  // seen, or compacted away: then there is nothing to compare with
    }
    return record.offset < position_ ? Verdict::kDrop : Verdict::kConsume;
}

bool PartitionState::examine_end(Offset end) {
    if (verifying_ && end <= last_->offset) {
        return false;
    }
    verifying_ = false;
    return true;
}

bool PartitionState::accept() {
    const bool was_refused = refused();
    if (was_refused) {
        refusal_.clear();
    }
    return was_refused;
}

void PartitionState::commit(const PartitionProgress& progress) {
    if (claimed() && progress.epoch == epoch_) {
        committed_ = progress.to;
        committed_watermark_ = std::max(committed_watermark_, progress.watermark);
        if (progress.last) {
            last_ = progress.last;
        }
        if (phase_ == Phase::kHeld) {
            position_ = committed_;
            watermark_ = committed_watermark_;
        }
    }
}

void PartitionState::heard(Instant now) {
    at_end_ = false;
    quiet_since_ = now;
}

}  // namespace topkd
