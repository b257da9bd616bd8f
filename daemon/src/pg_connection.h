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

/// A check of --db for CLI11, before anything is logged: empty, or why libpq would not take it. Without any of its text, which may be a
/// piece of a password.
std::string refuse_connection_string(const std::string& text);

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

    /// The name is what pg_stat_activity shows, unless the connection string says otherwise. The session's settings are SQL, run after
    /// those that every session has.
    PgConnection(std::string conninfo, std::string application_name, std::string session = "")
        : conninfo_(std::move(conninfo)), application_name_(std::move(application_name)), session_(std::move(session)) {}
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

    /// Keeps a statement for the life of the connection; parameters are text.
    tl::expected<void, SinkError> prepare(const char* name, const char* sql);
    tl::expected<Result, SinkError> execute(const char* name, const std::vector<const char*>& parameters);

    /// Asks the server to give up the call in progress; the connection stays. Any thread.
    void cancel();

    /// Breaks the connection so that a call in progress fails soon. Any thread.
    void abort();

  private:
    struct ConnectionDelete {
        void operator()(PGconn* connection) const { PQfinish(connection); }
    };

    void replace(PGconn* connection);
    tl::expected<Result, SinkError> checked(Result result);
    SinkError error_of(const PGresult* result) const;

    std::string conninfo_;
    std::string application_name_;
    std::string session_;
    std::unique_ptr<PGconn, ConnectionDelete> connection_;
    std::mutex abort_mutex_;  // guards the two below, which other threads use: they end with the connection
    int socket_ = -1;
    std::shared_ptr<PGcancel> cancel_;
};

}  // namespace topkd
