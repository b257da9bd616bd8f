// One connection to PostgreSQL, in autocommit: every call is one statement. A connection that broke is never mended, open
// makes a new one. One thread, cancel and abort excepted. Knows nothing of topk but how its errors are classified.
#pragma once

#include <libpq-fe.h>

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <tl/expected.hpp>
#include <vector>

#include "sink_error.h"

namespace topkd {

class PgConnection {
  public:
    struct ResultDelete {
        void operator()(PGresult* result) const { PQclear(result); }
    };
    using Result = std::unique_ptr<PGresult, ResultDelete>;

    /// A text parameter, NULL when not given, or bytes sent as they are.
    struct Parameter {
        std::optional<std::string> text;
        bool binary = false;
    };

    /// The name is what pg_stat_activity shows, unless the connection string says otherwise.
    PgConnection(std::string conninfo, std::string application_name)
        : conninfo_(std::move(conninfo)), application_name_(std::move(application_name)) {}
    ~PgConnection();
    PgConnection(const PgConnection&) = delete;
    PgConnection& operator=(const PgConnection&) = delete;

    /// Replaces the connection by a new one, its session set up.
    tl::expected<void, SinkError> open();
    void close() { replace(nullptr); }
    bool connected() const;

    /// Requires connected().
    std::string database() const;

    tl::expected<Result, SinkError> query(const char* sql, const std::vector<Parameter>& parameters);

    /// Asks the server to give up the call in progress; the connection stays. Any thread.
    void cancel();

    /// Breaks the connection so that a call in progress fails soon. Any thread.
    void abort();

  private:
    struct ConnectionDelete {
        void operator()(PGconn* connection) const { PQfinish(connection); }
    };

    void replace(PGconn* connection);
    SinkError error_of(const PGresult* result) const;

    std::string conninfo_;
    std::string application_name_;
    std::unique_ptr<PGconn, ConnectionDelete> connection_;
    std::mutex abort_mutex_;  // guards the two below, which other threads use: they end with the connection
    int socket_ = -1;
    std::shared_ptr<PGcancel> cancel_;
};

}  // namespace topkd
