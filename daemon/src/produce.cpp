#include "produce.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <csignal>
#include <iostream>
#include <memory>

#include "event_time.h"
#include "kafka_handle.h"
#include "options.h"
#include "synthetic.h"

namespace topkd {

namespace {

using Clock = std::chrono::steady_clock;

constexpr int kFlushSliceMs = 100;
constexpr std::chrono::seconds kMaximumBacklog{1};  // a producer held up longer than this does not catch up
constexpr std::chrono::seconds kFlushAfterFailure{5};

struct ProduceOptions {
    std::string brokers = "localhost:9092";
    std::string topic = "view_events";
    SyntheticSettings events;
    std::uint64_t count = 0;
    std::vector<std::string> kafka;
    std::chrono::milliseconds startup_timeout{30'000};
};

volatile std::sig_atomic_t stop_asked = 0;

void ask_to_stop(int) {
    stop_asked = 1;
}

Millis wall_clock() {
    const auto now = std::chrono::system_clock::now().time_since_epoch();
    return Millis{std::chrono::duration_cast<std::chrono::milliseconds>(now).count()};
}

/// When each record is due: one every 1/rate seconds, with a bounded backlog.
class Schedule {
  public:
    explicit Schedule(double rate) : rate_(rate), begun_(Clock::now()) {}

    /// Milliseconds until the next record is due; 0: now.
    int wait_ms() {
        if (rate_ <= 0) {
            return 0;
        }
        const auto now = Clock::now();
        const auto due =
            begun_ + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(static_cast<double>(sent_) / rate_));
        if (now - due > kMaximumBacklog) {
            begun_ += now - due - kMaximumBacklog;
        }
        const auto left = std::chrono::ceil<std::chrono::milliseconds>(due - now).count();
        return static_cast<int>(std::clamp<std::int64_t>(left, 0, kFlushSliceMs));
    }

    void sent() { ++sent_; }

  private:
    double rate_;
    Clock::time_point begun_;
    std::uint64_t sent_ = 0;
};

/// Sends records and counts what became of them. One thread: delivery reports come from within its own calls.
class Producer {
  public:
    static tl::expected<std::unique_ptr<Producer>, std::string> open(const ProduceOptions& options);

    /// Queues the record, waiting for room. False once production cannot go on.
    bool send(const SyntheticRecord& record);

    void serve(int timeout_ms) { rd_kafka_poll(handle_.get(), timeout_ms); }

    /// Waits until every queued record has its report; after a failure only briefly.
    void flush();

    bool failed() const { return !failure_.empty(); }
    const std::string& failure() const { return failure_; }
    std::uint64_t delivered() const { return delivered_; }
    std::uint64_t undelivered() const { return queued_ - delivered_; }

  private:
    explicit Producer(std::string topic) : topic_(std::move(topic)) {}

    void fail(std::string what) {
        if (failure_.empty()) {
            failure_ = std::move(what);
        }
    }
    static void on_delivery(rd_kafka_t*, const rd_kafka_message_t* message, void* opaque);

    std::string topic_;
    KafkaHandle handle_;
    std::uint64_t queued_ = 0;
    std::uint64_t delivered_ = 0;
    std::string failure_;
};

tl::expected<std::unique_ptr<Producer>, std::string> Producer::open(const ProduceOptions& options) {
    std::unique_ptr<Producer> producer(new Producer(options.topic));
    // murmur2_random is the Java client's partitioner: the same key goes to the same partition from either.
    auto conf = kafka_conf({{"bootstrap.servers", options.brokers},
                            {"client.id", "topkd-produce"},
                            {"enable.idempotence", "true"},
                            {"acks", "all"},
                            {"partitioner", "murmur2_random"},
                            {"linger.ms", "5"},
                            {"queue.buffering.max.messages", "200000"}},
                           options.kafka);
    if (!conf) {
        return tl::unexpected(conf.error());
    }
    rd_kafka_conf_set_opaque(conf->get(), producer.get());
    rd_kafka_conf_set_dr_msg_cb(conf->get(), &Producer::on_delivery);
    auto handle = kafka_handle(RD_KAFKA_PRODUCER, std::move(*conf));
    if (!handle) {
        return tl::unexpected(handle.error());
    }
    producer->handle_ = std::move(*handle);
    const auto partitions = partition_count(producer->handle_.get(), options.topic, static_cast<int>(options.startup_timeout.count()));
    if (!partitions) {
        return tl::unexpected(partitions.error());
    }
    return producer;
}

bool Producer::send(const SyntheticRecord& record) {
    while (!failed()) {
        const rd_kafka_resp_err_t error =
            rd_kafka_producev(handle_.get(), RD_KAFKA_V_TOPIC(topic_.c_str()), RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
                              RD_KAFKA_V_KEY(record.key.data(), record.key.size()),
                              RD_KAFKA_V_VALUE(const_cast<char*>(record.value.data()), record.value.size()),
                              RD_KAFKA_V_TIMESTAMP(raw(record.timestamp)), RD_KAFKA_V_END);
        if (error == RD_KAFKA_RESP_ERR_NO_ERROR) {
            ++queued_;
            return true;
        }
        if (error != RD_KAFKA_RESP_ERR__QUEUE_FULL) {
            fail(rd_kafka_err2str(error));
        } else {
            serve(kFlushSliceMs);
        }
    }
    return false;
}

void Producer::flush() {
    const auto failed_at = Clock::now();
    while (rd_kafka_flush(handle_.get(), kFlushSliceMs) == RD_KAFKA_RESP_ERR__TIMED_OUT) {
        if (failed() && Clock::now() - failed_at > kFlushAfterFailure) {
            rd_kafka_purge(handle_.get(), RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
        }
    }
}

void Producer::on_delivery(rd_kafka_t*, const rd_kafka_message_t* message, void* opaque) {
    auto& producer = *static_cast<Producer*>(opaque);
    if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
        ++producer.delivered_;
    } else {
        producer.fail(rd_kafka_err2str(message->err));
    }
}

int produce(const ProduceOptions& options) {
    auto opened = Producer::open(options);
    if (!opened) {
        spdlog::error("cannot produce to {}: {}", options.brokers, opened.error());
        return 1;
    }
    Producer& producer = **opened;
    SyntheticSequence sequence(options.events, wall_clock());
    Schedule schedule(options.events.rate);
    SyntheticRecord record;
    for (std::uint64_t i = 0; (options.count == 0 || i < options.count) && stop_asked == 0; ++i) {
        for (int wait = schedule.wait_ms(); wait > 0 && stop_asked == 0; wait = schedule.wait_ms()) {
            producer.serve(wait);
        }
        if (stop_asked != 0) {
            break;
        }
        sequence.next(wall_clock(), record);
        if (!producer.send(record)) {
            break;
        }
        schedule.sent();
        producer.serve(0);
    }
    producer.flush();
    std::cout << fmt::format("produced {} records to {}\n", producer.delivered(), options.topic) << std::flush;
    if (producer.failed()) {
        spdlog::error("{} records were not delivered: {}", producer.undelivered(), producer.failure());
        return 1;
    }
    return 0;
}

/// "5000", "5000/s", "0.5/s".
double parse_rate(const std::string& text) {
    const std::string_view number(text.data(), text.ends_with("/s") ? text.size() - 2 : text.size());
    double rate = 0;
    const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), rate);
    if (error != std::errc{} || end != number.data() + number.size() || !(rate >= 0 && rate <= 1e9)) {
        throw CLI::ValidationError("--rate", "not a rate: " + text + " (records a second, such as 5000/s)");
    }
    return rate;
}

Millis parse_start(const std::string& text) {
    const auto start = parse_rfc3339(text);
    if (!start) {
        throw CLI::ValidationError("--start", "not an RFC 3339 time: " + text);
    }
    return *start;
}

void add_event_options(CLI::App& command, SyntheticSettings& events) {
    command
        .add_option_function<std::string>(
            "--rate", [&events](const std::string& text) { events.rate = parse_rate(text); },
            "Records a second; 0: as fast as the brokers take them")
        ->type_name("N/s")
        ->default_str("0");
    command.add_option("--videos", events.videos, "Size of the catalogue")
        ->check(CLI::Range(std::uint64_t{1}, std::uint64_t{1} << 50))
        ->capture_default_str();
    command.add_option("--zipf", events.zipf, "Exponent of the videos' popularity; 0: all alike")
        ->check(CLI::Range(0.0, 20.0))
        ->capture_default_str();
    command.add_option("--seed", events.seed, "The same seed and options give the same events (times: with --start)")
        ->capture_default_str();
    command
        .add_option_function<std::string>(
            "--start", [&events](const std::string& text) { events.start = parse_start(text); },
            "Event time of the first record, also as the records' timestamps; then one record every 1/rate seconds, or "
            "every millisecond without a rate. Mind the topic's retention.ms. Default: the clock")
        ->type_name("RFC3339");
    command.add_option("--time-scale", events.time_scale, "Seconds of event time a second of production")
        ->check(CLI::Range(0.0, 1e9))
        ->capture_default_str();
    add_duration(command, "--disorder", events.disorder, "Event times lie behind by up to this, at random");
}

}  // namespace

void register_produce(CLI::App& app, int& exit_code) {
    CLI::App* command = app.add_subcommand("produce", "Produce synthetic view events, repeatable by seed");
    const auto options = std::make_shared<ProduceOptions>();
    command->add_option("--brokers", options->brokers, "Kafka bootstrap servers")->capture_default_str();
    command->add_option("--topic", options->topic, "Topic to write to; it must exist")->capture_default_str();
    add_event_options(*command, options->events);
    command->add_option("--count", options->count, "Records to produce; 0: until stopped")->capture_default_str();
    command->add_option("--kafka", options->kafka, "Any librdkafka property; repeat for more")->type_name("KEY=VALUE");
    add_duration(*command, "--startup-timeout", options->startup_timeout, "How long to wait for a broker at the start");
    command->callback([command, options, &exit_code] {
        std::signal(SIGTERM, ask_to_stop);
        std::signal(SIGINT, ask_to_stop);
        spdlog::info("produce: {}", effective_configuration(*command));
        if (const auto conf = kafka_conf({}, options->kafka); !conf) {
            spdlog::error("{}", conf.error());
            exit_code = 2;
            return;
        }
        exit_code = produce(*options);
    });
}

}  // namespace topkd
