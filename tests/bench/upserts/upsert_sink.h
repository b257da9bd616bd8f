// The design that the ingest benchmark compares topkd with: four plain tables, hour, day, month and all_time, each with a primary key and
// a btree for its list, written by INSERT … ON CONFLICT. A sink of topkd's own pipeline, so that consumer, decoder and sums are the
// same, and only what is written differs. A batch is one transaction: its sums in key order as binary arrays, and its offsets,
// compared and set. One consumer, UTC, no late events, no dead letters: it does less than topkd does, never more.
#pragma once

#include <libpq-fe.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "sink.h"

namespace topkd::bench {

class UpsertSink final : public Sink {
  public:
    explicit UpsertSink(std::string conninfo) : conninfo_(std::move(conninfo)) {}

    tl::expected<void, SinkError> connect() override;
    bool connected() const override { return connection_ && PQstatus(connection_.get()) == CONNECTION_OK; }
    tl::expected<ClaimResult, SinkError> claim(const ClaimRequest& request) override;
    tl::expected<FlushResult, SinkError> flush(const Batch& batch) override;
    tl::expected<std::vector<Hour>, SinkError> hours(Millis since, Millis until) override;

    /// Nothing of the benchmark gives up a call.
    void cancel() override {}
    void abort() override {}

  private:
    struct Delete {
        void operator()(PGconn* connection) const { PQfinish(connection); }
        void operator()(PGresult* result) const { PQclear(result); }
    };
    using Result = std::unique_ptr<PGresult, Delete>;

    /// Parameters are binary. The error's kind is kRefused: the benchmark ends with it.
    tl::expected<Result, SinkError> execute(const char* statement, const std::vector<std::string>& parameters);
    tl::expected<void, SinkError> command(const char* sql);
    tl::expected<void, SinkError> upsert(const char* span, const std::vector<Cell>& cells);
    SinkError failure(const PGresult* result) const;

    std::string conninfo_;
    std::unique_ptr<PGconn, Delete> connection_;
    std::map<std::int64_t, Hour> hours_;  // by start
};

}  // namespace topkd::bench
