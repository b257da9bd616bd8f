// The pipeline's other half: what the source delivers. Records become sums, late views or dead letters, one by one and in
// the partition's order; rebalances become changes of the set of partitions.
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "fault_point.h"
#include "pipeline.h"

namespace topkd {

using std::chrono::milliseconds;

namespace {

constexpr std::size_t kRecordsPerPoll = 512;
constexpr std::size_t kRecordsPerStep = 2048;
constexpr milliseconds kPollIdle{50};
constexpr milliseconds kPollBusy{10};
/// A full batch waits this long without reading, which keeps what librdkafka has fetched; then the partitions are
/// stopped, which throws that away, and rebalances are served again. Below any max.poll.interval.ms, and as long as a flush of a
/// full batch should take: a revocation would have to wait for that anyway.
constexpr milliseconds kFullWithoutPolling{FlushPolicy::kLongestFlush};
constexpr milliseconds kRevocationPatience{5000};
constexpr milliseconds kTroubleRetry{500};
constexpr milliseconds kRefusedRetry{5000};

}  // namespace

milliseconds Pipeline::poll_timeout() const {
    if (!worker_.idle()) {
        return kPollBusy;
    }
    if (batch_.empty()) {
        return kPollIdle;
    }
    const auto until = std::chrono::ceil<milliseconds>(policy_.next_flush() - now_);
    return std::clamp(until, milliseconds(0), kPollIdle);
}

void Pipeline::poll_some() {
    milliseconds timeout = poll_timeout();
    for (std::size_t read = 0; read < kRecordsPerStep;) {
        Delivery delivery = source_.poll(timeout, std::min(kRecordsPerPoll, policy_.room(batch_)));
        wall_ = clock_.wall();  // after the wait: a record is judged by a clock no older than itself
        read += delivery.records.size();
        on_records(delivery.records);
        const bool more = std::holds_alternative<EndOfPartition>(delivery.event) ||
                          (std::holds_alternative<Nothing>(delivery.event) && !delivery.records.empty());
        on_event(std::move(delivery.event));
        if (!more || status_ != Status::kRunning || policy_.full(batch_)) {
            return;
        }
        timeout = milliseconds(0);
    }
}

bool Pipeline::wait_while_full() {
    if (!policy_.full(batch_)) {
        full_since_.reset();
        return false;
    }
    full_since_ = full_since_.value_or(now_);
    if (now_ < *full_since_ + kFullWithoutPolling) {
        worker_.wait(kPollIdle);
        return true;
    }
    std::vector<Partition> stopping;
    for (auto& [partition, state] : partitions_) {
        if (state.reading()) {
            state.interrupt();
            stopping.push_back(partition);
        }
    }
    if (!stopping.empty() && !revocation_) {
        spdlog::debug("the batch is full and the database busy: {} partitions wait", stopping.size());
        source_.stop(stopping);
    }
    return false;
}

void Pipeline::on_event(SourceEvent event) {
    if (const auto* end = std::get_if<EndOfPartition>(&event)) {
        on_end(*end);
    } else if (const auto* assigned = std::get_if<Assigned>(&event)) {
        on_assigned(*assigned);
    } else if (const auto* revoked = std::get_if<Revoked>(&event)) {
        on_revoked(*revoked);
    } else if (const auto* partition = std::get_if<PartitionTrouble>(&event)) {
        on_trouble(*partition);
    } else if (const auto* unreadable = std::get_if<Unreadable>(&event)) {
        on_unreadable(*unreadable);
    } else if (const auto* trouble = std::get_if<SourceTrouble>(&event)) {
        on_trouble(*trouble);
    }
}

void Pipeline::on_records(std::span<const Record> records) {
    while (!records.empty()) {
        const Partition partition = records.front().partition;
        const auto behind =
            std::find_if(records.begin(), records.end(), [&](const Record& record) { return record.partition != partition; });
        const auto count = static_cast<std::size_t>(behind - records.begin());
        if (const auto found = partitions_.find(partition); found != partitions_.end()) {
            on_run(records.first(count), found->second);
        }
        records = records.subspan(count);
    }
}

// What is looked up by partition, or only the last record decides, is done once a run.
void Pipeline::on_run(std::span<const Record> records, PartitionState& state) {
    const std::optional<Offset> end = end_of(state.partition());
    const Record* last = nullptr;
    for (const Record& record : records) {
        if (!state.reading()) {
            break;  // of an earlier position, or of a partition that was stopped; it will be read again by whoever has it
        }
        const PartitionState::Verdict verdict = state.examine(record);
        if (verdict == PartitionState::Verdict::kDrop) {
            continue;
        }
        if (verdict == PartitionState::Verdict::kMismatch) {
            source_.stop({record.partition});
            refuse(state, fmt::format("the record at offset {} is not the one that was counted there: was the topic made "
                                      "again? To count what is there now: SELECT topk.reset_progress('{}', '{}', {}, "
                                      "<offset>, '<reason>');",
                                      raw(record.offset), config_.counter, config_.topic, raw(record.partition)));
            return;
        }
        if (last == nullptr) {
            hears_again(state);
        }
        if (end && record.offset >= *end) {
            pass_over(state, *end);
        } else if (consume(record, state)) {
            last = &record;
        } else {
            return;  // rewound: what was consumed before is gone, too
        }
    }
    if (last != nullptr) {
        PartitionProgress& progress = batch_.progress(state.partition(), state.epoch(), state.position());
        progress.last = fingerprint_of(*last);
        read_beyond(state);
    }
}

void Pipeline::read_beyond(PartitionState& state) {
    if (state.unreadable_at && state.position() > *state.unreadable_at) {
        spdlog::info("{} can be read again", name_of(state.partition()));
        state.unreadable_at.reset();
    }
}

void Pipeline::hears_again(PartitionState& state) {
    state.heard(now_);
    if (std::exchange(brokers_away_, false)) {
        spdlog::info("reading from the brokers again");
    }
    if (state.accept()) {
        spdlog::info("{}: read again from offset {}", name_of(state.partition()), raw(state.position()));
    }
}

void Pipeline::on_end(const EndOfPartition& end) {
    const auto found = partitions_.find(end.partition);
    if (found == partitions_.end() || !found->second.reading()) {
        return;
    }
    if (!found->second.examine_end(end.offset)) {
        on_trouble(PartitionTrouble{end.partition, "the log ends before the last record counted"});
        return;
    }
    if (found->second.accept()) {
        spdlog::info("{}: read again from offset {}", name_of(end.partition), raw(found->second.position()));
    }
    brokers_away_ = false;
    pass_over(found->second, std::min(end.offset, end_of(end.partition).value_or(end.offset)));
    found->second.reached_end();
    found->second.unreadable_at.reset();
}

bool Pipeline::consume(const Record& record, PartitionState& state) {
    Judgement judgement = judge(record, state);
    if (std::holds_alternative<HourMissing>(judgement)) {
        rewind("an hour was not loaded yet");
        return false;
    }
    PartitionProgress& progress = batch_.progress(record.partition, state.epoch(), state.position());
    progress.skipped += raw(record.offset) - raw(state.position());  // offsets that delivered no record
    if (auto* reason = std::get_if<DeadReason>(&judgement)) {
        bury(record, std::move(*reason), progress);
    } else {
        const auto& counted = std::get<Counted>(judgement);
        if (counted.late) {
            ++progress.late;
            ++stats_.late;
            batch_.count_late(counted.hour->start, counted.event.video_id, counted.event.views);
        } else {
            ++progress.counted;
            batch_.count(counted.hour->start, counted.event.video_id, counted.event.views);
            batch_.note_time(counted.event.time, wall_);
        }
        // An event may be ahead of the clock within the skew; it must not drag the watermark along.
        const Millis time = std::min({counted.event.time, record.timestamp.value_or(wall_), wall_});
        progress.watermark = std::max(progress.watermark.value_or(time), time);
        state.raise_watermark(time);
    }
    progress.to = next(record.offset);
    state.advance(progress.to);
    batch_.record_consumed();
    ++stats_.records;
    if (!config_.ends.empty() && past_end(state)) {
        source_.stop({record.partition});
        state.interrupt();
    }
    return true;
}

void Pipeline::bury(const Record& record, DeadReason reason, PartitionProgress& progress) {
    ++progress.dead;
    const auto poison = poisons_.find({record.partition, record.offset});
    Record buried = record;
    if (poison != poisons_.end() && poison->second.without_payload) {
        buried.key = buried.value = std::nullopt;
    }
    batch_.bury(buried, std::move(reason));
}

Pipeline::Judgement Pipeline::judge(const Record& record, const PartitionState& state) {
    if (!poisons_.empty()) {
        const auto poison = poisons_.find({record.partition, record.offset});
        if (poison != poisons_.end()) {
            return DeadReason{poison->second.reason};
        }
    }
    auto event = decoder_.decode(record);
    if (!event) {
        return std::move(event.error());
    }
    if (auto reason = check_limits(event->time, wall_, {limits_->max_age, limits_->max_clock_skew})) {
        return std::move(*reason);
    }
    const Hour* hour = hours_.find(event->time);
    if (hour == nullptr) {
        missing_hour_ = event->time;
        return HourMissing{};
    }
    return Counted{*event, hour, is_late(*hour, state.watermark(), sealed_through_, limits_->lateness)};
}

void Pipeline::pass_over(PartitionState& state, Offset to) {
    if (to > state.position()) {
        PartitionProgress& progress = batch_.progress(state.partition(), state.epoch(), state.position());
        progress.skipped += raw(to) - raw(state.position());
        progress.to = to;
        state.advance(to);
    }
    if (past_end(state) && state.reading()) {
        source_.stop({state.partition()});
        state.interrupt();
    }
}

void Pipeline::on_assigned(const Assigned& assigned) {
    fault_point("in_rebalance");
    joined_ = true;
    if (config_.metrics != nullptr) {
        config_.metrics->rebalanced(Metrics::Rebalance::kAssigned);
    }
    finished_since_.reset();
    spdlog::info("{}: {} partitions assigned", config_.topic, assigned.partitions.size());
    for (const Partition partition : assigned.partitions) {
        if (batch_.release(partition)) {
            rewind("a partition was assigned again");
        }
        partitions_.insert_or_assign(partition, PartitionState(partition, now_));
    }
    if (revocation_) {
        acknowledge_revocation();
    }
    source_.acknowledge_assigned();
}

void Pipeline::on_revoked(const Revoked& revoked) {
    fault_point("in_rebalance");
    finished_since_.reset();
    if (config_.metrics != nullptr) {
        config_.metrics->rebalanced(revoked.lost ? Metrics::Rebalance::kLost : Metrics::Rebalance::kRevoked);
    }
    spdlog::info("{}: {} partitions {}", config_.topic, revoked.partitions.size(), revoked.lost ? "lost" : "revoked");
    if (revocation_) {
        acknowledge_revocation();
    }
    revocation_ = PendingRevocation{revoked.partitions, revoked.lost ? now_ : now_ + kRevocationPatience, revoked.lost};
    bool contributed = false;
    for (const Partition partition : revoked.partitions) {
        contributed = batch_.release(partition) || contributed;
        partitions_.erase(partition);
        std::erase_if(poisons_, [&](const auto& poison) { return poison.first.first == partition; });
    }
    if (contributed) {
        rewind("partitions were revoked");
    }
    forget_outage();
    settle_revocation();
}

void Pipeline::settle_revocation() {
    if (!revocation_) {
        return;
    }
    const bool lost = revocation_->aborted && revocation_->deadline <= now_;
    if (flush_in_flight_ && !lost) {
        if (now_ < revocation_->deadline) {
            return;
        }
        spdlog::warn("a flush keeps a rebalance waiting; breaking the connection to the database");
        worker_.abort();
        revocation_->aborted = true;
        revocation_->deadline = now_ + kRevocationPatience;  // the flush fails well before; then the answer goes out
        return;
    }
    acknowledge_revocation();
}

void Pipeline::acknowledge_revocation() {
    const std::vector<Partition> partitions = std::exchange(revocation_, std::nullopt)->partitions;
    source_.acknowledge_revoked(partitions);
}

void Pipeline::on_trouble(const PartitionTrouble& trouble) {
    const auto found = partitions_.find(trouble.partition);
    if (found == partitions_.end()) {
        return;
    }
    spdlog::warn("{}: {}; claiming it again", name_of(trouble.partition), trouble.text);
    if (batch_.release(trouble.partition)) {
        rewind("a partition cannot be read on");
    }
    source_.stop({trouble.partition});
    const Instant retry = now_ + (found->second.refused() ? kRefusedRetry : kTroubleRetry);
    found->second.claim_again(retry);
}

// What was read before it stays in the batch: the position stands, and is read again from there.
void Pipeline::on_unreadable(const Unreadable& unreadable) {
    const auto found = partitions_.find(unreadable.partition);
    if (found == partitions_.end() || !found->second.reading()) {
        return;
    }
    PartitionState& state = found->second;
    source_.stop({unreadable.partition});
    state.interrupt(now_ + kRefusedRetry);
    if (std::exchange(state.unreadable_at, state.position()) != state.position()) {
        spdlog::error(
            "{} cannot be read on from offset {}: {}; it is tried again, and never passed over; hint: is a replica of the log damaged? To "
            "give up what cannot be read: SELECT topk.reset_progress('{}', '{}', {}, <offset behind it>, '<reason>');",
            name_of(unreadable.partition), raw(state.position()), unreadable.text, config_.counter, config_.topic,
            raw(unreadable.partition));
    }
}

void Pipeline::on_trouble(const SourceTrouble& trouble) {
    if (trouble.fatal) {
        fail(trouble.text);
    } else if (!std::exchange(brokers_away_, true)) {
        spdlog::warn("trouble with the brokers, waiting for them: {}", trouble.text);
    } else {
        spdlog::debug("still trouble with the brokers: {}", trouble.text);
    }
}

std::optional<Offset> Pipeline::end_of(Partition partition) const {
    if (config_.ends.empty()) {
        return std::nullopt;
    }
    const auto found = config_.ends.find(partition);
    return found == config_.ends.end() ? Offset{0} : found->second;  // it appeared later: nothing of it is wanted
}

bool Pipeline::past_end(const PartitionState& state) const {
    const std::optional<Offset> end = end_of(state.partition());
    return end && state.position() >= *end;
}

void Pipeline::check_finished() {
    if (config_.ends.empty() || !joined_ || revocation_) {
        return;
    }
    std::string refused;
    for (const auto& [partition, state] : partitions_) {
        if (state.refused() || (state.unreadable_at && state.committed_offset() >= *state.unreadable_at)) {
            refused = name_of(partition);
        } else if (!state.claimed() || !past_end(state) || state.verifying()) {
            finished_since_.reset();
            return;
        }
    }
    finished_since_ = finished_since_.value_or(now_);
    // The others' partitions are theirs to finish; those of a member that died are given away when its session has timed out, and this one
    // hears of it by its next heartbeat.
    const bool has_all = partitions_.size() >= config_.ends.size();
    const bool waited = now_ >= *finished_since_ + config_.session_timeout + 2 * config_.heartbeat_interval;
    if (batch_.empty() && worker_.idle() && (has_all || waited)) {
        if (refused.empty()) {
            status_ = Status::kFinished;
        } else {
            fail(refused + " could not be read; see above");
        }
    }
}

}  // namespace topkd
