#include "kafka_handle.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <mutex>
#include <string_view>

namespace topkd {

namespace {

constexpr std::size_t kErrorTextBytes = 512;  // librdkafka's own limit
constexpr int kMetadataAttemptMs = 5000;
constexpr int kStrictScram = 0x020601ff;  // earlier versions send a nonce that Kafka 4 refuses, whatever the password

std::string set_property(rd_kafka_conf_t* conf, const std::string& name, const std::string& value) {
    std::array<char, kErrorTextBytes> error{};
    if (rd_kafka_conf_set(conf, name.c_str(), value.c_str(), error.data(), error.size()) == RD_KAFKA_CONF_OK) {
        return {};
    }
    return error.data();
}

/// Why no broker answers, as librdkafka's threads told last. Its tools have one handle, so this is of the process.
class Trouble {
  public:
    void tell(std::string_view text) {
        const std::lock_guard lock(mutex_);
        // A certificate or a password that is refused says more than an address of the same host where nobody listens.
        if (explains(text) || !explains(text_)) {
            text_ = text;
        }
    }

    std::string last() {
        const std::lock_guard lock(mutex_);
        return text_;
    }

  private:
    static bool explains(std::string_view text) { return text.find("SSL") != text.npos || text.find("SASL") != text.npos; }

    std::mutex mutex_;
    std::string text_;
};

Trouble trouble;

/// librdkafka's levels are syslog's.
void log_line(const rd_kafka_t* handle, int level, const char* facility, const char* text) {
    if (std::string_view(facility) == "FAIL") {  // a connection's end, at a level that depends on the reason
        trouble.tell(text);
    }
    const auto ours = level <= 3   ? spdlog::level::warn  // it tries again; whether that is an error, the caller knows
                      : level <= 6 ? spdlog::level::info
                                   : spdlog::level::debug;
    spdlog::log(ours, "{}: {}", rd_kafka_name(handle), text);
}

using Metadata = std::unique_ptr<const rd_kafka_metadata_t, KafkaDelete>;

tl::expected<int, std::string> count_in(const rd_kafka_metadata_t& metadata, const std::string& topic) {
    for (int i = 0; i < metadata.topic_cnt; ++i) {
        const rd_kafka_metadata_topic_t& found = metadata.topics[i];
        if (found.topic == topic && found.err == RD_KAFKA_RESP_ERR_NO_ERROR && found.partition_cnt > 0) {
            return found.partition_cnt;
        }
    }
    return tl::unexpected(fmt::format("the brokers know no topic \"{}\"", topic));
}

}  // namespace

tl::expected<KafkaConf, std::string> kafka_conf(const KafkaProperties& ours, const std::vector<std::string>& users) {
    KafkaConf conf(rd_kafka_conf_new());
    rd_kafka_conf_set_log_cb(conf.get(), log_line);
    for (const auto& [name, value] : ours) {
        if (const std::string error = set_property(conf.get(), name, value); !error.empty()) {
            return tl::unexpected(error);
        }
    }
    for (const std::string& property : users) {
        const std::size_t equals = property.find('=');
        if (equals == std::string::npos || equals == 0) {
            return tl::unexpected(std::string("--kafka takes property=value"));
        }
        const std::string error = set_property(conf.get(), property.substr(0, equals), property.substr(equals + 1));
        if (!error.empty()) {
            return tl::unexpected(error);
        }
    }
    return conf;
}

std::string no_broker_answers(const std::string& reason) {
    if (reason.find("SCRAM") != reason.npos && rd_kafka_version() < kStrictScram) {
        return fmt::format("{}; hint: check user and password; with Kafka 4 librdkafka {} cannot do SCRAM at all, 2.6.1 and later can",
                           reason, rd_kafka_version_str());
    }
    return reason + "; hint: check --brokers, the listeners that the brokers advertise, and --kafka security.protocol";
}

tl::expected<KafkaHandle, std::string> kafka_handle(rd_kafka_type_t type, KafkaConf conf) {
    std::array<char, kErrorTextBytes> error{};
    KafkaHandle handle(rd_kafka_new(type, conf.get(), error.data(), error.size()));
    if (!handle) {
        return tl::unexpected(std::string(error.data()));
    }
    conf.release();  // rd_kafka_new takes it, unless it fails
    return handle;
}

tl::expected<int, std::string> partition_count(rd_kafka_t* handle, const std::string& topic, int timeout_ms) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(timeout_ms);
    for (;;) {
        const rd_kafka_metadata_t* raw = nullptr;
        const rd_kafka_resp_err_t error = rd_kafka_metadata(handle, 1, nullptr, &raw, std::min(timeout_ms, kMetadataAttemptMs));
        const Metadata metadata(raw);
        if (error == RD_KAFKA_RESP_ERR_NO_ERROR) {
            return count_in(*metadata, topic);
        }
        if (std::chrono::steady_clock::now() >= deadline) {
            const std::string why = trouble.last();
            return tl::unexpected("no broker answers: " + no_broker_answers(why.empty() ? rd_kafka_err2str(error) : why));
        }
    }
}

}  // namespace topkd
