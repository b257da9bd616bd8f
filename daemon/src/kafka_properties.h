// The properties that make librdkafka the consumer the protocol needs, and its share of the memory: texts; the library is asked its version
// only.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace topkd {

struct KafkaSourceConfig {
    std::string brokers;
    std::string topic;
    std::string group;
    std::string client_id;
    std::vector<std::string> properties;  ///< the user's, "name=value"
    std::uint64_t queue_bytes = 0;        ///< for everything fetched and not yet delivered
};

/// Why a --kafka value is not accepted: not "name=value", or a property that correctness or --memory depends on.
std::optional<std::string> refuse_kafka_property(const std::string& property);

/// For any handle: where the brokers are.
std::vector<std::pair<std::string, std::string>> connection_properties(const KafkaSourceConfig& config);

/// What librdkafka may have fetched and not delivered, over all partitions.
struct QueueLimits {
    std::uint64_t messages = 0;  ///< at this many nothing is fetched
    std::uint64_t kbytes = 0;    ///< the same, of values, in thousands
    std::uint64_t fetch = 0;     ///< bytes of a partition in one answer of a broker, as they are in the log
};

QueueLimits queue_limits(std::uint64_t queue_bytes, int partitions);

/// Of how many partitions at most one consumer may fetch at once, small records and well compressed, within `queue_bytes`.
std::uint64_t partitions_within(std::uint64_t queue_bytes);

/// Whether the library can be told how soon to look at a full queue again: otherwise see kafka_queue_gauge.h.
bool has_queue_backoff();

/// For the consumer, connection included. Queues are bounded in total, however many partitions and brokers there are, but that
/// 256 KiB, as they are in the log, may be under way of each partition.
std::vector<std::pair<std::string, std::string>> consumer_properties(const KafkaSourceConfig& config, int partitions);

}  // namespace topkd
