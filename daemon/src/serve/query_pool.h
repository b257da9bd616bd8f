// A few connections to the database, each with a thread, and a bounded queue of queries before them. Whoever asks gets an answer, or a
// problem, in bounded time: what waits too long, or hangs, is given up and its connection broken. Connections that were lost are made
// again in the background, with back-off; while there is none, and none is being tried, queries fail at once.
#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "backoff.h"
#include "serve/list_cache.h"
#include "serve/top_list.h"

namespace topkd {

class QueryPool final : public ListFetcher {
  public:
    struct Config {
        unsigned connections = 8;
        std::size_t max_queue = 4096;
        std::chrono::milliseconds query_timeout{5000};  ///< in the queue, and once more with the database
    };
    using ReaderFactory = std::function<std::unique_ptr<ListReader>()>;
    using QueryObserver = std::function<void(std::chrono::nanoseconds took, bool ok)>;

    /// How long the longest pause between two attempts to connect is.
    static constexpr std::chrono::milliseconds kLongestPause{1000};

    /// Begins to connect. The observer may be empty.
    QueryPool(Config config, const ReaderFactory& factory, QueryObserver observer);
    ~QueryPool() override;  ///< stop
    QueryPool(const QueryPool&) = delete;
    QueryPool& operator=(const QueryPool&) = delete;

    void fetch(ListKey key, int k, std::function<void(ListResult)> done) override;

    /// Whether the database answers now: none, or why not.
    void ping(std::function<void(std::optional<Problem>)> done);

    /// Fails what waits, breaks what runs, ends the threads. Once; a connect under way can hold it up for its time-out.
    void stop();

  private:
    using Time = std::chrono::steady_clock::time_point;

    /// A query; answered once, by its worker or by the watch.
    struct Job {
        std::function<void(ListReader&, Job&)> run;
        std::function<void(Problem)> fail;
        Time deadline{};
        std::mutex mutex{};
        bool answered = false;

        bool claim();  ///< true for the first who answers
    };
    struct Worker {
        std::unique_ptr<ListReader> reader;
        std::shared_ptr<Job> job;  ///< running; guarded by the pool's mutex
        bool connected = false;
        Time next_attempt{};
        Backoff backoff{};
        std::thread thread;
    };

    void submit(const std::shared_ptr<Job>& job);
    void loop(Worker& worker);
    void work(Worker& worker, std::unique_lock<std::mutex>& lock);
    void reconnect(Worker& worker, std::unique_lock<std::mutex>& lock);
    void watch();
    void give_up_overdue(Time now);
    std::optional<Problem> refusal() const;

    const Config config_;
    const QueryObserver observer_;
    mutable std::mutex mutex_;
    std::condition_variable jobs_changed_;  ///< for workers that are connected
    std::condition_variable stop_changed_;  ///< for those that are not, and for the watch
    std::deque<std::shared_ptr<Job>> jobs_;
    unsigned connected_ = 0;
    unsigned trying_ = 0;  ///< workers whose attempt to connect is under way or due at once
    std::optional<Problem> last_problem_;
    bool stopping_ = false;
    std::vector<std::unique_ptr<Worker>> workers_;
    std::thread watch_;
};

}  // namespace topkd
