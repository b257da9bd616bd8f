#include "batch.h"

#include <algorithm>
#include <utility>

#include "fingerprint.h"

namespace topkd {

Fingerprint fingerprint_of(const Record& record) {
    return {.offset = record.offset, .timestamp_ms = record.timestamp ? raw(*record.timestamp) : -1, .crc = fingerprint(record)};
}

PartitionProgress& Batch::progress(Partition partition, std::int64_t epoch, Offset from) {
    const auto [entry, opened] = progress_.try_emplace(partition);
    if (opened) {
        entry->second.partition = partition;
        entry->second.epoch = epoch;
        entry->second.from = from;
        entry->second.to = from;
    } else if (entry->second.idle()) {
        entry->second.watermark.reset();
    }
    return entry->second;
}

void Batch::advance_idle(Partition partition, std::int64_t epoch, Offset at, Millis watermark) {
    if (const auto found = progress_.find(partition); found == progress_.end() || found->second.idle()) {
        progress(partition, epoch, at).watermark = watermark;
    }
}

bool Batch::release(Partition partition) {
    const auto found = progress_.find(partition);
    if (found != progress_.end() && found->second.idle()) {
        progress_.erase(found);
        return false;
    }
    return found != progress_.end();
}

bool Batch::consumes() const {
    return std::any_of(progress_.begin(), progress_.end(), [](const auto& one) { return !one.second.idle(); });
}

void Batch::count(Millis hour_start, std::string_view video_id, std::int64_t views) {
    deltas_.add(hour_start, video_id, views);
}

void Batch::count_late(Millis hour_start, std::string_view video_id, std::int64_t views) {
    late_.add(hour_start, video_id, views);
}

void Batch::bury(const Record& record, DeadReason reason) {
    DeadLetter letter{.partition = record.partition,
                      .offset = record.offset,
                      .timestamp = record.timestamp,
                      .reason = std::move(reason.text),
                      .key = std::nullopt,
                      .payload = std::nullopt};
    const std::size_t key_bytes = std::min(record.key.value_or("").size(), kPayloadBytes);
    const std::size_t value_bytes = std::min(record.value.value_or("").size(), kPayloadBytes);
    const std::size_t room = std::max<std::size_t>(kPayloadBytesPerBatch, records_ * kPayloadBytesPerRecord);
    if (payload_bytes_ + key_bytes + value_bytes <= room) {
        payload_bytes_ += key_bytes + value_bytes;
        if (record.key) {
            letter.key.emplace(record.key->substr(0, key_bytes));
        }
        if (record.value) {
            letter.payload.emplace(record.value->substr(0, value_bytes));
        }
        dead_bytes_ += key_bytes + value_bytes;
    }
    dead_bytes_ += sizeof(DeadLetter) + letter.reason.size();
    dead_.push_back(std::move(letter));
}

void Batch::clear() {
    deltas_.clear();
    late_.clear();
    dead_.clear();
    event_times_.clear();
    dead_bytes_ = 0;
    payload_bytes_ = 0;
    progress_.clear();
    records_ = 0;
}

}  // namespace topkd
