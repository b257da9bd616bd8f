// What the pipeline does when something went wrong: tell it once, find out whether it was the batch's content, and the one
// way back from everything, the rewind. What is held is started again only when the database has said where.
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "pipeline.h"

namespace topkd {

using std::chrono::milliseconds;

namespace {

constexpr milliseconds kRefusedRetry{5000};
constexpr milliseconds kImplausibleRetry{500};
/// Flushes are made to take three seconds at most, claims give up after twelve.
constexpr milliseconds kStuckCall{15'000};
/// Longer than any statement may take (see pg_connection): a server that does not end it is one that hangs.
constexpr milliseconds kHungServer{330'000};

}  // namespace

void Pipeline::implausible(PartitionState& state, const ClaimedPartition& claimed, Offset start, Offset end) {
    // The bounds were read before the claim: a previous owner's last flush may have overtaken them. Look twice.
    if (state.implausible_again() < 2 && !state.refused()) {
        state.claim_again(now_ + kImplausibleRetry);
        return;
    }
    const auto going_on_from = [&](Offset offset) {
        return fmt::format("SELECT topk.reset_progress('{}', '{}', {}, {}, '<reason>');", config_.counter, config_.topic,
                           raw(state.partition()), raw(offset));
    };
    if (claimed.status == ClaimStatus::kBelowStart) {
        refuse(state,
               fmt::format("the stored offset {} is below the log's start {}: records were removed before they were counted; to go on "
                           "from {}: {}",
                           raw(claimed.next_offset), raw(start), raw(start), going_on_from(start)));
        return;
    }
    // What is read from the start of a log that was cut, and not made again, is counted twice.
    refuse(state,
           fmt::format("the stored offset {} is beyond the log's end {}; if a broker has just failed, wait: it is tried again; if the "
                       "log was cut (an unclean leader election), what is left was counted, to go on from its end: {} if the topic "
                       "was made again, to count it from its start: {}",
                       raw(claimed.next_offset), raw(end), going_on_from(end), going_on_from(start)));
}

void Pipeline::refuse(PartitionState& state, const std::string& reason) {
    if (state.refuse(reason, now_ + kRefusedRetry)) {
        spdlog::error("{} is not read: {}", name_of(state.partition()), reason);
    }
}

void Pipeline::flush_failed(const FlushDone& done) {
    const SinkError& error = done.result.error();
    rewind(error.message.c_str());
    discarded_at_stop_ = discarded_at_stop_ || (stopping_ && done.batch.consumes());
    must_resume_ = true;
    if (error.kind == SinkErrorKind::kOutage) {
        unknown_flush_ = UnknownFlush{books_of(done.batch), done.batch.partitions()};
    }
    if (config_.metrics != nullptr) {
        config_.metrics->flush_failed(error.kind);
    }
    switch (error.kind) {
        case SinkErrorKind::kFenced:
        case SinkErrorKind::kSealed:
            spdlog::info("flush refused, reading again: {}", error.message);
            break;
        case SinkErrorKind::kData:
            data_error(done.batch, error);
            break;
        case SinkErrorKind::kProtocol:
            spdlog::error("flush refused, loading the hours again: {}", error.message);
            reload_hours_ = true;
            hours_.clear();
            retry_at_ = now_ + refusal_backoff_.next();
            break;
        case SinkErrorKind::kOutage:
            flush_failing_ = true;
            database_failed(error);
            retry_at_ = std::max(retry_at_, now_ + refusal_backoff_.next());
            // Out of memory or locks, over the statement timeout: perhaps only because the batch is so big.
            if (done.batch.records() > 1 && !flush_cancelled_ &&
                (error.sqlstate == "53200" || error.sqlstate == "57014" || error.sqlstate == "XX000")) {
                policy_.cut_down(done.batch.records());
            }
            break;
        default:
            fail(error.message);
    }
}

void Pipeline::data_error(const Batch& batch, const SinkError& error) {
    if (batch.records() > 1) {
        policy_.cut_down(batch.records());
        spdlog::warn("the database refuses the content of a batch of {} records; trying {} at a time: {}", batch.records(),
                     *policy_.record_limit(), error.message);
        return;
    }
    const auto& progress = batch.partitions();
    const auto culprit = std::find_if(progress.begin(), progress.end(), [](const auto& one) { return one.second.last; });
    if (batch.records() == 0 || culprit == progress.end()) {
        database_failed(error);  // nothing to blame: wait and try again
        return;
    }
    const auto key = std::pair(culprit->first, culprit->second.last->offset);
    const auto [poison, found_now] = poisons_.try_emplace(key, Poison{"refused by the database: " + error.message, false});
    if (!found_now) {
        poison->second.without_payload = true;  // it was the dead letter that failed this time
        retry_at_ = now_ + refusal_backoff_.next();
    }
    spdlog::warn("{} offset {}: a dead letter, {}", name_of(key.first), raw(key.second), poison->second.reason);
}

/// A batch is committed whole or not at all, so any partition of it that is still ours tells.
void Pipeline::settle_unknown_flush(const ClaimRequest& request, const ClaimResult& result) {
    const std::optional<UnknownFlush> flush = std::exchange(unknown_flush_, std::nullopt);
    if (!flush || !request.resumes()) {
        return;
    }
    const bool committed = std::any_of(result.partitions.begin(), result.partitions.end(), [&](const ClaimedPartition& claimed) {
        const auto part = flush->partitions.find(claimed.partition);
        return claimed.status == ClaimStatus::kOk && part != flush->partitions.end() && !part->second.idle() &&
               part->second.epoch == claimed.epoch && part->second.to == claimed.next_offset;
    });
    if (!committed) {
        return;
    }
    flush_failing_ = false;  // there may be nothing left to flush that could say so
    database_works();
    if (config_.metrics != nullptr) {
        config_.metrics->found_committed(flush->books);
    }
}

void Pipeline::watch_call() {
    if (call_ == nullptr || now_ < call_since_ + kStuckCall) {
        return;
    }
    const auto took = std::chrono::duration_cast<std::chrono::seconds>(now_ - call_since_).count();
    if (!std::exchange(stuck_told_, true)) {
        spdlog::warn(
            "{} has been under way for {} s: it waits for a lock, a standby, or the server for its disk; hint: "
            "SELECT pid, wait_event_type, wait_event, pg_blocking_pids(pid) FROM pg_stat_activity WHERE application_name = 'topkd'",
            call_, took);
    }
    if (now_ >= hung_since_ + kHungServer) {
        spdlog::warn("{} has been under way for {} s, longer than a statement may take; breaking the connection to the database", call_,
                     took);
        worker_.abort();
        hung_since_ = now_;
    }
}

void Pipeline::call_ended() {
    if (std::exchange(stuck_told_, false)) {
        spdlog::info("{} has ended after {} s", call_, std::chrono::duration_cast<std::chrono::seconds>(now_ - call_since_).count());
    }
    call_ = nullptr;
}

/// Without partitions there is no flush, nor anything else, that could tell that an outage is over.
void Pipeline::forget_outage() {
    if (partitions_.empty() && connected_ && !must_resume_ && worker_.idle()) {
        flush_failing_ = false;
        database_works();
    }
}

void Pipeline::connection_lost() {
    if (std::exchange(connected_, false)) {
        rewind("the connection to the database broke");
        must_resume_ = true;
    }
}

void Pipeline::database_failed(const SinkError& error) {
    retry_at_ = now_ + backoff_.next();
    const bool news = std::exchange(database_trouble_, error.message) != error.message;
    if (!std::exchange(database_away_, true) || news) {
        spdlog::warn("the database does not answer as it should, waiting for it: {}", error.message);
    } else {
        spdlog::debug("still waiting for the database: {}", error.message);
    }
}

void Pipeline::database_works() {
    backoff_.reset();
    if (!flush_failing_ && std::exchange(database_away_, false)) {
        database_trouble_.clear();
        spdlog::info("the database works again");
    }
}

void Pipeline::rewind(const char* reason) {
    std::vector<Partition> stopping;
    for (auto& [partition, state] : partitions_) {
        if (state.reading()) {
            stopping.push_back(partition);
        }
        state.hold();
    }
    if (batch_.consumes() || !stopping.empty()) {
        ++stats_.rewinds;
        if (config_.metrics != nullptr) {
            config_.metrics->rewound();
        }
        spdlog::debug("rewinding {} partitions: {}", stopping.size(), reason);
    }
    discarded_at_stop_ = discarded_at_stop_ || (stopping_ && batch_.consumes());
    batch_.clear();
    // While a revocation waits for its answer everything is paused anyway, and stopping would be taken for the answer.
    if (!stopping.empty() && !revocation_) {
        source_.stop(stopping);
    }
}

void Pipeline::start_held() {
    if (must_resume_ || !connected_ || missing_hour_ || revocation_ || !hours_ready() || policy_.full(batch_) || now_ < retry_at_) {
        return;
    }
    std::vector<StartAt> starts;
    for (auto& [partition, state] : partitions_) {
        // Somebody may have given up what cannot be read: the database knows.
        if (state.may_go_on(now_) && state.unreadable_at && state.position() == state.committed_offset()) {
            batch_.release(partition);
            state.claim_again(now_);
            continue;
        }
        // What is held starts where the database is, and a flush under way is about to move that.
        const bool waits = (state.phase() == Phase::kHeld && !flush_in_flight_) || state.may_go_on(now_);
        if (!waits) {
            continue;
        }
        if (!past_end(state) || state.verifying()) {
            starts.push_back(state.start(now_));
        }
        if (!state.verifying() && state.accept()) {
            spdlog::info("{}: read again from offset {}", name_of(partition), raw(state.position()));
        }
    }
    if (!starts.empty() && !source_.start(starts)) {
        // Whatever made it fail (a rebalance under way), the claim will find out.
        rewind("the source could not start");
        for (const StartAt& start : starts) {
            partitions_.at(start.partition).claim_again(now_ + kImplausibleRetry);
        }
    }
}

void Pipeline::fail(const std::string& reason) {
    status_ = Status::kFailed;
    failure_ = reason;
}

}  // namespace topkd
