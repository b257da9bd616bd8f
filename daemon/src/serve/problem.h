// What goes wrong, as the client is told: RFC 7807's application/problem+json. Nothing here names SQL, hosts or connection strings;
// the log has the rest.
#pragma once

#include <string>

#include "http_message.h"
#include "sink_error.h"

namespace topkd {

struct Problem {
    int status = 500;
    std::string detail;    ///< a sentence for the client's developer
    std::string hint;      ///< what to do; empty: none
    std::string sqlstate;  ///< empty: not of the database

    /// The database is away or busy: it may do later what it did not now.
    bool is_passing() const { return status == 503; }
};

/// The reason phrase of a status that this server sends.
const char* status_title(int status);

/// One line of JSON.
std::string problem_json(const Problem& problem);

/// With Cache-Control: no-store, and Retry-After if it may pass.
HttpResponse problem_response(const Problem& problem, const char* route);

/// What a failed query is to a client. Only messages about its own arguments are passed on.
Problem problem_of(const SinkError& error);

/// Nothing could be asked, for a reason that may pass.
Problem database_away(std::string detail);

}  // namespace topkd
