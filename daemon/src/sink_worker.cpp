#include "sink_worker.h"

#include <pthread.h>

#include <cassert>
#include <utility>

#include "fault_point.h"

namespace topkd {

SinkWorker::SinkWorker(Sink& sink, Mode mode) : sink_(sink), mode_(mode) {
    if (mode_ == Mode::kThread) {
        thread_ = std::thread([this] { loop(); });
    }
}

SinkWorker::~SinkWorker() {
    {
        const std::lock_guard lock(mutex_);
        ending_ = true;
    }
    changed_.notify_all();
    if (thread_.joinable()) {
        sink_.abort();
        thread_.join();
    }
}

bool SinkWorker::idle() const {
    const std::lock_guard lock(mutex_);
    return !pending_ && !running_ && !done_;
}

void SinkWorker::submit(Job job) {
    {
        const std::lock_guard lock(mutex_);
        assert(!pending_ && !running_ && !done_);
        pending_.emplace(std::move(job));
    }
    changed_.notify_all();
}

std::optional<JobDone> SinkWorker::take() {
    const std::lock_guard lock(mutex_);
    return std::exchange(done_, std::nullopt);
}

void SinkWorker::wait(std::chrono::milliseconds timeout) {
    if (mode_ == Mode::kManual) {
        return;
    }
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, timeout, [this] { return done_.has_value(); });
}

void SinkWorker::cancel() {
    sink_.cancel();
}

void SinkWorker::abort() {
    sink_.abort();
}

void SinkWorker::run_pending() {
    std::optional<Job> job;
    {
        const std::lock_guard lock(mutex_);
        job = std::exchange(pending_, std::nullopt);
        running_ = job.has_value();
    }
    if (job) {
        JobDone done = run(std::move(*job));
        const std::lock_guard lock(mutex_);
        running_ = false;
        done_.emplace(std::move(done));
    }
}

JobDone SinkWorker::run(Job job) {
    JobDone done;
    if (std::holds_alternative<ConnectJob>(job)) {
        done.job = ConnectDone{sink_.connect()};
    } else if (auto* claim = std::get_if<ClaimJob>(&job)) {
        fault_point("before_claim");
        auto result = sink_.claim(claim->request);
        fault_point("after_claim");
        done.job = ClaimDone{std::move(claim->request), std::move(result)};
    } else if (auto* flush = std::get_if<FlushJob>(&job)) {
        const auto start = std::chrono::steady_clock::now();
        fault_point("before_flush");
        auto result = sink_.flush(flush->batch);
        fault_point("after_flush");
        done.job = FlushDone{std::move(flush->batch), std::move(result), std::chrono::steady_clock::now() - start};
    } else if (const auto* hours = std::get_if<HoursJob>(&job)) {
        done.job = HoursDone{sink_.hours(hours->since, hours->until)};
    }
    done.connected = sink_.connected();
    return done;
}

void SinkWorker::loop() {
    ::pthread_setname_np(::pthread_self(), "sink");  // as top -H and /proc show it
    for (;;) {
        std::optional<Job> job;
        {
            std::unique_lock lock(mutex_);
            changed_.wait(lock, [this] { return ending_ || pending_; });
            if (ending_) {
                return;
            }
            job = std::exchange(pending_, std::nullopt);
            running_ = true;
        }
        JobDone done = run(std::move(*job));
        {
            const std::lock_guard lock(mutex_);
            running_ = false;
            done_.emplace(std::move(done));
        }
        changed_.notify_all();
    }
}

}  // namespace topkd
