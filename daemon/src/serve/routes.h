// Which path is answered by what. Knows neither sockets nor the database: those are behind the server, the cache and the hub.
#pragma once

#include <string>

#include "http_message.h"
#include "serve/list_cache.h"
#include "serve/readiness.h"
#include "serve/stream_hub.h"

namespace topkd {

class Routes {
  public:
    struct Parts {
        ListCache& cache;
        StreamHub& hub;
        Readiness& readiness;
        std::function<std::string()> exposition;                                      ///< the body of /metrics
        std::function<std::optional<HttpResponse>(const HttpRequest& request)> page;  ///< of "/" and "/assets/…"; none: no such file
    };

    Routes(Parts parts, std::string default_counter) : parts_(std::move(parts)), default_counter_(std::move(default_counter)) {}

    /// Answers every request, now or later. Any thread.
    void handle(const HttpRequest& request, const HttpReply& reply) const;

  private:
    void list(const HttpRequest& request, const HttpReply& reply) const;
    void stream(const HttpRequest& request, const HttpReply& reply) const;
    void health(const HttpRequest& request, const HttpReply& reply) const;
    void ready(const HttpRequest& request, const HttpReply& reply) const;
    void metrics(const HttpRequest& request, const HttpReply& reply) const;
    void page(const HttpRequest& request, const HttpReply& reply) const;

    const Parts parts_;
    const std::string default_counter_;
};

}  // namespace topkd
