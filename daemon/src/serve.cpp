#include "serve.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <unistd.h>
#include <CLI/Error.hpp>

#include <csignal>
#include <memory>
#include <thread>

#include "exit_watch.h"
#include "http_server.h"
#include "metrics.h"
#include "options.h"
#include "pg_connection.h"
#include "serve/list_cache.h"
#include "serve/page.h"
#include "serve/pg_list_reader.h"
#include "serve/query_pool.h"
#include "serve/readiness.h"
#include "serve/routes.h"
#include "serve/stream_hub.h"

namespace topkd {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kGrace{5000};          // for answers under way when asked to stop
constexpr milliseconds kLeaveDatabase{2000};  // a connect that hangs does not hold up the exit
constexpr const char* kHangs = "the database hangs; exiting without it";
constexpr unsigned kMaxPool = 1000;
constexpr unsigned kMaxThreads = 16;

struct ServeOptions {
    std::string db;
    std::vector<std::string> listen{"127.0.0.1:8080"};
    std::string counter = "video_views";
    unsigned pool = 8;
    unsigned threads = std::clamp(std::thread::hardware_concurrency(), 1u, 4u);
    unsigned max_connections = 20'000;
    milliseconds cache{250};
    milliseconds request_timeout{10'000};
    milliseconds query_timeout{5000};
    milliseconds stream_interval{250};
};

class CacheMetrics final : public CacheObserver {
  public:
    explicit CacheMetrics(Metrics& metrics) : metrics_(metrics) {}
    void hit() override { metrics_.cache_hit(); }
    void shared() override { metrics_.cache_shared(); }
    void miss() override { metrics_.cache_miss(); }

  private:
    Metrics& metrics_;
};

/// SIGTERM and SIGINT are taken by `wait` only: the threads that are started meanwhile inherit that they are blocked.
class StopSignals {
  public:
    StopSignals() {
        ::sigemptyset(&signals_);
        ::sigaddset(&signals_, SIGTERM);
        ::sigaddset(&signals_, SIGINT);
        ::pthread_sigmask(SIG_BLOCK, &signals_, nullptr);
        std::signal(SIGPIPE, SIG_IGN);
    }

    void wait() const {
        int signal = 0;
        while (::sigwait(&signals_, &signal) != 0) {
        }
    }

    /// From now on another signal ends the process at once: nothing here can be lost.
    void let_kill() const {
        struct sigaction action = {};
        action.sa_handler = [](int) { ::_exit(1); };
        ::sigaction(SIGTERM, &action, nullptr);
        ::sigaction(SIGINT, &action, nullptr);
        ::pthread_sigmask(SIG_UNBLOCK, &signals_, nullptr);
    }

  private:
    sigset_t signals_ = {};
};

/// Everything between the socket and the database; members in the order in which they need each other.
class Service {
  public:
    explicit Service(const ServeOptions& options)
        : metrics_(Metrics::Program::kServe),
          cache_metrics_(metrics_),
          pool_(
              {.connections = options.pool, .query_timeout = options.query_timeout},
              [this, &options] { return std::make_unique<PgListReader>(options.db, options.query_timeout, clock_, trouble_); },
              [this](std::chrono::nanoseconds took, bool ok) { metrics_.query_done(took, ok); }),
          cache_({.period = options.cache}, pool_, clock_, &cache_metrics_),
          hub_({.interval = options.stream_interval}, cache_, clock_),
          readiness_([this](auto done) { pool_.ping(std::move(done)); }, clock_),
          routes_({cache_, hub_, readiness_, [this] { return metrics_.exposition(); }, page_response}, options.counter) {}

    tl::expected<std::unique_ptr<HttpServer>, std::string> listen(HttpServerConfig config) {
        return HttpServer::start(
            std::move(config), [this](const HttpRequest& request, const HttpReply& reply) { routes_.handle(request, reply); }, &metrics_);
    }

    /// After the server: nobody asks any more.
    void stop() {
        trouble_->hush();
        hub_.stop();
        pool_.stop();  // the cache's callbacks end with it
    }

  private:
    const SystemClock clock_;
    const std::shared_ptr<TroubleLog> trouble_ = std::make_shared<TroubleLog>();
    Metrics metrics_;
    CacheMetrics cache_metrics_;
    QueryPool pool_;
    ListCache cache_;
    StreamHub hub_;
    Readiness readiness_;
    Routes routes_;
};

int serve(const ServeOptions& options) {
    const StopSignals signals;
    Service service(options);
    auto server = service.listen({.listen = options.listen,
                                  .threads = options.threads,
                                  .max_connections = options.max_connections,
                                  .other_files = options.pool,
                                  .request_timeout = options.request_timeout});
    if (!server) {
        spdlog::error("{}", server.error());
        const ExitWatch watch(kLeaveDatabase, 1, kHangs);
        service.stop();
        return 1;
    }
    for (const std::string& address : (*server)->addresses()) {
        spdlog::info("listening on {}{}", address.starts_with("unix:") ? "" : "http://", address);
    }
    signals.wait();
    signals.let_kill();
    spdlog::info("stopping");
    (*server)->stop(kGrace);
    const ExitWatch watch(kLeaveDatabase, 0, kHangs);
    service.stop();
    server->reset();
    spdlog::info("stopped");
    return 0;
}

/// What only the whole of the options shows; a usage error, exit code 2.
void validate(const ServeOptions& options) {
    const auto refuse_unless = [](bool fine, const char* option, const std::string& why) {
        if (!fine) {
            throw CLI::ValidationError(option, why);
        }
    };
    for (const std::string& address : options.listen) {
        const auto checked = check_listen_address(address);
        refuse_unless(checked.has_value(), "--listen", checked ? "" : checked.error());
    }
    refuse_unless(options.pool >= 1 && options.pool <= kMaxPool, "--pool", fmt::format("from 1 to {}", kMaxPool));
    refuse_unless(options.threads >= 1 && options.threads <= kMaxThreads, "--threads", fmt::format("from 1 to {}", kMaxThreads));
    refuse_unless(options.max_connections >= 1 && options.max_connections <= 1'000'000, "--max-connections", "from 1 to 1000000");
    refuse_unless(options.request_timeout >= milliseconds(100), "--request-timeout", "at least 100ms");
    refuse_unless(options.query_timeout >= milliseconds(1), "--query-timeout", "at least 1ms");
    refuse_unless(options.stream_interval >= milliseconds(10), "--stream-interval", "at least 10ms");
    refuse_unless(!options.counter.empty(), "--counter", "must not be empty");
}

}  // namespace

void register_serve(CLI::App& app, int& exit_code) {
    CLI::App* command = app.add_subcommand("serve", "Serve the lists over HTTP, with a live page, health and metrics");
    const auto options = std::make_shared<ServeOptions>();
    command->add_option("--db", options->db, "libpq connection string or URI, of several hosts too; empty: libpq's environment")
        ->type_name("CONNINFO")
        ->check(refuse_connection_string);
    command->add_option("--listen", options->listen, "host:port, [::1]:port or unix:/path, repeatable; port 0: any that is free")
        ->capture_default_str()
        ->type_name("ADDRESS");
    command->add_option("--counter", options->counter, "The counter of requests that name none")->capture_default_str();
    command->add_option("--pool", options->pool, "Connections to the database")->capture_default_str();
    command->add_option("--threads", options->threads, "Threads for each address")->capture_default_str();
    CLI::Option* const max_connections = command
                                             ->add_option("--max-connections", options->max_connections,
                                                          "Clients at once; by default fewer if the limit of open files allows fewer")
                                             ->capture_default_str();
    add_duration(*command, "--cache", options->cache, "How long an answer may be served again; 0: every request asks the database");
    add_duration(*command, "--request-timeout", options->request_timeout, "How long a request's headers may take to arrive");
    add_duration(*command, "--query-timeout", options->query_timeout, "How long a query may take");
    add_duration(*command, "--stream-interval", options->stream_interval, "Time between two looks at a list that is followed");
    command->callback([command, options, max_connections, &exit_code] {
        validate(*options);
        if (max_connections->empty()) {
            options->max_connections = most_connections(options->max_connections, options->pool);
            max_connections->capture_default_str();
        }
        spdlog::info("topkd " TOPKD_VERSION ": {}", effective_configuration(*command));
        exit_code = serve(*options);
    });
}

}  // namespace topkd
