// topkd's consumer, decoder and sums in front of four tables with btrees (upsert_sink.h). Runs until SIGTERM; for the ingest benchmark
// only.
//   upsert_ingest CONNINFO BROKERS TOPIC FLUSH-INTERVAL
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <atomic>
#include <csignal>
#include <iostream>

#include "flush_policy.h"
#include "kafka_source.h"
#include "log.h"
#include "options.h"
#include "pipeline.h"
#include "upsert_sink.h"

namespace {

constexpr std::uint64_t kMemory = 512ull << 20;  // topkd's default
constexpr std::chrono::milliseconds kLeave{5000};

std::atomic<bool> stop_asked = false;

int give_up(const std::string& why) {
    spdlog::error("{}", why);
    return 1;
}

int ingest(const std::string& conninfo, const std::string& brokers, const std::string& topic, std::chrono::milliseconds flush_interval) {
    topkd::bench::UpsertSink sink(conninfo);
    if (const auto ready = sink.connect(); !ready) {
        return give_up(ready.error().message);
    }
    const topkd::KafkaSourceConfig kafka{.brokers = brokers,
                                         .topic = topic,
                                         .group = "upsert_ingest." + topic,
                                         .client_id = "upsert_ingest",
                                         .properties = {},
                                         .queue_bytes = topkd::queue_share(kMemory)};
    const auto partitions = topkd::probe_topic(kafka, std::chrono::seconds(10));
    if (!partitions) {
        return give_up(partitions.error().text);
    }
    auto source = topkd::KafkaSource::create(kafka, *partitions);
    if (!source) {
        return give_up(source.error());
    }
    if (const auto subscribed = (*source)->subscribe(); !subscribed) {
        return give_up(subscribed.error());
    }
    const topkd::SystemClock clock;
    int exit_code = 0;
    {
        topkd::SinkWorker worker(sink, topkd::SinkWorker::Mode::kThread);
        topkd::Pipeline pipeline(**source, worker, clock,
                                 {.counter = "upserts",
                                  .topic = topic,
                                  .flush_interval = flush_interval,
                                  .growing_bytes = topkd::growing_share(kMemory),
                                  .heartbeat_interval = (*source)->heartbeat_interval(),
                                  .ends = {},
                                  .metrics = nullptr});
        while (!stop_asked && exit_code == 0) {
            if (pipeline.step() == topkd::Pipeline::Status::kFailed) {
                exit_code = give_up(pipeline.failure());
            }
        }
    }
    (*source)->leave(kLeave);
    return exit_code;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 5) {
        std::cerr << "usage: upsert_ingest CONNINFO BROKERS TOPIC FLUSH-INTERVAL\n";
        return 2;
    }
    const auto flush_interval = topkd::parse_duration(argv[4]);
    if (!flush_interval) {
        std::cerr << "upsert_ingest: " << flush_interval.error() << "\n";
        return 2;
    }
    topkd::initialise_log();
    std::signal(SIGTERM, [](int) { stop_asked = true; });
    std::signal(SIGINT, [](int) { stop_asked = true; });
    return ingest(argv[1], argv[2], argv[3], *flush_interval);
}
