// What operators and schedulers ask a running ingest over HTTP: /metrics, /healthz, /readyz. It listens before anything else is tried, so
// that a start that waits for the brokers can be told from one that hangs.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <tl/expected.hpp>
#include <vector>

#include "clock.h"
#include "http_server.h"
#include "metrics.h"
#include "pg_probe.h"
#include "pipeline.h"
#include "serve/readiness.h"

namespace topkd {

class IngestEndpoint {
  public:
    IngestEndpoint(const std::string& conninfo, const std::string& counter, const Clock& clock);
    ~IngestEndpoint();

    /// Fails with a message for the operator.
    tl::expected<void, std::string> listen(const std::vector<std::string>& addresses);

    Metrics& metrics() { return metrics_; }

    /// Call often; looks at the pipeline a few times a second.
    void update(const Pipeline& pipeline);

    /// From now on it is not ready.
    void stopping() { set_trouble("stopping"); }

  private:
    void handle(const HttpRequest& request, const HttpReply& reply);
    void answer_ready(const HttpReply& reply);
    std::string trouble() const;
    void set_trouble(std::string trouble);

    const Clock& clock_;
    Metrics metrics_;
    Instant look_at_{};
    mutable std::mutex mutex_;
    std::string trouble_ = "starting";  // guarded by the mutex
    PgProbe probe_;
    Readiness database_;
    std::unique_ptr<HttpServer> server_;
};

}  // namespace topkd
