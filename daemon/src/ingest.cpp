#include "ingest.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <unistd.h>
#include <CLI/Error.hpp>

#include <atomic>
#include <csignal>
#include <memory>
#include <random>
#include <thread>

#include "exit_watch.h"
#include "flush_policy.h"
#include "http_server.h"
#include "ingest_endpoint.h"
#include "kafka_handle.h"
#include "kafka_source.h"
#include "maintenance.h"
#include "options.h"
#include "pg_connection.h"
#include "pg_maintainer.h"
#include "pg_sink.h"
#include "pipeline.h"
#include "progress_line.h"

namespace topkd {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kFinalFlush{10'000};
constexpr milliseconds kLeaveGroup{5000};
constexpr milliseconds kNoTopicYet{3000};  // a topic just created may not be known to every broker
constexpr std::uint64_t kLeastMemory = 16ull << 20;

struct IngestOptions {
    std::string db;
    std::string brokers;
    std::string topic = "view_events";
    std::string group;
    std::string counter = "video_views";
    milliseconds flush_interval{500};
    milliseconds startup_timeout{30'000};
    std::uint64_t memory = 512ull << 20;
    bool exit_at_end = false;
    bool take_over = false;
    bool maintain = false;
    milliseconds maintain_interval{1000};
    std::vector<std::string> kafka;
    std::vector<std::string> metrics_listen;
};

std::atomic<int> stop_signals = 0;

void on_stop_signal(int) {
    if (stop_signals.fetch_add(1) > 0) {
        ::_exit(1);  // asked twice: unflushed records are read again by the next start
    }
}

void catch_stop_signals() {
    struct sigaction action = {};
    action.sa_handler = on_stop_signal;
    ::sigaction(SIGTERM, &action, nullptr);
    ::sigaction(SIGINT, &action, nullptr);
    std::signal(SIGPIPE, SIG_IGN);
}

/// Who claims: never the same for two incarnations of a process, so that a resume cannot take an earlier one's epoch.
std::string member_name() {
    std::array<char, 256> host{};
    ::gethostname(host.data(), host.size() - 1);
    std::random_device random;
    return fmt::format("{}:{}:{:08x}", host.data(), ::getpid(), random());
}

int give_up(const std::string& why) {
    spdlog::error("{}", why);
    return 1;
}

/// The start did not succeed: whoever was asked to stop meanwhile stops in order, nothing having been read.
int not_started(const std::string& why) {
    if (stop_signals > 0) {
        spdlog::info("stopped before the start: {}", why);
        return 0;
    }
    return give_up(why);
}

/// Tries until it works, fails for good, or the time is over; `attempt` gets the time left and says whether to go on.
template <typename Attempt>
auto until_startup_timeout(milliseconds timeout, Attempt attempt) {
    const auto deadline = std::chrono::steady_clock::now() + timeout;
    Backoff backoff;
    for (bool first = true;; first = false) {
        const auto left = std::chrono::duration_cast<milliseconds>(deadline - std::chrono::steady_clock::now());
        // The last attempt gets time for an answer too: its error is the one that is told.
        auto result = attempt(std::clamp(left, milliseconds(1000), milliseconds(5000)));
        if (result || !result.error().passing || left <= milliseconds(0) || stop_signals > 0) {
            return result;
        }
        if (first) {
            spdlog::warn("{}; trying for {}", result.error().text, format_duration(timeout));
        }
        std::this_thread::sleep_for(std::min(backoff.next(), std::max(left, milliseconds(1))));
    }
}

tl::expected<void, KafkaStartError> start_sink(PgSink& sink, milliseconds timeout) {
    return until_startup_timeout(timeout, [&](milliseconds) -> tl::expected<void, KafkaStartError> {
        auto ready = sink.connect();
        if (ready) {
            ready = sink.ensure_counter();
        }
        if (!ready) {
            const SinkError& error = ready.error();
            const bool passing = error.kind == SinkErrorKind::kOutage;
            return tl::unexpected(KafkaStartError{"database: " + error.message, passing});
        }
        return {};
    });
}

tl::expected<int, KafkaStartError> find_topic(const KafkaSourceConfig& config, milliseconds timeout) {
    const auto started = std::chrono::steady_clock::now();
    return until_startup_timeout(timeout, [&](milliseconds left) {
        auto partitions = probe_topic(config, left);
        if (!partitions && partitions.error().topic_missing && std::chrono::steady_clock::now() - started < kNoTopicYet) {
            partitions.error().passing = true;
        }
        return partitions;
    });
}

tl::expected<std::map<Partition, Offset>, KafkaStartError> ends_now(KafkaSource& source, milliseconds timeout) {
    return until_startup_timeout(timeout, [&](milliseconds) -> tl::expected<std::map<Partition, Offset>, KafkaStartError> {
        const auto topic = source.describe({});
        if (!topic) {
            return tl::unexpected(KafkaStartError{"cannot ask for the topic's end: " + topic.error(), true});
        }
        if (!topic->missing.empty()) {
            const auto& [partition, why] = *topic->missing.begin();
            return tl::unexpected(KafkaStartError{fmt::format("cannot ask for the end of partition {}: {}", raw(partition), why), true});
        }
        if (topic->partitions.size() != static_cast<std::size_t>(topic->partition_count)) {
            return tl::unexpected(KafkaStartError{"the brokers are too slow to tell the ends of all partitions", true});
        }
        std::map<Partition, Offset> ends;
        for (std::size_t i = 0; i < topic->partitions.size(); ++i) {
            ends[topic->partitions[i]] = topic->log_ends[i];
        }
        return ends;
    });
}

/// True if everything read was flushed.
bool drain(Pipeline& pipeline, IngestEndpoint& endpoint) {
    const auto deadline = std::chrono::steady_clock::now() + kFinalFlush;
    pipeline.begin_stop();
    while (!pipeline.drained() && std::chrono::steady_clock::now() < deadline) {
        if (pipeline.step() == Pipeline::Status::kFailed) {
            break;
        }
        endpoint.update(pipeline);
    }
    return pipeline.drained() && !pipeline.discarded_at_stop();
}

int run_until_stopped(Pipeline& pipeline, Maintenance* maintenance, IngestEndpoint& endpoint) {
    const SystemClock clock;
    ProgressLine progress(::isatty(STDERR_FILENO) == 1, clock);
    Pipeline::Status status = Pipeline::Status::kRunning;
    while (status == Pipeline::Status::kRunning && stop_signals == 0) {
        status = pipeline.step();
        progress.update(pipeline);
        endpoint.update(pipeline);
    }
    if (status == Pipeline::Status::kFailed) {
        return give_up(pipeline.failure());
    }
    if (status == Pipeline::Status::kFinished) {
        spdlog::info("every partition is at the end it had at the start; {} records read", pipeline.stats().records);
        return 0;
    }
    spdlog::info("stopping");
    endpoint.stopping();
    if (maintenance != nullptr) {
        maintenance->stop();  // first: the final flush must not queue behind a seal
    }
    if (!drain(pipeline, endpoint)) {
        return give_up("the final flush was not made; nothing is lost: the next start reads those records again");
    }
    return 0;
}

int ingest(const IngestOptions& options) {
    catch_stop_signals();
    const SystemClock clock;
    IngestEndpoint endpoint(options.db, options.counter, clock);
    if (const auto listening = endpoint.listen(options.metrics_listen); !listening) {
        return give_up(listening.error());
    }
    const std::string member = member_name();
    PgSink sink({options.db, options.counter, options.topic, member, options.take_over});
    if (const auto ready = start_sink(sink, options.startup_timeout); !ready) {
        return not_started(ready.error().text);
    }
    KafkaSourceConfig kafka{.brokers = options.brokers,
                            .topic = options.topic,
                            .group = options.group,
                            .client_id = "topkd",
                            .properties = options.kafka,
                            .queue_bytes = queue_share(options.memory)};
    if (kafka.group.empty()) {
        kafka.group = fmt::format("topkd.{}.{}", sink.database(), options.counter);
    }
    sink.set_group(kafka.group);
    const auto partitions = find_topic(kafka, options.startup_timeout);
    if (!partitions) {
        return not_started(partitions.error().text);
    }
    auto source = KafkaSource::create(kafka, *partitions);
    if (!source) {
        return give_up(source.error());
    }
    PipelineConfig config{.counter = options.counter,
                          .topic = options.topic,
                          .flush_interval = options.flush_interval,
                          .growing_bytes = growing_share(options.memory),
                          .heartbeat_interval = (*source)->heartbeat_interval(),
                          .session_timeout = (*source)->session_timeout(),
                          .ends = {},
                          .metrics = &endpoint.metrics()};
    if (options.exit_at_end) {
        auto ends = ends_now(**source, options.startup_timeout);
        if (!ends) {
            return not_started(ends.error().text);
        }
        config.ends = std::move(*ends);
    }
    if (const auto subscribed = (*source)->subscribe(); !subscribed) {
        return give_up("cannot subscribe to " + options.topic + ": " + subscribed.error());
    }
    spdlog::info("topic {} with {} partitions, group {}, member {}", options.topic, *partitions, kafka.group, member);

    std::optional<ExitWatch> watch;
    int exit_code = 0;
    {
        PgMaintainer maintainer(options.db, options.counter);
        std::optional<Maintenance> maintenance;
        if (options.maintain) {
            maintenance.emplace(maintainer, options.maintain_interval, &endpoint.metrics());
        }
        SinkWorker worker(sink, SinkWorker::Mode::kThread);
        Pipeline pipeline(**source, worker, clock, std::move(config));
        exit_code = run_until_stopped(pipeline, maintenance ? &*maintenance : nullptr, endpoint);
        // librdkafka's close may hang; then the broker notices by the session timeout. So may the ends of the worker and of maintenance,
        // for a connect under way cannot be broken: the group does not wait for them.
        watch.emplace(kLeaveGroup + milliseconds(1000), exit_code, "the brokers or the database hang; exiting without them");
        if (!(*source)->leave(kLeaveGroup)) {
            spdlog::warn("the group could not be left in time; the broker notices by the session timeout");
        }
    }
    source->reset();
    return exit_code;
}

/// What only the whole of the options shows; a usage error, exit code 2.
void validate(const IngestOptions& options) {
    for (const std::string& property : options.kafka) {
        if (const auto refused = refuse_kafka_property(property)) {
            throw CLI::ValidationError("--kafka", *refused);
        }
    }
    if (const auto conf = kafka_conf({}, options.kafka); !conf) {
        throw CLI::ValidationError("--kafka", conf.error());
    }
    if (options.flush_interval < milliseconds(1)) {
        throw CLI::ValidationError("--flush-interval", "at least 1ms");
    }
    if (options.maintain_interval < milliseconds(1)) {
        throw CLI::ValidationError("--maintain-interval", "at least 1ms");
    }
    if (options.memory < kLeastMemory) {
        throw CLI::ValidationError("--memory", "at least " + format_size(kLeastMemory));
    }
    for (const std::string& address : options.metrics_listen) {
        if (const auto checked = check_listen_address(address); !checked) {
            throw CLI::ValidationError("--metrics-listen", checked.error());
        }
    }
    if (options.counter.empty() || options.topic.empty()) {
        throw CLI::ValidationError(options.counter.empty() ? "--counter" : "--topic", "must not be empty");
    }
}

}  // namespace

void register_ingest(CLI::App& app, int& exit_code) {
    CLI::App* command = app.add_subcommand("ingest", "Consume a Kafka topic and count its views in PostgreSQL");
    const auto options = std::make_shared<IngestOptions>();
    command->add_option("--db", options->db, "libpq connection string or URI; empty: libpq's environment")
        ->type_name("CONNINFO")
        ->check(refuse_connection_string);
    command->add_option("--brokers", options->brokers, "host:port[,host:port…] of the Kafka cluster")->required()->type_name("LIST");
    command->add_option("--topic", options->topic, "The topic of view events")->capture_default_str();
    command->add_option("--group", options->group, "The consumer group [topkd.<database>.<counter>]");
    command->add_option("--counter", options->counter, "The counter; made with defaults if missing")->capture_default_str();
    add_duration(*command, "--flush-interval", options->flush_interval, "Time between two flushes");
    add_size(*command, "--memory", options->memory, "Bound for Kafka's queues, sums and batches together");
    command->add_flag("--exit-at-end", options->exit_at_end, "Stop, flushed, at the offsets that were the end at the start");
    command->add_option("--kafka", options->kafka, "Any librdkafka property, repeatable")->type_name("NAME=VALUE");
    command->add_flag("--take-over", options->take_over, "Go on with a counter that another group has fed");
    command->add_flag("--maintain", options->maintain,
                      "Also seal hours, roll them up, make lists and expire; one topkd of a counter is enough");
    add_duration(*command, "--maintain-interval", options->maintain_interval,
                 "Time between two looks at what can be sealed; the rest comes every ten");
    command
        ->add_option("--metrics-listen", options->metrics_listen,
                     "Where /metrics, /healthz and /readyz are served, e.g. 127.0.0.1:9187; repeatable; port 0: any, see the log")
        ->type_name("ADDRESS");
    add_duration(*command, "--startup-timeout", options->startup_timeout,
                 "How long an unreachable broker or database is tried at the start");
    command->callback([command, options, &exit_code] {
        validate(*options);
        spdlog::info("topkd " TOPKD_VERSION ": {}", effective_configuration(*command));
        exit_code = ingest(*options);
    });
}

}  // namespace topkd
