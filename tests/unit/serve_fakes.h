// Fakes of the seams of `topkd serve`: a clock, a database that answers when the test says so, a client's side of replies and streams.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "serve/list_cache.h"

namespace topkd {

class ServeClock final : public Clock {
  public:
    Millis wall() const override { return Millis{1'800'000'000'000 + elapsed_}; }
    Instant monotonic() const override { return Instant{} + std::chrono::hours(1) + std::chrono::milliseconds(elapsed_); }
    void advance(std::int64_t ms) { elapsed_ += ms; }

  private:
    std::atomic<std::int64_t> elapsed_ = 0;
};

inline TopList list_of(int k, std::size_t size, Instant taken, std::int64_t most = 1'000'000) {
    TopList list{.k = k,
                 .entries = {},
                 .window_start = Millis{3'600'000},
                 .window_end = Millis{7'200'000},
                 .watermark = Millis{5'000'123},
                 .taken = taken};
    for (std::size_t i = 0; i < std::min(size, static_cast<std::size_t>(k)); ++i) {
        list.entries.push_back({"vid_" + std::to_string(i), most - static_cast<std::int64_t>(i)});
    }
    return list;
}

inline Problem problem_with(int status, std::string detail = "told so") {
    return {.status = status, .detail = std::move(detail), .hint = {}, .sqlstate = {}};
}

/// Queries wait until the test begins and answers them.
class ManualFetcher final : public ListFetcher {
  public:
    struct Query {
        ListKey key;
        int k;
        std::function<void(ListResult)> done;
    };

    void fetch(ListKey key, int k, std::function<void(ListResult)> done) override {
        const std::lock_guard lock(mutex_);
        queries_.push_back({std::move(key), k, std::move(done)});
        ++fetched_;
    }

    std::size_t waiting() const {
        const std::lock_guard lock(mutex_);
        return queries_.size();
    }
    int fetched() const {
        const std::lock_guard lock(mutex_);
        return fetched_;
    }

    /// Takes the oldest query out. Requires waiting() > 0.
    Query take() {
        const std::lock_guard lock(mutex_);
        Query query = std::move(queries_.front());
        queries_.pop_front();
        return query;
    }

  private:
    mutable std::mutex mutex_;
    std::deque<Query> queries_;
    int fetched_ = 0;
};

class FakeStream final : public HttpStream {
  public:
    bool send(HttpBody chunk) override {
        const std::lock_guard lock(mutex_);
        if (!is_gone_) {
            chunks_.push_back(*chunk);
        }
        return !is_gone_;
    }
    bool beat(HttpBody chunk) override { return send(std::move(chunk)); }
    void end() override { ended_ = true; }

    void leave() { is_gone_ = true; }
    bool ended() const { return ended_; }
    std::vector<std::string> chunks() const {
        const std::lock_guard lock(mutex_);
        return chunks_;
    }
    std::string last() const { return chunks().back(); }

  private:
    mutable std::mutex mutex_;
    std::vector<std::string> chunks_;
    std::atomic<bool> is_gone_ = false;
    std::atomic<bool> ended_ = false;
};

class FakeExchange final : public HttpExchange {
  public:
    void send(HttpResponse response) override {
        ++answers_;
        response_ = std::move(response);
    }
    std::shared_ptr<HttpStream> stream(HttpResponse head) override {
        ++answers_;
        response_ = std::move(head);
        stream_ = std::make_shared<FakeStream>();
        return stream_;
    }

    int answers() const { return answers_; }
    const HttpResponse& response() const { return *response_; }
    std::string body() const { return response_->body ? *response_->body : ""; }
    std::shared_ptr<FakeStream> stream() const { return stream_; }
    std::optional<std::string> field(std::string_view name) const {
        HttpRequest as_request;
        as_request.headers = response_->headers;
        return as_request.header(name);
    }

  private:
    int answers_ = 0;
    std::optional<HttpResponse> response_;
    std::shared_ptr<FakeStream> stream_;
};

inline HttpRequest get(std::string path, HttpFields query = {}, HttpFields headers = {}) {
    return {.method = "GET", .path = std::move(path), .query = std::move(query), .headers = std::move(headers)};
}

}  // namespace topkd
