#include "serve/routes.h"

#include <array>

#include "serve/list_request.h"

namespace topkd {
namespace {

// The labels of metrics, too
constexpr const char* kList = "/views/top-k";
constexpr const char* kStream = "/views/top-k/stream";
constexpr const char* kHealth = "/healthz";
constexpr const char* kReady = "/readyz";
constexpr const char* kMetrics = "/metrics";
constexpr const char* kPage = "/";
constexpr const char* kAssets = "/assets/";
constexpr const char* kOther = "other";

HttpResponse status_response(const char* status, const char* route) {
    return {.status = 200,
            .headers = {{"Content-Type", "application/json"}, {"Cache-Control", "no-store"}},
            .body = http_body(std::string(R"({"status":")") + status + "\"}"),
            .route = route};
}

Problem simple_problem(int status, std::string detail) {
    return {.status = status, .detail = std::move(detail), .hint = {}, .sqlstate = {}};
}

}  // namespace

void Routes::handle(const HttpRequest& request, const HttpReply& reply) const {
    struct Route {
        std::string_view path;
        void (Routes::*answer)(const HttpRequest&, const HttpReply&) const;
    };
    constexpr std::array kRoutes{Route{kList, &Routes::list},   Route{kStream, &Routes::stream},   Route{kHealth, &Routes::health},
                                 Route{kReady, &Routes::ready}, Route{kMetrics, &Routes::metrics}, Route{kPage, &Routes::page}};
    auto answer = request.path.starts_with(kAssets) ? &Routes::page : nullptr;
    for (const Route& route : kRoutes) {
        answer = route.path == request.path ? route.answer : answer;
    }
    if (answer == nullptr && request.malformed_query) {
        reply.send(problem_response(simple_problem(400, "the request's target is not percent-encoded UTF-8"), kOther));
    } else if (answer == nullptr) {
        reply.send(problem_response(simple_problem(404, "there is nothing under this path"), kOther));
    } else if (request.method != "GET" && request.method != "HEAD") {
        HttpResponse refused = problem_response(simple_problem(405, "only GET and HEAD are answered"), kOther);
        refused.headers.emplace_back("Allow", "GET, HEAD");
        reply.send(std::move(refused));
    } else {
        (this->*answer)(request, reply);
    }
}

void Routes::list(const HttpRequest& request, const HttpReply& reply) const {
    auto wanted = read_list_request(request, default_counter_);
    if (!wanted) {
        reply.send(problem_response(wanted.error(), kList));
        return;
    }
    // The request is gone when a query has been waited for: keep what the answer depends on.
    HttpRequest kept;
    for (const char* name : {"If-None-Match", "Accept-Encoding"}) {
        if (auto value = request.header(name)) {
            kept.headers.emplace_back(name, std::move(*value));
        }
    }
    parts_.cache.get(wanted->key, wanted->k, [reply, k = wanted->k, kept = std::move(kept)](const AnswerResult& answer) {
        reply.send(answer ? list_response(**answer, k, kept, kList) : problem_response(answer.error(), kList));
    });
}

void Routes::stream(const HttpRequest& request, const HttpReply& reply) const {
    auto wanted = read_list_request(request, default_counter_);
    if (wanted && wanted->key.at) {
        wanted = tl::unexpected(simple_problem(400, "a stream follows the present: it takes no parameter at"));
    }
    if (!wanted) {
        reply.send(problem_response(wanted.error(), kStream));
    } else if (request.method == "HEAD") {
        reply.send({.status = 200,
                    .headers = {{"Content-Type", "text/event-stream"}, {"Cache-Control", "no-store"}},
                    .body = {},
                    .route = kStream});
    } else {
        parts_.hub.follow(wanted->key, wanted->k, reply, kStream);
    }
}

void Routes::health(const HttpRequest&, const HttpReply& reply) const {
    reply.send(status_response("ok", kHealth));
}

void Routes::ready(const HttpRequest&, const HttpReply& reply) const {
    parts_.readiness.ask([reply](const std::optional<Problem>& problem) {
        reply.send(problem ? problem_response(*problem, kReady) : status_response("ready", kReady));
    });
}

void Routes::metrics(const HttpRequest&, const HttpReply& reply) const {
    reply.send({.status = 200,
                .headers = {{"Content-Type", "text/plain; version=0.0.4; charset=utf-8"}, {"Cache-Control", "no-store"}},
                .body = http_body(parts_.exposition()),
                .route = kMetrics});
}

void Routes::page(const HttpRequest& request, const HttpReply& reply) const {
    auto file = parts_.page(request);
    if (!file) {
        reply.send(problem_response(simple_problem(404, "there is nothing under this path"), kPage));
        return;
    }
    file->route = request.path == kPage ? kPage : "/assets";
    reply.send(std::move(*file));
}

}  // namespace topkd
