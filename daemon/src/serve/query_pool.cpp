#include "serve/query_pool.h"

#include <algorithm>

namespace topkd {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

namespace {

constexpr milliseconds kWatchInterval{100};
constexpr milliseconds kSlack{1000};  // the server's own time-out comes first, and tells more

}  // namespace

bool QueryPool::Job::claim() {
    const std::lock_guard lock(mutex);
    return !std::exchange(answered, true);
}

QueryPool::QueryPool(Config config, const ReaderFactory& factory, QueryObserver observer)
    : config_(config), observer_(std::move(observer)), trying_(config.connections) {
    for (unsigned i = 0; i < config_.connections; ++i) {
        workers_.push_back(std::make_unique<Worker>());
        workers_.back()->reader = factory();
    }
    for (const auto& worker : workers_) {
        worker->thread = std::thread([this, &worker = *worker] { loop(worker); });
    }
    watch_ = std::thread([this] { watch(); });
}

QueryPool::~QueryPool() {
    stop();
}

void QueryPool::stop() {
    std::deque<std::shared_ptr<Job>> left;
    {
        const std::lock_guard lock(mutex_);
        if (std::exchange(stopping_, true)) {
            return;
        }
        left.swap(jobs_);
        for (const auto& worker : workers_) {
            worker->reader->abort();
        }
    }
    jobs_changed_.notify_all();
    stop_changed_.notify_all();
    for (const auto& job : left) {
        if (job->claim()) {
            job->fail(database_away("the server is stopping"));
        }
    }
    for (const auto& worker : workers_) {
        worker->thread.join();
    }
    watch_.join();
}

void QueryPool::fetch(ListKey key, int k, std::function<void(ListResult)> done) {
    auto job = std::make_shared<Job>();
    job->fail = [done](Problem problem) { done(tl::unexpected(std::move(problem))); };
    job->run = [this, key = std::move(key), k, done = std::move(done)](ListReader& reader, Job& self) {
        const auto begun = steady_clock::now();
        ListResult result = reader.read(key, k);
        if (observer_) {
            observer_(steady_clock::now() - begun, result.has_value());
        }
        if (self.claim()) {
            done(std::move(result));
        }
    };
    submit(job);
}

void QueryPool::ping(std::function<void(std::optional<Problem>)> done) {
    auto job = std::make_shared<Job>();
    job->fail = [done](Problem problem) { done(std::move(problem)); };
    job->run = [done = std::move(done)](ListReader& reader, Job& self) {
        auto problem = reader.ping();
        if (self.claim()) {
            done(std::move(problem));
        }
    };
    submit(job);
}

/// Why a query is not even queued. Requires the mutex.
std::optional<Problem> QueryPool::refusal() const {
    if (stopping_) {
        return database_away("the server is stopping");
    }
    if (connected_ == 0 && trying_ == 0) {
        return last_problem_.value_or(database_away("the database is away"));
    }
    if (jobs_.size() >= config_.max_queue) {
        return database_away("too many queries wait for the database");
    }
    return std::nullopt;
}

void QueryPool::submit(const std::shared_ptr<Job>& job) {
    std::optional<Problem> refused;
    {
        const std::lock_guard lock(mutex_);
        refused = refusal();
        if (!refused) {
            job->deadline = steady_clock::now() + config_.query_timeout;
            jobs_.push_back(job);
        }
    }
    if (refused) {
        job->fail(std::move(*refused));
    } else {
        jobs_changed_.notify_one();
    }
}

void QueryPool::loop(Worker& worker) {
    std::unique_lock lock(mutex_);
    while (!stopping_) {
        if (worker.connected) {
            jobs_changed_.wait(lock, [this] { return stopping_ || !jobs_.empty(); });
            if (!stopping_) {
                work(worker, lock);
            }
        } else {
            reconnect(worker, lock);
        }
    }
}

void QueryPool::work(Worker& worker, std::unique_lock<std::mutex>& lock) {
    worker.job = std::move(jobs_.front());
    jobs_.pop_front();
    worker.job->deadline = steady_clock::now() + config_.query_timeout + kSlack;
    const std::shared_ptr<Job> job = worker.job;
    lock.unlock();
    job->run(*worker.reader, *job);
    lock.lock();
    worker.job = nullptr;
    if (!worker.reader->connected()) {
        worker.connected = false;
        --connected_;
        ++trying_;
        worker.next_attempt = {};
    }
}

/// One attempt, when its time has come; queries that wait fail with the last of those that are due.
void QueryPool::reconnect(Worker& worker, std::unique_lock<std::mutex>& lock) {
    if (worker.next_attempt != Time{}) {
        if (stop_changed_.wait_until(lock, worker.next_attempt, [this] { return stopping_; })) {
            return;
        }
        ++trying_;
    }
    lock.unlock();
    auto problem = worker.reader->ping();
    lock.lock();
    --trying_;
    if (!problem) {
        worker.connected = true;
        worker.backoff.reset();
        ++connected_;
        jobs_changed_.notify_one();
        return;
    }
    worker.next_attempt = steady_clock::now() + std::min(worker.backoff.next(), kLongestPause);
    last_problem_ = std::move(problem);
    if (connected_ > 0 || trying_ > 0) {
        return;
    }
    std::deque<std::shared_ptr<Job>> lost;
    lost.swap(jobs_);
    const Problem why = *last_problem_;
    lock.unlock();
    for (const auto& job : lost) {
        if (job->claim()) {
            job->fail(why);
        }
    }
    lost.clear();
    lock.lock();
}

void QueryPool::watch() {
    std::unique_lock lock(mutex_);
    while (!stop_changed_.wait_for(lock, kWatchInterval, [this] { return stopping_; })) {
        lock.unlock();
        give_up_overdue(steady_clock::now());
        lock.lock();
    }
}

void QueryPool::give_up_overdue(Time now) {
    std::vector<std::shared_ptr<Job>> overdue;
    {
        const std::lock_guard lock(mutex_);
        while (!jobs_.empty() && jobs_.front()->deadline < now) {  // in the order of their deadlines
            overdue.push_back(std::move(jobs_.front()));
            jobs_.pop_front();
        }
        for (const auto& worker : workers_) {
            if (worker->job && worker->job->deadline < now) {
                worker->reader->abort();
                overdue.push_back(worker->job);
            }
        }
    }
    for (const auto& job : overdue) {
        if (job->claim()) {
            job->fail(database_away("the database did not answer in time"));
        }
    }
}

}  // namespace topkd
