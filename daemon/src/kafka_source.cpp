#include "kafka_source.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <string_view>
#include <utility>

#include "kafka_handle.h"

namespace topkd {

using std::chrono::milliseconds;

namespace {

constexpr int kAskTimeoutMs = 3000;
constexpr int kAskOneTimeoutMs = 500;
constexpr int kSyslogError = 3;
constexpr std::size_t kFetchedAtOnce = 512;

std::optional<milliseconds> milliseconds_of(const rd_kafka_conf_t* conf, const char* property) {
    std::array<char, 32> text{};
    std::size_t size = text.size();
    if (rd_kafka_conf_get(conf, property, text.data(), &size) != RD_KAFKA_CONF_OK) {
        return std::nullopt;
    }
    return milliseconds(std::stoi(text.data()));
}

/// librdkafka repeats itself at every attempt to connect; the pipeline logs changes of state instead.
void log_line(const rd_kafka_t*, int level, const char* facility, const char* text) {
    const std::string_view name(facility);
    const bool repeats = name == "FAIL" || name == "ERROR";
    spdlog::log(level <= kSyslogError && !repeats ? spdlog::level::warn : spdlog::level::debug, "librdkafka {}: {}", facility, text);
}

bool needs_a_human(rd_kafka_resp_err_t error) {
    return error == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED || error == RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED ||
           error == RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED || error == RD_KAFKA_RESP_ERR__FATAL ||
           error == RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID || error == RD_KAFKA_RESP_ERR_INCONSISTENT_GROUP_PROTOCOL;
}

bool loses_position(rd_kafka_resp_err_t error) {
    return error == RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET || error == RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE ||
           error == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART || error == RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION ||
           error == RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC;
}

/// Records that librdkafka would pass over, or that the broker finds damaged itself.
bool is_unreadable(rd_kafka_resp_err_t error) {
    return error == RD_KAFKA_RESP_ERR__BAD_MSG || error == RD_KAFKA_RESP_ERR__BAD_COMPRESSION ||
           error == RD_KAFKA_RESP_ERR__NOT_IMPLEMENTED || error == RD_KAFKA_RESP_ERR_INVALID_MSG;
}

std::optional<std::string_view> bytes(const void* data, std::size_t size) {
    if (data == nullptr) {
        return std::nullopt;
    }
    return std::string_view(static_cast<const char*>(data), size);
}

Record record_of(const rd_kafka_message_t& message) {
    rd_kafka_timestamp_type_t type = RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
    const std::int64_t timestamp = rd_kafka_message_timestamp(&message, &type);
    Record record{.partition = Partition{message.partition},
                  .offset = Offset{message.offset},
                  .timestamp = std::nullopt,
                  .key = bytes(message.key, message.key_len),
                  .value = bytes(message.payload, message.len)};
    if (type != RD_KAFKA_TIMESTAMP_NOT_AVAILABLE && timestamp >= 0) {
        record.timestamp = Millis{timestamp};
    }
    return record;
}

/// Consumes the error; empty when there was none.
std::string text_of(rd_kafka_error_t* error) {
    if (error == nullptr) {
        return {};
    }
    std::string text = rd_kafka_error_string(error);
    rd_kafka_error_destroy(error);
    return text;
}

struct LastError {
    std::string text;
    bool explains = false;
};

}  // namespace

tl::expected<int, KafkaStartError> probe_topic(const KafkaSourceConfig& config, milliseconds timeout) {
    auto conf = kafka_conf(connection_properties(config), config.properties);
    if (!conf) {
        return tl::unexpected(KafkaStartError{conf.error(), false});
    }
    LastError last;  // outlives the handle
    rd_kafka_conf_set_log_cb(conf->get(), log_line);
    rd_kafka_conf_set_opaque(conf->get(), &last);
    rd_kafka_conf_set_error_cb(conf->get(), [](rd_kafka_t*, int error, const char* reason, void* opaque) {
        auto& kept = *static_cast<LastError*>(opaque);
        // A certificate or a password that is refused says more than an address of the same host where nobody listens;
        // that all brokers are down says less than the reason for each of them.
        const bool explains = error == RD_KAFKA_RESP_ERR__SSL || error == RD_KAFKA_RESP_ERR__AUTHENTICATION;
        if (error != RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN && (explains || !kept.explains)) {
            kept = {reason, explains};
        }
    });
    auto handle = kafka_handle(RD_KAFKA_CONSUMER, std::move(*conf));
    if (!handle) {
        return tl::unexpected(KafkaStartError{handle.error(), false});
    }
    rd_kafka_topic_t* topic = rd_kafka_topic_new(handle->get(), config.topic.c_str(), nullptr);
    if (topic == nullptr) {
        return tl::unexpected(KafkaStartError{"not a topic name: " + config.topic, false});
    }
    const rd_kafka_metadata_t* metadata = nullptr;
    const rd_kafka_resp_err_t error = rd_kafka_metadata(handle->get(), 0, topic, &metadata, static_cast<int>(timeout.count()));
    rd_kafka_poll(handle->get(), 0);  // serves the error callback
    rd_kafka_topic_destroy(topic);
    if (error != RD_KAFKA_RESP_ERR_NO_ERROR) {
        const std::string text = last.text.empty() ? rd_kafka_err2str(error) : last.text;
        return tl::unexpected(KafkaStartError{fmt::format("no broker answers at {}: {}", config.brokers, no_broker_answers(text)), true});
    }
    const rd_kafka_metadata_topic_t& found = metadata->topics[0];
    const int partitions = found.partition_cnt;
    const rd_kafka_resp_err_t topic_error = found.err;
    rd_kafka_metadata_destroy(metadata);
    if (topic_error != RD_KAFKA_RESP_ERR_NO_ERROR || partitions == 0) {
        const bool unknown = topic_error == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART || topic_error == RD_KAFKA_RESP_ERR_NO_ERROR;
        return tl::unexpected(KafkaStartError{
            unknown ? fmt::format("the topic {} does not exist at {}; hint: create it, topkd does not", config.topic, config.brokers)
                    : fmt::format("the topic {} cannot be read: {}", config.topic, rd_kafka_err2str(topic_error)),
            topic_error == RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE, unknown});
    }
    return partitions;
}

void KafkaSource::HandleDelete::operator()(rd_kafka_t* handle) const {
    if (rd_kafka_consumer_closed(handle) != 0) {
        rd_kafka_destroy(handle);
    } else {
        rd_kafka_destroy_flags(handle, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
    }
}

KafkaSource::~KafkaSource() = default;

tl::expected<std::unique_ptr<KafkaSource>, std::string> KafkaSource::create(const KafkaSourceConfig& config, int partitions) {
    auto conf = kafka_conf(consumer_properties(config, partitions), config.properties);
    if (!conf) {
        return tl::unexpected(conf.error());
    }
    std::unique_ptr<KafkaSource> source(new KafkaSource(config.topic, config.queue_bytes, queue_limits(config.queue_bytes, partitions)));
    rd_kafka_conf_set_log_cb(conf->get(), log_line);
    rd_kafka_conf_set_opaque(conf->get(), source.get());
    rd_kafka_conf_set_rebalance_cb(conf->get(), on_rebalance);
    rd_kafka_conf_set_error_cb(conf->get(), on_error);
    rd_kafka_conf_set_stats_cb(conf->get(), on_statistics);
    source->heartbeat_interval_ = milliseconds_of(conf->get(), "heartbeat.interval.ms").value_or(source->heartbeat_interval_);
    source->session_timeout_ = milliseconds_of(conf->get(), "session.timeout.ms").value_or(source->session_timeout_);
    auto handle = kafka_handle(RD_KAFKA_CONSUMER, std::move(*conf));
    if (!handle) {
        return tl::unexpected(handle.error());
    }
    source->handle_.reset(handle->release());
    source->topic_.reset(rd_kafka_topic_new(source->handle_.get(), config.topic.c_str(), nullptr));
    source->queue_.reset(rd_kafka_queue_get_consumer(source->handle_.get()));
    if (!has_queue_backoff()) {
        source->waker_ = std::make_unique<FetchWaker>(source->handle_.get(), config.topic);
    }
    source->fetched_.reserve(kFetchedAtOnce);
    source->records_.reserve(kFetchedAtOnce);
    return source;
}

tl::expected<void, std::string> KafkaSource::subscribe() {
    const List topics = list_of({});
    rd_kafka_topic_partition_list_add(topics.get(), topic_name_.c_str(), RD_KAFKA_PARTITION_UA);
    if (const rd_kafka_resp_err_t error = rd_kafka_subscribe(handle_.get(), topics.get())) {
        return tl::unexpected(std::string(rd_kafka_err2str(error)));
    }
    return {};
}

bool KafkaSource::leave(milliseconds timeout) {
    leaving_ = true;
    waker_.reset();
    fetched_.clear();
    delivered_ = 0;
    queue_.reset();
    events_.clear();
    commit_pending_hint();
    const auto deadline = std::chrono::steady_clock::now() + timeout;
    const std::unique_ptr<rd_kafka_queue_t, decltype(&rd_kafka_queue_destroy)> queue(rd_kafka_queue_new(handle_.get()),
                                                                                     rd_kafka_queue_destroy);
    const std::string error = text_of(rd_kafka_consumer_close_queue(handle_.get(), queue.get()));
    if (!error.empty()) {
        spdlog::warn("cannot leave the group: {}", error);
        return false;
    }
    while (rd_kafka_consumer_closed(handle_.get()) == 0) {
        if (std::chrono::steady_clock::now() >= deadline) {
            return false;
        }
        // Not rd_kafka_queue_poll_callback: that aborts the process when it meets a record.
        const Message nobody_counts(rd_kafka_consume_queue(queue.get(), 100));
    }
    return true;
}

void KafkaSource::on_rebalance(rd_kafka_t* handle, rd_kafka_resp_err_t kind, rd_kafka_topic_partition_list_t* partitions, void* opaque) {
    auto& self = *static_cast<KafkaSource*>(opaque);
    std::vector<Partition> named;
    for (int i = 0; i < partitions->cnt; ++i) {
        named.push_back(Partition{partitions->elems[i].partition});
    }
    if (self.leaving_) {
        kind == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS ? self.acknowledge_assigned() : self.acknowledge_revoked(named);
    } else if (kind == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS) {
        self.events_.emplace_back(Assigned{std::move(named)});
    } else {
        self.events_.emplace_back(Revoked{std::move(named), rd_kafka_assignment_lost(handle) != 0});
    }
    if (self.waiting_) {
        rd_kafka_yield(handle);  // what is waited for is there
    }
}

void KafkaSource::on_error(rd_kafka_t* handle, int error, const char* reason, void* opaque) {
    auto& self = *static_cast<KafkaSource*>(opaque);
    const auto code = static_cast<rd_kafka_resp_err_t>(error);
    if (code == RD_KAFKA_RESP_ERR__FATAL) {
        std::array<char, 512> text{};
        rd_kafka_fatal_error(handle, text.data(), text.size());
        self.events_.emplace_back(SourceTrouble{text.data(), true});
    } else if (code == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN || code == RD_KAFKA_RESP_ERR__AUTHENTICATION) {
        self.events_.emplace_back(SourceTrouble{reason, false});
    } else {
        spdlog::debug("librdkafka {}: {}", rd_kafka_err2name(code), reason);
    }
}

int KafkaSource::on_statistics(rd_kafka_t* handle, char* json, std::size_t size, void* opaque) {
    auto& self = *static_cast<KafkaSource*>(opaque);
    const bool steady = std::string_view(json, size).find(R"("join_state": "steady")") != std::string_view::npos;
    if (steady && rd_kafka_assignment_lost(handle) == 0) {
        self.commit_pending_hint();
    }
    if (!self.end_watch_.on_statistics({json, size})) {
        spdlog::debug("librdkafka's statistics cannot be read");
    }
    return 0;  // librdkafka frees the text
}

Delivery KafkaSource::poll(milliseconds timeout, std::size_t at_most) {
    records_.clear();
    if (delivered_ == fetched_.size()) {
        fetched_.clear();
        delivered_ = 0;
        if (events_.empty()) {
            fetch(timeout);
        }
    }
    return deliver(at_most);
}

void KafkaSource::fetch(milliseconds timeout) {
    // Statistics and errors have a queue of their own: behind the records they would come seconds late.
    rd_kafka_poll(handle_.get(), 0);
    std::array<rd_kafka_message_t*, kFetchedAtOnce> messages{};
    const auto take = [&](ssize_t count) {
        for (ssize_t i = 0; i < count; ++i) {
            fetched_.emplace_back(messages[static_cast<std::size_t>(i)]);
        }
    };
    take(rd_kafka_consume_batch_queue(queue_.get(), 0, messages.data(), messages.size()));
    keep_fetching();
    if (!fetched_.empty() || !events_.empty() || timeout <= milliseconds(0)) {
        return;
    }
    waiting_ = true;
    Message first(rd_kafka_consumer_poll(handle_.get(), static_cast<int>(timeout.count())));
    waiting_ = false;
    if (first) {
        fetched_.push_back(std::move(first));
        take(rd_kafka_consume_batch_queue(queue_.get(), 0, messages.data(), messages.size() - 1));
        keep_fetching();
    }
}

void KafkaSource::keep_fetching() {
    if (!waker_) {
        return;
    }
    std::size_t bytes = 0;
    for (const Message& message : fetched_) {
        bytes += message->len;  // librdkafka counts no keys
    }
    if (gauge_.taken(fetched_.size(), bytes, rd_kafka_queue_length(queue_.get())) && !started_.empty()) {
        waker_->wake(started_);
    }
}

Delivery KafkaSource::deliver(std::size_t at_most) {
    for (; delivered_ < fetched_.size() && records_.size() < at_most; ++delivered_) {
        const rd_kafka_message_t& message = *fetched_[delivered_];
        if (message.err != RD_KAFKA_RESP_ERR_NO_ERROR) {
            ++delivered_;
            return {records_, event_of(message)};
        }
        records_.push_back(record_of(message));
    }
    if (delivered_ < fetched_.size() || events_.empty()) {
        return {records_, Nothing{}};
    }
    SourceEvent event = std::move(events_.front());
    events_.pop_front();
    return {records_, std::move(event)};
}

SourceEvent KafkaSource::event_of(const rd_kafka_message_t& message) const {
    if (message.err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
        return EndOfPartition{Partition{message.partition}, Offset{message.offset}};
    }
    const std::string text = rd_kafka_message_errstr(&message);
    if (message.rkt != nullptr && message.partition >= 0) {
        if (loses_position(message.err)) {
            return PartitionTrouble{Partition{message.partition}, text};
        }
        if (is_unreadable(message.err)) {
            return Unreadable{Partition{message.partition}, text};
        }
    }
    return SourceTrouble{text, needs_a_human(message.err)};
}

KafkaSource::List KafkaSource::list_of(const std::vector<StartAt>& partitions) const {
    List list(rd_kafka_topic_partition_list_new(static_cast<int>(partitions.size())));
    for (const StartAt& one : partitions) {
        rd_kafka_topic_partition_list_add(list.get(), topic_name_.c_str(), raw(one.partition))->offset = raw(one.offset);
    }
    return list;
}

KafkaSource::List KafkaSource::started_among(const std::vector<Partition>& partitions) const {
    List list = list_of({});
    for (const Partition partition : partitions) {
        if (started_.contains(partition)) {
            rd_kafka_topic_partition_list_add(list.get(), topic_name_.c_str(), raw(partition));
        }
    }
    return list;
}

void KafkaSource::unassign(const std::vector<Partition>& partitions) {
    const List list = started_among(partitions);
    const std::string error = text_of(rd_kafka_incremental_unassign(handle_.get(), list.get()));
    if (!error.empty()) {
        spdlog::debug("incremental unassign: {}", error);
    }
    for (const Partition partition : partitions) {
        started_.erase(partition);
    }
    const auto undelivered = fetched_.begin() + static_cast<std::ptrdiff_t>(delivered_);
    fetched_.erase(std::remove_if(undelivered, fetched_.end(),
                                  [this](const Message& message) {
                                      return message->rkt != nullptr && !started_.contains(Partition{message->partition});
                                  }),
                   fetched_.end());
    end_watch_.forget(partitions);
}

void KafkaSource::acknowledge_assigned() {
    const List nothing = list_of({});
    const std::string error = text_of(rd_kafka_incremental_assign(handle_.get(), nothing.get()));
    if (!error.empty()) {
        spdlog::warn("the assignment could not be acknowledged: {}", error);
    }
}

void KafkaSource::acknowledge_revoked(const std::vector<Partition>& partitions) {
    for (const Partition partition : partitions) {
        hint_.erase(partition);
    }
    unassign(partitions);
}

bool KafkaSource::assignment_lost() const {
    return rd_kafka_assignment_lost(handle_.get()) != 0;
}

bool KafkaSource::start(const std::vector<StartAt>& partitions) {
    std::vector<Partition> named;
    for (const StartAt& one : partitions) {
        named.push_back(one.partition);
    }
    if (std::any_of(named.begin(), named.end(), [this](Partition p) { return started_.contains(p); })) {
        unassign(named);
    }
    const List list = list_of(partitions);
    const std::string error = text_of(rd_kafka_incremental_assign(handle_.get(), list.get()));
    if (!error.empty()) {
        spdlog::warn("partitions could not be started: {}", error);
        return false;
    }
    started_.insert(named.begin(), named.end());
    warn_of_too_many();
    return true;
}

void KafkaSource::warn_of_too_many() {
    if (started_.size() <= std::max(within_memory_, warned_of_)) {
        return;
    }
    spdlog::warn(
        "{} partitions are read: fetches of small, well compressed records may take more than --memory, which is enough for {}; hint: a "
        "larger --memory, or more consumers",
        started_.size(), within_memory_);
    warned_of_ = started_.size();
}

void KafkaSource::stop(const std::vector<Partition>& partitions) {
    if (std::any_of(partitions.begin(), partitions.end(), [this](Partition p) { return started_.contains(p); })) {
        unassign(partitions);
    }
}

tl::expected<int, std::string> KafkaSource::ask_partition_count() {
    const rd_kafka_metadata_t* metadata = nullptr;
    if (const auto error = rd_kafka_metadata(handle_.get(), 0, topic_.get(), &metadata, kAskTimeoutMs)) {
        return tl::unexpected(std::string(rd_kafka_err2str(error)));
    }
    const std::unique_ptr<const rd_kafka_metadata_t, KafkaDelete> owner(metadata);
    if (metadata->topic_cnt != 1 || metadata->topics[0].err != RD_KAFKA_RESP_ERR_NO_ERROR) {
        return tl::unexpected(std::string(rd_kafka_err2str(metadata->topics[0].err)));
    }
    return metadata->topics[0].partition_cnt;
}

/// One request a broker: timestamps -1 and -2 are ListOffsets' latest (under read_committed: the last stable one) and earliest. An error of
/// one partition, or of one broker, is the whole call's.
rd_kafka_resp_err_t KafkaSource::ask_offsets(const std::vector<Partition>& partitions, std::int64_t logical, milliseconds timeout,
                                             std::map<Partition, Offset>* offsets, TopicState* topic) {
    std::vector<StartAt> asked;
    for (const Partition partition : partitions) {
        asked.push_back({partition, Offset{logical}});
    }
    const List list = list_of(asked);
    const auto error = rd_kafka_offsets_for_times(handle_.get(), list.get(), static_cast<int>(timeout.count()));
    const bool none_has_leader = error == RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION || error == RD_KAFKA_RESP_ERR__NOENT;
    if (error != RD_KAFKA_RESP_ERR_NO_ERROR && !none_has_leader) {
        return error;
    }
    for (int i = 0; i < list->cnt; ++i) {
        const rd_kafka_topic_partition_t& answer = list->elems[i];
        if (none_has_leader || answer.err != RD_KAFKA_RESP_ERR_NO_ERROR || answer.offset < 0) {
            const auto why = answer.err != RD_KAFKA_RESP_ERR_NO_ERROR ? answer.err : RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE;
            topic->missing.emplace(Partition{answer.partition}, rd_kafka_err2str(why));
        } else {
            offsets->emplace(Partition{answer.partition}, Offset{answer.offset});
        }
    }
    return RD_KAFKA_RESP_ERR_NO_ERROR;
}

/// Of the topic's partitions that are not missing; those found to be are noted.
std::map<Partition, Offset> KafkaSource::ask_offsets(std::int64_t logical, TopicState& topic) {
    std::vector<Partition> asked;
    std::copy_if(topic.partitions.begin(), topic.partitions.end(), std::back_inserter(asked),
                 [&](Partition partition) { return !topic.missing.contains(partition); });
    std::map<Partition, Offset> offsets;
    if (asked.empty()) {
        return offsets;
    }
    const auto error = ask_offsets(asked, logical, milliseconds(kAskTimeoutMs), &offsets, &topic);
    if (error == RD_KAFKA_RESP_ERR_NO_ERROR) {
        return offsets;
    }
    if (asked.size() == 1) {
        topic.missing.emplace(asked.front(), rd_kafka_err2str(error));
        return offsets;
    }
    // One by one, to learn whose it is: the others are told at once. Those that there is no time for are left for the next question.
    const auto until = std::chrono::steady_clock::now() + milliseconds(kAskTimeoutMs);
    for (const Partition partition : asked) {
        if (std::chrono::steady_clock::now() >= until) {
            std::erase(topic.partitions, partition);
            continue;
        }
        const auto why = ask_offsets({partition}, logical, milliseconds(kAskOneTimeoutMs), &offsets, &topic);
        if (why != RD_KAFKA_RESP_ERR_NO_ERROR) {
            topic.missing.emplace(partition, rd_kafka_err2str(why));
        }
    }
    return offsets;
}

tl::expected<TopicState, std::string> KafkaSource::describe(const std::vector<Partition>& partitions) {
    TopicState topic;
    const auto count = ask_partition_count();
    if (!count) {
        return tl::unexpected(count.error());
    }
    topic.partition_count = *count;
    char* cluster = rd_kafka_clusterid(handle_.get(), kAskTimeoutMs);
    if (cluster == nullptr) {
        return tl::unexpected(std::string("the brokers do not tell their cluster's id"));
    }
    topic.cluster_id = cluster;
    rd_kafka_mem_free(handle_.get(), cluster);
    topic.partitions = partitions;
    for (int i = 0; partitions.empty() && i < *count; ++i) {
        topic.partitions.push_back(Partition{i});
    }
    const auto starts = ask_offsets(RD_KAFKA_OFFSET_BEGINNING, topic);
    const auto ends = ask_offsets(RD_KAFKA_OFFSET_END, topic);
    std::erase_if(topic.partitions, [&](Partition partition) { return topic.missing.contains(partition); });
    for (const Partition partition : topic.partitions) {
        topic.log_starts.push_back(starts.at(partition));
        topic.log_ends.push_back(ends.at(partition));
    }
    return topic;
}

void KafkaSource::commit_hint(const std::vector<StartAt>& offsets) {
    for (const StartAt& one : offsets) {
        hint_[one.partition] = one.offset;
    }
}

void KafkaSource::commit_pending_hint() {
    std::vector<StartAt> offsets;
    for (const auto& [partition, offset] : std::exchange(hint_, {})) {
        offsets.push_back({partition, offset});
    }
    if (!offsets.empty()) {
        const List list = list_of(offsets);
        rd_kafka_commit(handle_.get(), list.get(), /*async=*/1);
    }
}

std::optional<Offset> KafkaSource::known_end(Partition partition) const {
    std::int64_t low = -1;
    std::int64_t high = -1;
    if (rd_kafka_get_watermark_offsets(handle_.get(), topic_name_.c_str(), raw(partition), &low, &high) != RD_KAFKA_RESP_ERR_NO_ERROR ||
        high < 0) {
        return std::nullopt;
    }
    return Offset{high};
}

}  // namespace topkd
