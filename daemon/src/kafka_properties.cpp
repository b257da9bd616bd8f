#include "kafka_properties.h"

#include <librdkafka/rdkafka.h>

#include <algorithm>
#include <array>
#include <string_view>

namespace topkd {
namespace {

struct Refused {
    std::string_view name;
    std::string_view why;
};

constexpr std::string_view kProtocol = "topkd depends on its own value";
constexpr std::array kRefused{
    Refused{"bootstrap.servers", "use --brokers"},
    Refused{"metadata.broker.list", "use --brokers"},
    Refused{"group.id", "use --group"},
    Refused{"enable.auto.commit", kProtocol},
    Refused{"auto.commit.enable", kProtocol},
    Refused{"enable.auto.offset.store", kProtocol},
    Refused{"auto.offset.reset", kProtocol},
    Refused{"enable.partition.eof", kProtocol},
    Refused{"partition.assignment.strategy", kProtocol},
    Refused{"isolation.level", kProtocol},
    Refused{"statistics.interval.ms", kProtocol},
    Refused{"queued.max.messages.kbytes", "use --memory"},
    Refused{"queued.min.messages", "use --memory"},
    Refused{"fetch.max.bytes", "use --memory"},
};

/// What librdkafka needs for a message besides its bytes, which queue limits in bytes do not count; rounded up.
constexpr std::uint64_t kBytesPerMessage = 512;

constexpr std::uint64_t kExpansion = 22;
constexpr std::uint64_t kLeastFetch = 256 << 10;
constexpr std::uint64_t kLargestMessage = 1'048'588;  // Kafka's default of max.message.bytes

}  // namespace

std::optional<std::string> refuse_kafka_property(const std::string& property) {
    const std::size_t equals = property.find('=');
    if (equals == std::string::npos || equals == 0) {
        return "--kafka takes property=value, not " + property;
    }
    const std::string name = property.substr(0, equals);
    const auto* refused = std::find_if(kRefused.begin(), kRefused.end(), [&](const Refused& r) { return r.name == name; });
    if (refused == kRefused.end()) {
        return std::nullopt;
    }
    return "--kafka " + name + " cannot be set: " + std::string(refused->why);
}

std::vector<std::pair<std::string, std::string>> connection_properties(const KafkaSourceConfig& config) {
    return {{"bootstrap.servers", config.brokers}, {"client.id", config.client_id},     {"allow.auto.create.topics", "false"},
            {"log.connection.close", "false"},     {"socket.keepalive.enable", "true"}, {"reconnect.backoff.max.ms", "5000"}};
}

// A quarter of the share for the overhead of small messages, half for queued bytes, and a quarter for the fetches that were under way when
// the queue became full. librdkafka forwards all partitions to one queue, so its limits hold for their sum. A fetch of small messages, well
// compressed, takes kExpansion times its bytes: 60 bytes of JSON that are 17 in the log and 370 in the queue. What is fetched is limited by
// partition, not by answer: behind a full queue librdkafka asks for all partitions in the same order again, and a limit on the whole
// answer would starve the last of them, which keeps the watermark back. So would a limit below the size of a batch, for a broker sends a
// larger one of the first partition only: kLeastFetch is more than producers send, compressed, and the user may set another.
QueueLimits queue_limits(std::uint64_t queue_bytes, int partitions) {
    const auto parts = static_cast<std::uint64_t>(std::max(partitions, 1));
    return {.messages = std::clamp<std::uint64_t>(queue_bytes / 4 / kBytesPerMessage, 1000, 100'000),
            .kbytes = std::clamp<std::uint64_t>(queue_bytes / 2 / 1000, 64, 2'097'151),
            .fetch = std::clamp(queue_bytes / 4 / kExpansion / parts, kLeastFetch, kLargestMessage)};
}

// Small records reach the limit in records first: then the queue has a quarter of the share for their overhead and a little for their
// bytes.
std::uint64_t partitions_within(std::uint64_t queue_bytes) {
    return queue_bytes / 10 * 7 / (kLeastFetch * kExpansion);
}

bool has_queue_backoff() {
    return rd_kafka_version() >= 0x020200ff;
}

std::vector<std::pair<std::string, std::string>> consumer_properties(const KafkaSourceConfig& config, int partitions) {
    const QueueLimits limits = queue_limits(config.queue_bytes, partitions);
    auto properties = connection_properties(config);
    properties.insert(properties.end(), {
                                            {"group.id", config.group},
                                            {"partition.assignment.strategy", "cooperative-sticky"},
                                            {"enable.auto.commit", "false"},
                                            {"enable.auto.offset.store", "false"},
                                            {"auto.offset.reset", "error"},
                                            {"enable.partition.eof", "true"},
                                            {"isolation.level", "read_committed"},
                                            {"check.crcs", "true"},
                                            {"topic.metadata.refresh.interval.ms", "10000"},  // new partitions; the default is five minutes
                                            {"fetch.wait.max.ms", "100"},  // a partition just started waits for the fetch under way
                                            {"fetch.error.backoff.ms", "100"},
                                            {"statistics.interval.ms", "1000"},  // hints and idleness; see KafkaSource, KafkaEndWatch
                                            {"queued.min.messages", std::to_string(limits.messages)},
                                            {"queued.max.messages.kbytes", std::to_string(limits.kbytes)},
                                            {"max.partition.fetch.bytes", std::to_string(limits.fetch)},
                                        });
    if (has_queue_backoff()) {
        properties.emplace_back("fetch.queue.backoff.ms", "10");
    }
    return properties;
}

}  // namespace topkd
