// The consumer group member, on librdkafka's C API. Written for the behaviour of 2.0.2 (Debian 12):
// - An assignment is acknowledged with an empty incremental assign, which completes the generation at once; partitions are
//   added later, each at the offset that the database gave.
// - Starting a partition again is incremental unassign + assign. The new version of the partition makes librdkafka drop
//   what it had queued, so no record of the old position follows. seek_partitions is not used: its timeout is broken.
// - A rebalance that waits for our answer takes any incremental call for the answer. That is early at worst: the fence
//   in the database, not the order of callbacks, keeps the counts right.
// - The batch call loses the record it has just taken when a callback yields, so none does there: a rebalance that lies amid
//   the records of a batch is told behind them, as if it had come a moment later. The call also waits until the
//   batch is full, so waiting is done by the call for one record.
// - A commit behind a JoinGroup on the coordinator's connection comes with the old generation, and the answer costs the
//   whole assignment. So hints wait for statistics that say the group is steady.
#pragma once

#include <librdkafka/rdkafka.h>

#include <chrono>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <tl/expected.hpp>
#include <vector>

#include "kafka_end_watch.h"
#include "kafka_fetch_waker.h"
#include "kafka_properties.h"
#include "kafka_queue_gauge.h"
#include "source.h"

namespace topkd {

/// Why the start failed: what will not change by waiting, or may.
struct KafkaStartError {
    std::string text;
    bool passing = false;
    bool topic_missing = false;  ///< a topic just created may not be known to every broker yet
};

/// How many partitions the topic has; asked with a short-lived handle.
tl::expected<int, KafkaStartError> probe_topic(const KafkaSourceConfig& config, std::chrono::milliseconds timeout);

class KafkaSource final : public Source {
  public:
    /// Makes the consumer; it does not join the group before subscribe.
    static tl::expected<std::unique_ptr<KafkaSource>, std::string> create(const KafkaSourceConfig& config, int partitions);
    ~KafkaSource() override;

    tl::expected<void, std::string> subscribe();
    std::chrono::milliseconds heartbeat_interval() const { return heartbeat_interval_; }
    std::chrono::milliseconds session_timeout() const { return session_timeout_; }

    /// Leaves the group, for so long at most; false if the library did not finish. Nothing may be called after it.
    bool leave(std::chrono::milliseconds timeout);

    Delivery poll(std::chrono::milliseconds timeout, std::size_t at_most) override;
    void acknowledge_assigned() override;
    void acknowledge_revoked(const std::vector<Partition>& partitions) override;
    bool assignment_lost() const override;
    bool start(const std::vector<StartAt>& partitions) override;
    void stop(const std::vector<Partition>& partitions) override;
    tl::expected<TopicState, std::string> describe(const std::vector<Partition>& partitions) override;
    void commit_hint(const std::vector<StartAt>& offsets) override;
    std::optional<Offset> known_end(Partition partition) const override;
    std::optional<ConfirmedEnd> confirmed_end(Partition partition) const override { return end_watch_.confirmed_end(partition); }
    std::optional<Instant> answered_since(Partition partition) const override { return end_watch_.answered_since(partition); }

  private:
    struct HandleDelete {
        void operator()(rd_kafka_t* handle) const;
    };
    struct TopicDelete {
        void operator()(rd_kafka_topic_t* topic) const { rd_kafka_topic_destroy(topic); }
    };
    struct MessageDelete {
        void operator()(rd_kafka_message_t* message) const { rd_kafka_message_destroy(message); }
    };
    struct QueueDelete {
        void operator()(rd_kafka_queue_t* queue) const { rd_kafka_queue_destroy(queue); }
    };
    struct ListDelete {
        void operator()(rd_kafka_topic_partition_list_t* list) const { rd_kafka_topic_partition_list_destroy(list); }
    };
    using Message = std::unique_ptr<rd_kafka_message_t, MessageDelete>;
    using List = std::unique_ptr<rd_kafka_topic_partition_list_t, ListDelete>;

    KafkaSource(const std::string& topic, std::uint64_t queue_bytes, const QueueLimits& limits)
        : topic_name_(topic),
          end_watch_(topic),
          gauge_(limits.messages, limits.kbytes * 1000),
          within_memory_(partitions_within(queue_bytes)) {}
    static void on_rebalance(rd_kafka_t* handle, rd_kafka_resp_err_t kind, rd_kafka_topic_partition_list_t* partitions, void* self);
    static int on_statistics(rd_kafka_t* handle, char* json, std::size_t size, void* self);
    static void on_error(rd_kafka_t* handle, int error, const char* reason, void* self);

    void fetch(std::chrono::milliseconds timeout);
    void keep_fetching();
    Delivery deliver(std::size_t at_most);
    SourceEvent event_of(const rd_kafka_message_t& message) const;
    List list_of(const std::vector<StartAt>& partitions) const;
    List started_among(const std::vector<Partition>& partitions) const;
    void commit_pending_hint();
    void unassign(const std::vector<Partition>& partitions);
    void warn_of_too_many();
    tl::expected<int, std::string> ask_partition_count();
    rd_kafka_resp_err_t ask_offsets(const std::vector<Partition>& partitions, std::int64_t logical, std::chrono::milliseconds timeout,
                                    std::map<Partition, Offset>* offsets, TopicState* topic);
    std::map<Partition, Offset> ask_offsets(std::int64_t logical, TopicState& topic);

    std::string topic_name_;
    KafkaEndWatch end_watch_;
    std::unique_ptr<rd_kafka_t, HandleDelete> handle_;
    std::unique_ptr<rd_kafka_topic_t, TopicDelete> topic_;  // these are destroyed before the handle
    std::unique_ptr<rd_kafka_queue_t, QueueDelete> queue_;
    QueueGauge gauge_;
    std::unique_ptr<FetchWaker> waker_;  // none where the library needs none
    std::vector<Message> fetched_;       // not delivered yet from `delivered_` on; before it, what the last delivery borrows from
    std::size_t delivered_ = 0;
    std::vector<Record> records_;     // the last delivery's
    std::deque<SourceEvent> events_;  // from callbacks
    bool waiting_ = false;            // in the call that may be ended by a yield
    std::set<Partition> started_;
    std::uint64_t within_memory_;  // so many partitions
    std::uint64_t warned_of_ = 0;
    std::map<Partition, Offset> hint_;  // to be committed when the group is steady
    std::chrono::milliseconds heartbeat_interval_{3000};
    std::chrono::milliseconds session_timeout_{45'000};
    bool leaving_ = false;
};

}  // namespace topkd
