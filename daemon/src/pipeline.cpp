#include "pipeline.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

namespace topkd {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::seconds;

namespace {

constexpr milliseconds kClaimPatience{1000};
constexpr milliseconds kClaimRetry{500};
constexpr milliseconds kLeaderlessRetry{2000};
constexpr milliseconds kDay{86'400'000};
/// Hours further back than this are loaded when an event asks for them: max_age may be set to centuries.
constexpr milliseconds kHoursLoadedAtMost{500 * kDay};

const char* name_of_call(const ConnectJob&) {
    return nullptr;  // has a limit of its own
}
const char* name_of_call(const ClaimJob& job) {
    return job.request.resumes() ? "a resume" : "a claim";
}
const char* name_of_call(const FlushJob&) {
    return "a flush";
}
const char* name_of_call(const HoursJob&) {
    return "a look at the hours";
}

constexpr Millis plus(Millis instant, milliseconds duration) {
    std::int64_t sum = 0;
    if (__builtin_add_overflow(raw(instant), duration.count(), &sum)) {
        sum = duration.count() > 0 ? raw(kTimestampEnd) : raw(kTimestampBegin);
    }
    return std::clamp(Millis{sum}, kTimestampBegin, kTimestampEnd);
}

}  // namespace

Pipeline::Pipeline(Source& source, SinkWorker& worker, const Clock& clock, PipelineConfig config)
    : source_(source), worker_(worker), clock_(clock), config_(std::move(config)), policy_(config_.flush_interval, config_.growing_bytes) {}

Pipeline::Status Pipeline::step() {
    now_ = clock_.monotonic();
    wall_ = clock_.wall();
    if (auto done = worker_.take()) {
        call_ended();
        tell_call_failed(*done);
        if (!done->connected) {
            connection_lost();
        }
        std::visit([this](auto& job) { finish(job); }, done->job);
        if (const auto* loaded = std::get_if<HoursDone>(&done->job); loaded == nullptr || loaded->result) {
            forget_outage();
        }
    }
    settle_revocation();
    unblock_claims();
    watch_call();
    if (status_ == Status::kRunning && !stopping_) {
        start_held();
    }
    if (status_ == Status::kRunning) {
        submit_next();
    }
    if (stopping_) {
        worker_.wait(milliseconds(50));
    } else if (status_ == Status::kRunning && !wait_while_full()) {
        poll_some();
        advance_idle();
        watch_silence();
        check_finished();
    }
    return status_;
}

void Pipeline::submit_next() {
    if (!worker_.idle() || (now_ < retry_at_ && !stopping_)) {
        return;
    }
    if (stopping_) {
        // Only a healthy connection can still flush in the time there is; otherwise the next start reads it again.
        if (!batch_.empty() && connected_ && !must_resume_) {
            submit_flush();
        }
        return;
    }
    if (policy_.waits_for_backlog(now_) && left_to_read() < FlushPolicy::kBacklogRecords) {
        policy_.backlog_is_read();
    }
    if (!connected_) {
        submit(ConnectJob{});
    } else if (must_resume_) {
        submit_resume();
    } else if (!submit_claim() && !submit_hours() && (policy_.due(batch_, now_) || (!batch_.empty() && finished_since_))) {
        submit_flush();
    }
}

void Pipeline::submit(Job job) {
    call_ = std::visit([](const auto& one) { return name_of_call(one); }, job);
    call_since_ = hung_since_ = clock_.monotonic();
    worker_.submit(std::move(job));
}

std::optional<TopicState> Pipeline::describe(const std::vector<Partition>& partitions) {
    if (now_ < describe_at_) {
        return std::nullopt;
    }
    auto topic = source_.describe(partitions);
    const Instant answered = clock_.monotonic();
    if (!topic) {
        describe_at_ = answered + describe_backoff_.next();
        if (!std::exchange(brokers_away_, true)) {
            spdlog::warn("cannot ask the brokers about {}: {}; trying again", config_.topic, topic.error());
        }
        return std::nullopt;
    }
    describe_backoff_.reset();
    topic_partitions_ = topic->partition_count;
    if (std::exchange(brokers_away_, false)) {
        spdlog::info("the brokers answer again");
    }
    const auto spent = std::chrono::duration_cast<milliseconds>(answered - now_);  // when nothing is read
    note_leaderless(*topic, answered + std::max(kLeaderlessRetry, 5 * spent));
    return std::move(*topic);
}

// One of them keeps the others from nothing: it is left out, and claimed anew when somebody can tell its bounds.
void Pipeline::note_leaderless(const TopicState& topic, Instant retry) {
    for (const auto& [partition, why] : topic.missing) {
        const auto found = partitions_.find(partition);
        if (found == partitions_.end()) {
            continue;
        }
        if (!std::exchange(found->second.leaderless, true)) {
            spdlog::warn("{} is not read: the brokers do not tell its bounds: {}; going on with the others", name_of(partition), why);
        }
        found->second.claim_again(retry);
    }
    for (const Partition partition : topic.partitions) {
        const auto found = partitions_.find(partition);
        if (found != partitions_.end() && std::exchange(found->second.leaderless, false)) {
            spdlog::info("{}: the brokers tell its bounds again", name_of(partition));
        }
    }
}

void Pipeline::submit_resume() {
    ClaimRequest request;
    for (const auto& [partition, state] : partitions_) {
        if (state.claimed()) {
            request.partitions.push_back(partition);
            request.epochs.push_back(state.epoch());
        }
    }
    if (request.partitions.empty()) {
        must_resume_ = false;
        flush_failing_ = false;
        database_works();
        return;
    }
    auto topic = describe(request.partitions);
    if (!topic || topic->partitions.size() != request.partitions.size()) {
        return;  // the next round resumes those that are left
    }
    request.topic = std::move(*topic);
    submit(ClaimJob{std::move(request)});
}

bool Pipeline::submit_claim() {
    ClaimRequest request;
    for (const auto& [partition, state] : partitions_) {
        if (state.claim_due(now_)) {
            request.partitions.push_back(partition);
        }
    }
    // Whoever lost the assignment must not take partitions away from their new owner.
    if (request.partitions.empty() || revocation_ || source_.assignment_lost()) {
        return false;
    }
    auto topic = describe(request.partitions);
    if (!topic || topic->partitions.empty()) {
        return false;
    }
    request.partitions = topic->partitions;
    request.topic = std::move(*topic);
    for (const Partition partition : request.partitions) {
        partitions_.at(partition).claim_sent();
    }
    submit(ClaimJob{std::move(request)});
    return true;
}

// A flush may wait for rows that a stopped or vanished member's transaction holds, and only the claim of that member's
// partitions ends that transaction. So a claim does not wait for a flush for long.
void Pipeline::unblock_claims() {
    const auto waits = [this](const auto& one) {
        return one.second.claim_due(now_) && !one.second.refused() && !one.second.leaderless && !one.second.unreadable_at;
    };
    // With brokers that do not answer no claim can be sent, and cancelling would only keep the flushes from ever ending.
    const bool sendable = !stopping_ && !revocation_ && !brokers_away_ && !source_.assignment_lost();
    const bool blocked = flush_in_flight_ && sendable && std::any_of(partitions_.begin(), partitions_.end(), waits);
    if (!blocked) {
        claims_blocked_since_.reset();
        return;
    }
    claims_blocked_since_ = claims_blocked_since_.value_or(now_);
    if (now_ >= *claims_blocked_since_ + kClaimPatience) {
        spdlog::info("a flush keeps a claim waiting; cancelling it, to be read again");
        worker_.cancel();
        flush_cancelled_ = true;
        claims_blocked_since_ = now_;
    }
}

bool Pipeline::submit_hours() {
    if (!limits_) {
        return false;
    }
    if (missing_hour_) {
        submit(HoursJob{plus(*missing_hour_, -2 * kDay), plus(*missing_hour_, 62 * kDay)});
        return true;
    }
    if (hours_ready() && !reload_hours_ && now_ < hours_refresh_at_) {
        return false;
    }
    const milliseconds back = std::min(limits_->max_age, kHoursLoadedAtMost) + kDay;
    submit(HoursJob{plus(wall_, -back), plus(wall_, limits_->max_clock_skew + 2 * kDay)});
    return true;
}

bool Pipeline::hours_ready() const {
    return limits_ && !hours_.empty() && hours_.covers_until() > plus(wall_, limits_->max_clock_skew + kDay / 2);
}

// Of the partitions that the batch has records of: what a dead broker has is not read, whatever there is. Nor is what lies behind a
// transaction that is open, where the source tells the end of the partition before the log's.
std::uint64_t Pipeline::left_to_read() const {
    std::uint64_t sum = 0;
    for (const auto& [partition, progress] : batch_.partitions()) {
        const auto found = partitions_.find(partition);
        const std::optional<Offset> known = source_.known_end(partition);
        if (progress.idle() || found == partitions_.end() || !found->second.reading() || found->second.at_end() || !known) {
            continue;
        }
        const std::int64_t left = raw(std::min(*known, end_of(partition).value_or(*known))) - raw(found->second.position());
        sum += static_cast<std::uint64_t>(std::max<std::int64_t>(left, 0));
    }
    return sum;
}

void Pipeline::submit_flush() {
    policy_.flush_started(batch_, left_to_read(), now_);
    flush_in_flight_ = true;
    flush_cancelled_ = false;
    adopt_idle_advances(batch_);
    submit(FlushJob{std::exchange(batch_, std::exchange(spare_, Batch{}))});
}

void Pipeline::tell_call_failed(const JobDone& done) {
    const auto tell = [this](const auto& job, Metrics::Call call) {
        if (!job.result && config_.metrics != nullptr) {
            config_.metrics->call_failed(call);
        }
    };
    if (const auto* connect = std::get_if<ConnectDone>(&done.job)) {
        tell(*connect, Metrics::Call::kConnect);
    } else if (const auto* claim = std::get_if<ClaimDone>(&done.job)) {
        tell(*claim, Metrics::Call::kClaim);
    } else if (const auto* flush = std::get_if<FlushDone>(&done.job)) {
        tell(*flush, Metrics::Call::kFlush);
    } else if (const auto* loaded = std::get_if<HoursDone>(&done.job)) {
        tell(*loaded, Metrics::Call::kHours);
    }
}

void Pipeline::finish(ConnectDone& done) {
    if (!done.result) {
        database_failed(done.result.error());
        return;
    }
    connected_ = true;
    database_works();
}

void Pipeline::finish(ClaimDone& done) {
    for (const Partition partition : done.request.partitions) {
        const auto found = partitions_.find(partition);
        if (found != partitions_.end() && found->second.claiming()) {
            found->second.claim_failed(now_ + kClaimRetry);  // until the result says otherwise; flushes go first
        }
    }
    if (done.result) {
        database_works();
        adopt(done.request, *done.result);
        return;
    }
    const SinkError& error = done.result.error();
    if (error.sqlstate == "55P03" && !done.request.resumes()) {
        spdlog::warn("cannot claim yet: {}", error.message);  // somebody holds a row; the other partitions' flushes go on
    } else if (error.kind == SinkErrorKind::kOutage || error.kind == SinkErrorKind::kProtocol) {
        database_failed(error);  // 22023: the broker asked knew less of the topic than the group's leader; it will learn
    } else if (error.kind == SinkErrorKind::kOtherCluster) {
        must_resume_ = false;
        for (const Partition partition : done.request.partitions) {
            if (const auto found = partitions_.find(partition); found != partitions_.end()) {
                refuse(found->second, error.message);
            }
        }
    } else {
        fail(error.message);
    }
}

void Pipeline::adopt(const ClaimRequest& request, const ClaimResult& result) {
    if (request.resumes()) {
        must_resume_ = false;
    }
    if (!result.partitions.empty()) {
        limits_ = result.limits;
    }
    database_clock_.heard(result.clock, now_);
    sealed_through_ = std::max(sealed_through_, result.sealed_through);
    settle_unknown_flush(request, result);
    for (const ClaimedPartition& claimed : result.partitions) {
        const auto found = partitions_.find(claimed.partition);
        const auto asked = std::find(request.partitions.begin(), request.partitions.end(), claimed.partition);
        if (found == partitions_.end() || asked == request.partitions.end()) {
            continue;  // revoked since
        }
        PartitionState& state = found->second;
        const auto index = asked - request.partitions.begin();
        if (request.resumes() && (!state.claimed() || state.epoch() != request.epochs[static_cast<std::size_t>(index)])) {
            continue;  // revoked and assigned again since
        }
        const Offset log_start = request.topic.log_starts[static_cast<std::size_t>(index)];
        switch (claimed.status) {
            case ClaimStatus::kOk:
                state.adopt(claimed, log_start);
                spdlog::debug("{}: {} at offset {}, epoch {}", name_of(claimed.partition), request.resumes() ? "resumed" : "claimed",
                              raw(claimed.next_offset), claimed.epoch);
                break;
            case ClaimStatus::kFenced:
                spdlog::warn("{}: claimed by another member; claiming again if it stays assigned here", name_of(claimed.partition));
                state.fence(now_ + 2 * config_.heartbeat_interval);
                break;
            default:
                implausible(state, claimed, log_start, request.topic.log_ends[static_cast<std::size_t>(index)]);
        }
    }
}

void Pipeline::finish(FlushDone& done) {
    flush_in_flight_ = false;
    if (done.result) {
        flush_succeeded(done);
    } else {
        flush_failed(done);
    }
    done.batch.clear();
    spare_ = std::move(done.batch);
}

void Pipeline::flush_succeeded(const FlushDone& done) {
    flush_failing_ = false;
    database_works();
    refusal_backoff_.reset();
    database_clock_.heard(done.result->clock, now_);
    sealed_through_ = std::max(sealed_through_, done.result->sealed_through);
    if (done.batch.consumes()) {  // what is said about flushes is about those with records
        policy_.flush_succeeded(done.batch.rows(), done.took);
        ++stats_.flushes;
        stats_.last_flush = std::chrono::duration_cast<milliseconds>(done.took);
    }
    unknown_flush_.reset();
    if (config_.metrics != nullptr) {
        config_.metrics->flushed(done.batch, done.took, wall_);
    }
    std::vector<StartAt> reached;
    for (const auto& [partition, progress] : done.batch.partitions()) {
        poisons_.erase(poisons_.lower_bound({partition, Offset{0}}), poisons_.lower_bound({partition, progress.to}));
        if (const auto found = partitions_.find(partition); found != partitions_.end()) {
            found->second.commit(progress);
            if (!progress.idle()) {
                reached.push_back({partition, progress.to});
            }
        }
    }
    source_.commit_hint(reached);
}

void Pipeline::finish(HoursDone& done) {
    if (!done.result) {
        if (done.result.error().kind == SinkErrorKind::kOutage) {
            database_failed(done.result.error());
        } else {
            fail(done.result.error().message);
        }
        return;
    }
    database_works();
    if (!hours_.load(std::move(*done.result)) || (missing_hour_ && hours_.find(*missing_hour_) == nullptr)) {
        fail("topk.hours returned hours that overlap or leave a hole");
        return;
    }
    if (!missing_hour_) {
        reload_hours_ = false;
        hours_refresh_at_ = now_ + hours(24);
    }
    missing_hour_.reset();
}

std::int64_t Pipeline::lag() const {
    std::int64_t sum = 0;
    for (const auto& [partition, state] : partitions_) {
        const std::optional<Offset> end = source_.known_end(partition);
        if (state.claimed() && end && *end > state.position()) {
            sum += raw(*end) - raw(state.position());
        }
    }
    return sum;
}

IngestState Pipeline::state() const {
    IngestState state{.records_read = stats_.records,
                      .topic_partitions = topic_partitions_,
                      .lags = {},
                      .watermark = std::nullopt,
                      .sealed_through = sealed_through_,
                      .database_up = connected_ && !database_away_};
    bool all_have_watermarks = true;
    for (const auto& [partition, one] : partitions_) {
        ++(one.refused() ? state.refused : one.claimed() ? state.claimed : state.waiting);
        if (!one.claimed()) {
            continue;
        }
        if (const std::optional<Offset> end = source_.known_end(partition)) {
            state.lags.push_back({partition, std::max<std::int64_t>(raw(*end) - raw(one.committed_offset()), 0)});
        }
        const std::optional<Millis> watermark = one.committed_watermark();
        all_have_watermarks = all_have_watermarks && watermark;
        state.watermark = std::min(state.watermark.value_or(kTimestampEnd), watermark.value_or(kTimestampEnd));
    }
    if (!all_have_watermarks) {
        state.watermark.reset();
    }
    return state;
}

std::string Pipeline::trouble() const {
    if (!connected_ || database_away_) {
        return "the database does not answer as it should";
    }
    if (!joined_) {
        return "no member of the consumer group yet";
    }
    for (const auto& [partition, state] : partitions_) {
        if (state.refused()) {
            return name_of(partition) + " is not read: its stored offset is not plausible; the log names the remedy";
        }
        if (state.leaderless) {
            return name_of(partition) + " is not read: it has no leader that answers";
        }
        if (state.unreadable_at) {
            return name_of(partition) + " is not read: what lies at its offset cannot be read; the log names the remedy";
        }
        if (state.cut_off_at) {
            return name_of(partition) + " is silent: its broker answers nothing";
        }
    }
    if (stuck_told_) {
        return "a call of the database is stuck; the log names the remedy";
    }
    return stopping_ ? "stopping" : "";
}

std::string Pipeline::name_of(Partition partition) const {
    return fmt::format("{}/{}", config_.topic, raw(partition));
}

}  // namespace topkd
