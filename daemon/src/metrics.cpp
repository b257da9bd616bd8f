#include "metrics.h"

namespace topkd {

struct Metrics::Impl {};

Metrics::Metrics(Program) {}
Metrics::~Metrics() = default;

std::string Metrics::exposition() {
    return {};
}

void Metrics::request_done(const char*, int, std::chrono::nanoseconds) {}
void Metrics::open_connections(std::int64_t) {}
void Metrics::open_streams(std::int64_t) {}
void Metrics::cache_hit() {}
void Metrics::cache_shared() {}
void Metrics::cache_miss() {}
void Metrics::query_done(std::chrono::nanoseconds, bool) {}

}  // namespace topkd
