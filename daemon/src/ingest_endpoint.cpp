#include "ingest_endpoint.h"

#include <spdlog/spdlog.h>

#include <utility>

#include "serve/problem.h"

namespace topkd {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kLookInterval{200};
constexpr milliseconds kGrace{500};
constexpr unsigned kMaxConnections = 100;  // of scrapers and probes

// The labels of metrics, too
constexpr const char* kMetrics = "/metrics";
constexpr const char* kHealth = "/healthz";
constexpr const char* kReady = "/readyz";
constexpr const char* kOther = "other";

HttpResponse text_response(const char* type, std::string text, const char* route) {
    return {.status = 200,
            .headers = {{"Content-Type", type}, {"Cache-Control", "no-store"}},
            .body = http_body(std::move(text)),
            .route = route};
}

HttpResponse refusal(int status, std::string detail) {
    return problem_response({.status = status, .detail = std::move(detail), .hint = {}, .sqlstate = {}}, kOther);
}

}  // namespace

IngestEndpoint::IngestEndpoint(const std::string& conninfo, const std::string& counter, const Clock& clock)
    : clock_(clock),
      metrics_(Metrics::Program::kIngest, counter),
      probe_(conninfo),
      database_(
          [this](auto done) {
              probe_.ask([done = std::move(done)](bool answers) {
                  done(answers ? std::nullopt : std::optional(database_away("the database accepts no connection")));
              });
          },
          clock) {}

IngestEndpoint::~IngestEndpoint() {
    if (server_) {
        server_->stop(kGrace);
    }
}

tl::expected<void, std::string> IngestEndpoint::listen(const std::vector<std::string>& addresses) {
    if (addresses.empty()) {
        return {};
    }
    auto server = HttpServer::start(
        {.listen = addresses, .threads = 1, .max_connections = kMaxConnections},
        [this](const HttpRequest& request, const HttpReply& reply) { handle(request, reply); }, &metrics_);
    if (!server) {
        return tl::unexpected(std::move(server.error()));
    }
    server_ = std::move(*server);
    for (const std::string& address : server_->addresses()) {
        spdlog::info("metrics at {}{}", address.starts_with("unix:") ? "" : "http://", address);
    }
    return {};
}

void IngestEndpoint::update(const Pipeline& pipeline) {
    const Instant now = clock_.monotonic();
    if (now < look_at_) {
        return;
    }
    look_at_ = now + kLookInterval;
    metrics_.ingest_state(pipeline.state());
    set_trouble(pipeline.trouble());
}

void IngestEndpoint::handle(const HttpRequest& request, const HttpReply& reply) {
    const bool known = request.path == kMetrics || request.path == kHealth || request.path == kReady;
    if (!known) {
        reply.send(refusal(404, "here are /metrics, /healthz and /readyz"));
    } else if (request.method != "GET" && request.method != "HEAD") {
        HttpResponse refused = refusal(405, "only GET and HEAD are answered");
        refused.headers.emplace_back("Allow", "GET, HEAD");
        reply.send(std::move(refused));
    } else if (request.path == kMetrics) {
        reply.send(text_response("text/plain; version=0.0.4; charset=utf-8", metrics_.exposition(), kMetrics));
    } else if (request.path == kHealth) {
        reply.send(text_response("application/json", R"({"status":"ok"})", kHealth));
    } else {
        answer_ready(reply);
    }
}

/// What the consumer thread knows comes first; a silent topic tells it nothing of the database, so that is asked, too.
void IngestEndpoint::answer_ready(const HttpReply& reply) {
    if (std::string known = trouble(); !known.empty()) {
        reply.send(problem_response(database_away(std::move(known)), kReady));
        return;
    }
    database_.ask([reply](const std::optional<Problem>& problem) {
        reply.send(problem ? problem_response(*problem, kReady) : text_response("application/json", R"({"status":"ready"})", kReady));
    });
}

std::string IngestEndpoint::trouble() const {
    const std::lock_guard lock(mutex_);
    return trouble_;
}

void IngestEndpoint::set_trouble(std::string trouble) {
    const std::lock_guard lock(mutex_);
    trouble_ = std::move(trouble);
}

}  // namespace topkd
