// The consumer thread's loop: events of the source into a batch, batches to the sink worker, and one way back from any
// trouble. The invariant that exactly-once rests on: whatever is in the growing batch or in the batch in flight was read
// from its partition's committed offset on, without a gap and without a repetition. Whenever that could become untrue
// (a flush failed or its outcome is unknown, partitions went, windows were sealed) the pipeline rewinds: it throws
// away everything unflushed and starts every partition again at the offset that the database has.
// One thread; it never waits for the database. Knows neither librdkafka nor libpq.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "backoff.h"
#include "batch.h"
#include "clock.h"
#include "decode.h"
#include "event_time.h"
#include "flush_policy.h"
#include "idle.h"
#include "metrics.h"
#include "partition_state.h"
#include "sink_worker.h"
#include "source.h"
#include "window.h"

namespace topkd {

struct PipelineConfig {
    std::string counter;
    std::string topic;
    std::chrono::milliseconds flush_interval{500};
    std::size_t growing_bytes = 64 << 20;
    std::chrono::milliseconds heartbeat_interval{3000};
    std::chrono::milliseconds session_timeout{45'000};
    /// With --exit-at-end: where each partition of the topic ended at the start. Empty: run for ever.
    std::map<Partition, Offset> ends;
    Metrics* metrics = nullptr;  ///< may be null; outlives the pipeline
};

struct PipelineStats {
    std::uint64_t records = 0;  ///< consumed, read again after a rewind included
    std::uint64_t late = 0;     ///< among them
    std::uint64_t flushes = 0;
    std::uint64_t rewinds = 0;
    std::chrono::milliseconds last_flush{};
};

class Pipeline {
  public:
    enum class Status { kRunning, kFinished, kFailed };

    /// The sink is connected already. All referenced objects outlive the pipeline.
    Pipeline(Source& source, SinkWorker& worker, const Clock& clock, PipelineConfig config);

    /// One round: takes a result, submits a job, reads some records. Returns after about 100 ms at the latest, a call of
    /// the source that waits for its brokers excepted.
    Status step();

    /// From now on nothing more is read, and step only flushes what there is; then leave the group.
    void begin_stop() { stopping_ = true; }

    /// While stopping: nothing is unflushed and no job is under way.
    bool drained() const { return batch_.empty() && !flush_in_flight_; }

    /// Whether anything read since the last flush was thrown away while stopping. That is safe: it will be read again.
    bool discarded_at_stop() const { return discarded_at_stop_; }

    /// Why the status is kFailed: one line.
    const std::string& failure() const { return failure_; }

    const PipelineStats& stats() const { return stats_; }

    /// Offsets known to lie between the positions and the ends of the claimed partitions.
    std::int64_t lag() const;

    std::size_t partitions() const { return partitions_.size(); }

    /// For the metrics.
    IngestState state() const;

    /// Why it does not do its work, in a few words; empty if it does, or has no partition to do it for.
    std::string trouble() const;

  private:
    struct PendingRevocation {
        std::vector<Partition> partitions;
        Instant deadline;      ///< until then a flush under way is waited for
        bool aborted = false;  ///< after it nothing more is waited for; from the beginning when lost
    };
    struct Poison {
        std::string reason;
        bool without_payload = false;
    };
    /// A flush whose outcome is unknown; the next resume tells it.
    struct UnknownFlush {
        FlushBooks books;
        std::map<Partition, PartitionProgress> partitions;
    };
    struct HourMissing {};
    struct Counted {
        Event event;
        const Hour* hour = nullptr;  ///< until hours are loaded
        bool late = false;
    };
    using Judgement = std::variant<Counted, DeadReason, HourMissing>;

    // pipeline.cpp: jobs and their results
    void submit_next();
    void submit(Job job);
    void submit_resume();
    bool submit_claim();
    void note_leaderless(const TopicState& topic, Instant retry);
    void unblock_claims();
    bool submit_hours();
    void submit_flush();
    std::optional<TopicState> describe(const std::vector<Partition>& partitions);
    void finish(ConnectDone& done);
    void finish(ClaimDone& done);
    void finish(FlushDone& done);
    void finish(HoursDone& done);
    void flush_succeeded(const FlushDone& done);
    void adopt(const ClaimRequest& request, const ClaimResult& result);
    std::uint64_t left_to_read() const;
    bool hours_ready() const;
    void tell_call_failed(const JobDone& done);

    // pipeline_recovery.cpp: what went wrong, and the way back
    void flush_failed(const FlushDone& done);
    void data_error(const Batch& batch, const SinkError& error);
    void implausible(PartitionState& state, const ClaimedPartition& claimed, Offset start, Offset end);
    void refuse(PartitionState& state, const std::string& reason);
    void settle_unknown_flush(const ClaimRequest& request, const ClaimResult& result);
    void watch_call();
    void call_ended();
    void forget_outage();
    void connection_lost();
    void database_failed(const SinkError& error);
    void database_works();
    void rewind(const char* reason);
    void start_held();
    void fail(const std::string& reason);

    // pipeline_records.cpp: events of the source
    void poll_some();
    bool wait_while_full();
    void on_event(SourceEvent event);
    void on_records(std::span<const Record> records);
    void on_run(std::span<const Record> records, PartitionState& state);
    void read_beyond(PartitionState& state);
    void hears_again(PartitionState& state);
    void on_end(const EndOfPartition& end);
    void on_assigned(const Assigned& assigned);
    void on_revoked(const Revoked& revoked);
    void on_trouble(const PartitionTrouble& trouble);
    void on_unreadable(const Unreadable& unreadable);
    void on_trouble(const SourceTrouble& trouble);
    [[nodiscard]] bool consume(const Record& record, PartitionState& state);
    void bury(const Record& record, DeadReason reason, PartitionProgress& progress);
    Judgement judge(const Record& record, const PartitionState& state);
    void pass_over(PartitionState& state, Offset to);
    void settle_revocation();
    void acknowledge_revocation();
    void check_finished();
    bool past_end(const PartitionState& state) const;
    std::optional<Offset> end_of(Partition partition) const;
    std::chrono::milliseconds poll_timeout() const;
    std::string name_of(Partition partition) const;

    // pipeline_idle.cpp: partitions of which no record comes: watermarks that follow the clock, or a warning
    void advance_idle();
    void watch_silence();
    std::optional<Millis> idle_watermark(const PartitionState& state) const;
    void adopt_idle_advances(const Batch& batch);

    Source& source_;
    SinkWorker& worker_;
    const Clock& clock_;
    PipelineConfig config_;
    FlushPolicy policy_;
    Decoder decoder_;
    HourMap hours_;

    Status status_ = Status::kRunning;
    std::string failure_;
    PipelineStats stats_;
    Instant now_{};
    Millis wall_{};

    std::map<Partition, PartitionState> partitions_;  // exactly the assigned ones
    Batch batch_;
    Batch spare_;  // an earlier batch, emptied: its room serves the next one
    std::optional<Millis> sealed_through_;
    std::optional<CounterLimits> limits_;
    DatabaseClock database_clock_;
    Instant idle_advance_at_{};  // no idle advance before this

    bool connected_ = true;
    bool must_resume_ = false;
    bool flush_in_flight_ = false;
    const char* call_ = nullptr;  // the database's that is under way, in words; null if there is none, or it has a limit of its own
    Instant call_since_{};
    Instant hung_since_{};     // the same, or since the connection was broken for it
    bool stuck_told_ = false;  // of it
    bool stopping_ = false;
    bool discarded_at_stop_ = false;
    Backoff backoff_;
    Backoff refusal_backoff_;  // between refusals of a batch that a resume alone does not cure
    Instant retry_at_{};       // no job to the database before this
    Backoff describe_backoff_;
    Instant describe_at_{};  // no question to the brokers before this
    bool database_away_ = false;
    std::string database_trouble_;  // told last, so that it is told once
    bool flush_failing_ = false;    // the last flush was an outage: only a flush can say that it is over
    bool flush_cancelled_ = false;
    std::optional<UnknownFlush> unknown_flush_;
    int topic_partitions_ = 0;
    bool brokers_away_ = false;
    Instant silence_at_{};  // looked for next

    std::optional<Millis> missing_hour_;
    bool reload_hours_ = false;
    Instant hours_refresh_at_{};

    std::optional<PendingRevocation> revocation_;
    std::optional<Instant> claims_blocked_since_;
    std::optional<Instant> full_since_;
    std::map<std::pair<Partition, Offset>, Poison> poisons_;
    bool joined_ = false;
    std::optional<Instant> finished_since_;
};

}  // namespace topkd
