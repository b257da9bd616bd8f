// The numbers that operators watch, by name and label, in Prometheus' text format. Any thread; every call is cheap.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "http_message.h"

namespace topkd {

class Metrics final : public HttpObserver {
  public:
    enum class Program { kIngest, kServe };

    explicit Metrics(Program program);
    ~Metrics() override;
    Metrics(const Metrics&) = delete;
    Metrics& operator=(const Metrics&) = delete;

    /// The body of /metrics, text format 0.0.4.
    std::string exposition();

    // HTTP, of both programs
    void request_done(const char* route, int status, std::chrono::nanoseconds took) override;
    void open_connections(std::int64_t count) override;
    void open_streams(std::int64_t count) override;

    // The cache of answers and the database behind it
    void cache_hit();     ///< answered from the cache
    void cache_shared();  ///< joined a query that was under way
    void cache_miss();    ///< began a query
    void query_done(std::chrono::nanoseconds took, bool ok);

  private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace topkd
