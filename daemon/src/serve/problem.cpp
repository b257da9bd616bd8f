#include "serve/problem.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string_view>

#include "serve/json_text.h"

namespace topkd {
namespace {

bool is_one_of(std::string_view code, std::initializer_list<std::string_view> codes) {
    return std::find(codes.begin(), codes.end(), code) != codes.end();
}

/// 0: not of these.
int status_of_arguments(std::string_view code) {
    // A bad value, a time or an interval that is none or too great, text that is none of the encoding
    if (is_one_of(code, {"22023", "22007", "22008", "22015", "22021", "22P02", "22P05"})) {
        return 400;
    }
    if (code == "42704") {
        return 404;  // no such counter
    }
    if (code == "42501") {
        return 403;
    }
    return 0;
}

/// 08: connection; 53: resources; 57P: shut down, starting, dropped; 57014: time-out; 40: conflict with recovery, deadlock;
/// 55P03: lock not available; 25006: read only, during a failover; 72000: snapshot too old.
bool may_pass(std::string_view code) {
    const std::string_view sql_class = code.substr(0, 2);
    return code.empty() || is_one_of(sql_class, {"08", "53", "40"}) || code.starts_with("57P") ||
           is_one_of(code, {"57014", "55P03", "25006", "72000"});
}

}  // namespace

const char* status_title(int status) {
    struct Title {
        int status;
        const char* text;
    };
    constexpr std::array kTitles{Title{400, "Bad Request"},        Title{403, "Forbidden"}, Title{404, "Not Found"},
                                 Title{405, "Method Not Allowed"}, Title{410, "Gone"},      Title{503, "Service Unavailable"}};
    const auto* found = std::find_if(kTitles.begin(), kTitles.end(), [status](const Title& title) { return title.status == status; });
    return found == kTitles.end() ? "Internal Server Error" : found->text;
}

std::string problem_json(const Problem& problem) {
    std::string text =
        fmt::format(R"({{"type":"about:blank","title":"{}","status":{},"detail":)", status_title(problem.status), problem.status);
    append_json_string(text, problem.detail);
    const auto add = [&text](const char* name, const std::string& value) {
        if (!value.empty()) {
            fmt::format_to(std::back_inserter(text), ",\"{}\":", name);
            append_json_string(text, value);
        }
    };
    add("hint", problem.hint);
    add("sqlstate", problem.sqlstate);
    return text + "}";
}

HttpResponse problem_response(const Problem& problem, const char* route) {
    HttpResponse response{.status = problem.status,
                          .headers = {{"Content-Type", "application/problem+json"}, {"Cache-Control", "no-store"}},
                          .body = http_body(problem_json(problem)),
                          .route = route};
    if (problem.is_passing()) {
        response.headers.emplace_back("Retry-After", "1");
    }
    return response;
}

Problem database_away(std::string detail) {
    return {.status = 503, .detail = std::move(detail), .hint = {}, .sqlstate = {}};
}

Problem problem_of(const SinkError& error) {
    // Other 55000 are the server's trouble, such as a table that was dropped.
    const bool is_expired = error.sqlstate == "55000" && error.primary.ends_with(" has expired");
    if (const int status = is_expired ? 410 : status_of_arguments(error.sqlstate); status != 0) {
        return {.status = status, .detail = error.primary, .hint = error.hint, .sqlstate = error.sqlstate};
    }
    if (error.sqlstate == "57014") {
        return {.status = 503, .detail = "the query took longer than --query-timeout", .hint = {}, .sqlstate = error.sqlstate};
    }
    if (may_pass(error.sqlstate)) {
        return {.status = 503, .detail = "the database is away or busy", .hint = {}, .sqlstate = error.sqlstate};
    }
    return {.status = 500, .detail = "the database could not answer; the server's log says why", .hint = {}, .sqlstate = error.sqlstate};
}

}  // namespace topkd
