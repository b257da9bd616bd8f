// Owners for librdkafka's C handles, and one way to set properties: shared by the tools that produce and verify. The
// ingest path has its own, in kafka_source.
#pragma once

#include <librdkafka/rdkafka.h>

#include <memory>
#include <string>
#include <tl/expected.hpp>
#include <utility>
#include <vector>

namespace topkd {

struct KafkaDelete {
    void operator()(rd_kafka_conf_t* conf) const { rd_kafka_conf_destroy(conf); }
    void operator()(rd_kafka_t* handle) const { rd_kafka_destroy(handle); }
    void operator()(rd_kafka_message_t* message) const { rd_kafka_message_destroy(message); }
    void operator()(rd_kafka_topic_partition_list_t* list) const { rd_kafka_topic_partition_list_destroy(list); }
    void operator()(const rd_kafka_metadata_t* metadata) const { rd_kafka_metadata_destroy(metadata); }
};

using KafkaConf = std::unique_ptr<rd_kafka_conf_t, KafkaDelete>;
using KafkaHandle = std::unique_ptr<rd_kafka_t, KafkaDelete>;
using KafkaMessage = std::unique_ptr<rd_kafka_message_t, KafkaDelete>;
using KafkaPartitionList = std::unique_ptr<rd_kafka_topic_partition_list_t, KafkaDelete>;

using KafkaProperties = std::vector<std::pair<std::string, std::string>>;

/// Our properties, then the user's "key=value" ones, which win. Fails with librdkafka's message on a bad one.
tl::expected<KafkaConf, std::string> kafka_conf(const KafkaProperties& ours, const std::vector<std::string>& users);

/// What to tell whoever gets no answer from a broker: the reason that librdkafka gives, and what to look at.
std::string no_broker_answers(const std::string& reason);

/// A handle of the type; takes the configuration.
tl::expected<KafkaHandle, std::string> kafka_handle(rd_kafka_type_t type, KafkaConf conf);

/// How many partitions the topic has, asked until the timeout; fails if no broker answers or there is no such topic.
tl::expected<int, std::string> partition_count(rd_kafka_t* handle, const std::string& topic, int timeout_ms);

}  // namespace topkd
