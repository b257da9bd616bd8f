#include "verify_log.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <chrono>

namespace topkd::verify {

namespace {

using Clock = std::chrono::steady_clock;

constexpr int kBrokerTimeoutMs = 30'000;
constexpr int kPollMs = 100;
constexpr std::chrono::seconds kSilenceLimit{60};
constexpr std::chrono::seconds kReportEvery{10};

LogRecord record_of(const rd_kafka_message_t& message) {
    LogRecord record;
    record.partition = message.partition;
    record.offset = message.offset;
    rd_kafka_timestamp_type_t type = RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
    const std::int64_t timestamp = rd_kafka_message_timestamp(&message, &type);
    if (type != RD_KAFKA_TIMESTAMP_NOT_AVAILABLE && timestamp != -1) {
        record.timestamp = timestamp;
    }
    if (message.key != nullptr) {
        record.key = std::string_view(static_cast<const char*>(message.key), message.key_len);
    }
    if (message.payload != nullptr) {
        record.value = std::string_view(static_cast<const char*>(message.payload), message.len);
    }
    return record;
}

KafkaPartitionList partition_list(const std::string& topic, int partition, std::int64_t offset) {
    KafkaPartitionList list(rd_kafka_topic_partition_list_new(1));
    rd_kafka_topic_partition_list_add(list.get(), topic.c_str(), partition)->offset = offset;
    return list;
}

}  // namespace

tl::expected<LogReader, std::string> LogReader::open(const std::string& brokers, const std::string& topic,
                                                     const std::vector<std::string>& properties) {
    auto conf = kafka_conf({{"bootstrap.servers", brokers},
                            {"client.id", "topkd-verify"},
                            {"group.id", "topkd-verify"},  // the consumer's interface demands one; nothing joins or commits
                            {"enable.auto.commit", "false"},
                            {"enable.auto.offset.store", "false"},
                            {"enable.partition.eof", "true"},
                            {"auto.offset.reset", "error"},
                            {"isolation.level", "read_committed"},
                            {"fetch.wait.max.ms", "50"}},
                           properties);
    if (!conf) {
        return tl::unexpected(conf.error());
    }
    auto handle = kafka_handle(RD_KAFKA_CONSUMER, std::move(*conf));
    if (!handle) {
        return tl::unexpected(handle.error());
    }
    rd_kafka_poll_set_consumer(handle->get());
    if (const auto partitions = partition_count(handle->get(), topic, kBrokerTimeoutMs); !partitions) {
        return tl::unexpected(partitions.error());
    }
    return LogReader(std::move(*handle), topic);
}

tl::expected<OffsetRange, std::string> LogReader::available(int partition) const {
    OffsetRange range;
    const rd_kafka_resp_err_t error =
        rd_kafka_query_watermark_offsets(handle_.get(), topic_.c_str(), partition, &range.from, &range.to, kBrokerTimeoutMs);
    if (error != RD_KAFKA_RESP_ERR_NO_ERROR) {
        return tl::unexpected(fmt::format("partition {}: the brokers do not tell its offsets: {}", partition, rd_kafka_err2str(error)));
    }
    return range;
}

std::string LogReader::cluster_id() const {
    char* text = rd_kafka_clusterid(handle_.get(), kBrokerTimeoutMs);
    std::string id = text == nullptr ? "" : text;
    rd_kafka_mem_free(handle_.get(), text);
    return id;
}

std::optional<std::string> LogReader::assign(const Ranges& ranges) {
    const KafkaPartitionList list(rd_kafka_topic_partition_list_new(static_cast<int>(ranges.size())));
    open_.clear();
    for (const auto& [partition, range] : ranges) {
        if (range.from < range.to) {
            rd_kafka_topic_partition_list_add(list.get(), topic_.c_str(), partition)->offset = range.from;
            open_[partition] = range;
        }
    }
    const rd_kafka_resp_err_t error = rd_kafka_assign(handle_.get(), list.get());
    return error == RD_KAFKA_RESP_ERR_NO_ERROR ? std::nullopt : std::optional<std::string>(rd_kafka_err2str(error));
}

void LogReader::finish(int partition) {
    open_.erase(partition);
    rd_kafka_pause_partitions(handle_.get(), partition_list(topic_, partition, RD_KAFKA_OFFSET_INVALID).get());
}

std::optional<std::string> LogReader::read(const Ranges& ranges, const OnRecord& on_record) {
    if (auto error = assign(ranges)) {
        return error;
    }
    std::int64_t records = 0;
    auto heard = Clock::now(), reported = heard;
    while (!open_.empty()) {
        const KafkaMessage message(rd_kafka_consumer_poll(handle_.get(), kPollMs));
        const auto now = Clock::now();
        if (now - reported > kReportEvery) {
            spdlog::info("{} records recounted, {} partitions to go", records, open_.size());
            reported = now;
        }
        if (!message) {
            if (now - heard > kSilenceLimit) {
                return fmt::format("nothing came from partition {} for {} s, before offset {}", open_.begin()->first, kSilenceLimit.count(),
                                   open_.begin()->second.to);
            }
            continue;
        }
        const auto range = open_.find(message->partition);
        if (message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
            // The end of the log, or of its committed part, which may be short of the range only for a moment.
            if (range != open_.end() && message->offset >= range->second.to) {
                finish(message->partition);
            }
        } else if (message->err == RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET) {
            return fmt::format("partition {}: records left the log while they were recounted: {}", message->partition,
                               rd_kafka_message_errstr(message.get()));
        } else if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
            spdlog::warn("{}", rd_kafka_message_errstr(message.get()));  // it tries again; the silence has a limit
        } else if (range != open_.end()) {
            heard = now;
            if (message->offset < range->second.to) {
                ++records;
                if (auto error = on_record(record_of(*message))) {
                    return error;
                }
            }
            if (message->offset + 1 >= range->second.to) {
                finish(message->partition);
            }
        }
    }
    return std::nullopt;
}

}  // namespace topkd::verify
