// Runs the sink's blocking calls one after the other, so that the consumer thread never waits for the database: it
// submits a job when the worker is idle and takes the result when it is there. One job at a time is the protocol's
// order: nothing is claimed, resumed or flushed while a flush is under way.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <thread>
#include <variant>

#include "sink.h"

namespace topkd {

struct ConnectJob {};
struct ClaimJob {
    ClaimRequest request;
};
struct FlushJob {
    Batch batch;
};
struct HoursJob {
    Millis since{};
    Millis until{};
};
using Job = std::variant<ConnectJob, ClaimJob, FlushJob, HoursJob>;

struct ConnectDone {
    tl::expected<void, SinkError> result;
};
struct ClaimDone {
    ClaimRequest request;
    tl::expected<ClaimResult, SinkError> result;
};
struct FlushDone {
    Batch batch;
    tl::expected<FlushResult, SinkError> result;
    std::chrono::nanoseconds took{};
};
struct HoursDone {
    tl::expected<std::vector<Hour>, SinkError> result;
};
struct JobDone {
    std::variant<ConnectDone, ClaimDone, FlushDone, HoursDone> job;
    bool connected = false;  ///< whether the sink's connection outlived the job
};

class SinkWorker {
  public:
    /// Manual: no thread; jobs run when run_pending is called, so that a test decides about the order of events.
    enum class Mode { kThread, kManual };

    SinkWorker(Sink& sink, Mode mode);
    ~SinkWorker();  ///< aborts the job in progress and waits for it to end
    SinkWorker(const SinkWorker&) = delete;
    SinkWorker& operator=(const SinkWorker&) = delete;

    /// True when there is neither a job under way nor a result to take.
    bool idle() const;

    /// Requires idle().
    void submit(Job job);

    std::optional<JobDone> take();

    /// Until there is a result to take, or the timeout is over. Manual mode: returns at once.
    void wait(std::chrono::milliseconds timeout);

    /// Asks the database to give up the job under way, if any; its result is then an outage, unless it was quicker.
    void cancel();

    /// Breaks the job under way, if any; its result is then an outage, unless it was quicker.
    void abort();

    /// Manual mode: runs the submitted job, if any, on this thread.
    void run_pending();

  private:
    JobDone run(Job job);
    void loop();

    Sink& sink_;
    const Mode mode_;
    mutable std::mutex mutex_;
    std::condition_variable changed_;
    std::optional<Job> pending_;
    std::optional<JobDone> done_;
    bool running_ = false;
    bool ending_ = false;
    std::thread thread_;
};

}  // namespace topkd
