// The protocol's SQL. Every call is one statement of an autocommit connection: claim and flush are transactions by
// themselves. One thread, cancel and abort excepted.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "pg_connection.h"
#include "sink.h"

namespace topkd {

struct PgSinkConfig {
    std::string conninfo;
    std::string counter;
    std::string topic;
    std::string member;  ///< unique to this process: what fences its earlier incarnations
    bool take_over = false;
};

class PgSink final : public Sink {
  public:
    explicit PgSink(PgSinkConfig config) : config_(std::move(config)), connection_(config_.conninfo, "topkd") {}

    /// The Kafka group whose claims these are. Set before the first claim: its default needs the database's name.
    void set_group(std::string group) { group_ = std::move(group); }

    /// The database connected to. Requires connected().
    std::string database() const { return connection_.database(); }

    /// Creates the counter, with defaults, if it does not exist; checks that we may ingest into it.
    tl::expected<void, SinkError> ensure_counter();

    tl::expected<void, SinkError> connect() override;
    bool connected() const override { return connection_.connected(); }
    tl::expected<ClaimResult, SinkError> claim(const ClaimRequest& request) override;
    tl::expected<FlushResult, SinkError> flush(const Batch& batch) override;
    tl::expected<std::vector<Hour>, SinkError> hours(Millis since, Millis until) override;
    void cancel() override { connection_.cancel(); }
    void abort() override { connection_.abort(); }

  private:
    tl::expected<void, SinkError> check_extension();

    PgSinkConfig config_;
    std::string group_;
    PgConnection connection_;
};

}  // namespace topkd
