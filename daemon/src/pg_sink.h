// The protocol's SQL, on libpq; the only file with its API. One connection, autocommit, every call one statement: claim
// and flush are transactions by themselves. A connection that broke is never mended, connect makes a new one.
// One thread, abort excepted.
#pragma once

#include <libpq-fe.h>

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

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
    explicit PgSink(PgSinkConfig config) : config_(std::move(config)) {}
    ~PgSink() override;

    /// The Kafka group whose claims these are. Set before the first claim: its default needs the database's name.
    void set_group(std::string group) { group_ = std::move(group); }

    /// The database connected to. Requires connected().
    std::string database() const;

    /// Creates the counter, with defaults, if it does not exist; checks that we may ingest into it.
    tl::expected<void, SinkError> ensure_counter();

    tl::expected<void, SinkError> connect() override;
    bool connected() const override;
    tl::expected<ClaimResult, SinkError> claim(const ClaimRequest& request) override;
    tl::expected<FlushResult, SinkError> flush(const Batch& batch) override;
    tl::expected<std::vector<Hour>, SinkError> hours(Millis since, Millis until) override;
    void cancel() override;
    void abort() override;

  private:
    struct ConnectionDelete {
        void operator()(PGconn* connection) const { PQfinish(connection); }
    };
    struct ResultDelete {
        void operator()(PGresult* result) const { PQclear(result); }
    };
    using Result = std::unique_ptr<PGresult, ResultDelete>;

    /// A text parameter, NULL when not given, or bytes sent as they are.
    struct Parameter {
        std::optional<std::string> text;
        bool binary = false;
    };

    tl::expected<Result, SinkError> query(const char* sql, const std::vector<Parameter>& parameters);
    tl::expected<void, SinkError> check_extension();
    void replace_connection(PGconn* connection);
    SinkError error_of(const PGresult* result) const;

    PgSinkConfig config_;
    std::string group_;
    std::unique_ptr<PGconn, ConnectionDelete> connection_;
    std::mutex abort_mutex_;  // guards the two below, which other threads use: they end with the connection
    int socket_ = -1;
    std::shared_ptr<PGcancel> cancel_;
};

}  // namespace topkd
