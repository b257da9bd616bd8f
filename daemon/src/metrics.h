// The numbers that operators watch, by name and label, in Prometheus' text format. Any thread; every call is cheap. What there is, and
// what it means, is the table of metrics_table.h; METRICS.md is that table as a page.
// The books of ingest count what was committed, once: they equal those in topk.kafka_progress as far as this process wrote them. Nothing
// is counted record by record, but flush by flush.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "http_message.h"
#include "types.h"

namespace topkd {

class Batch;
enum class MaintenancePart;
enum class SinkErrorKind;

/// What a batch adds to the books.
struct FlushBooks {
    std::int64_t counted = 0;
    std::int64_t late = 0;
    std::int64_t skipped = 0;
    std::map<std::string, std::int64_t, std::less<>> dead;  ///< by the part of the reason before its first colon
};

FlushBooks books_of(const Batch& batch);

/// What the consumer thread tells of itself several times a second.
struct IngestState {
    struct Lag {
        Partition partition{};
        std::int64_t records = 0;
    };
    std::uint64_t records_read = 0;
    std::size_t claimed = 0, waiting = 0, refused = 0;  ///< assigned partitions, by what became of them
    int topic_partitions = 0;                           ///< 0: not known yet
    std::vector<Lag> lags;
    std::optional<Millis> watermark;       ///< the least committed one of the claimed partitions; none if one has none
    std::optional<Millis> sealed_through;  ///< the counter's frontier as last heard
    bool database_up = false;              ///< the last call did not fail
};

class Metrics final : public HttpObserver {
  public:
    enum class Program { kIngest, kServe };
    enum class Rebalance { kAssigned, kRevoked, kLost };
    enum class Call { kConnect, kClaim, kFlush, kHours };

    /// Every metric of ingest has the counter as a label.
    explicit Metrics(Program program, const std::string& counter = {});
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

    // Ingest
    void flushed(const Batch& batch, std::chrono::nanoseconds took, Millis visible);  ///< committed; visible: the clock then
    void flush_failed(SinkErrorKind kind);
    void found_committed(const FlushBooks& books);  ///< of a flush that seemed to fail, and did not
    void call_failed(Call call);                    ///< to be tried again
    void rebalanced(Rebalance kind);
    void rewound();
    void ingest_state(const IngestState& state);
    void maintained(MaintenancePart part, std::chrono::nanoseconds took, bool ok);

  private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace topkd
