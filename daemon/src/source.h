// The seam to the log: what the pipeline needs of a Kafka consumer that is a member of a group. Every call is made from
// the consumer thread. Records come many at a time. A rebalance is an event: the source does not answer it by itself, the pipeline
// acknowledges it when it is ready to. Tests put a fake log behind this interface.
#pragma once

#include <chrono>
#include <cstddef>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <tl/expected.hpp>
#include <variant>
#include <vector>

#include "clock.h"
#include "types.h"

namespace topkd {

struct Nothing {};

/// The end of a partition was reached: nothing below `offset` is left to deliver, records or not.
struct EndOfPartition {
    Partition partition{};
    Offset offset{};
};

struct Assigned {
    std::vector<Partition> partitions;
};

/// Partitions taken away. Lost: somebody else may have them already.
struct Revoked {
    std::vector<Partition> partitions;
    bool lost = false;
};

/// Reading this partition cannot go on from where it was (offset out of range, topic deleted): claim it anew.
struct PartitionTrouble {
    Partition partition{};
    std::string text;
};

/// What lies at this partition's position cannot be read (its checksum, its codec): what was delivered before is good.
struct Unreadable {
    Partition partition{};
    std::string text;
};

/// Something about the connection or the group. Passing trouble heals by itself; fatal trouble does not.
struct SourceTrouble {
    std::string text;
    bool fatal = false;
};

using SourceEvent = std::variant<Nothing, EndOfPartition, Assigned, Revoked, PartitionTrouble, Unreadable, SourceTrouble>;

/// What one poll brought: records, each partition's in the order of its log, and what came behind them.
struct Delivery {
    std::span<const Record> records;
    SourceEvent event;
};

struct StartAt {
    Partition partition{};
    Offset offset{};
};

/// The topic as the brokers describe it now: bounds of the partitions asked for, in their order, ends exclusive; and why those are missing
/// that nobody can tell the bounds of, having no leader that answers. What is neither here nor missing was not asked for want of time.
struct TopicState {
    std::string cluster_id;
    int partition_count = 0;
    std::vector<Partition> partitions;
    std::vector<Offset> log_starts;
    std::vector<Offset> log_ends;
    std::map<Partition, std::string> missing;
};

/// What the broker that a partition is read from has answered: at `as_of` or later the log ended at `offset`.
struct ConfirmedEnd {
    Offset offset{};
    Instant as_of;
};

class Source {
  public:
    virtual ~Source() = default;

    /// Waits until there is anything, for as long as the timeout. Requires at_most > 0: that many records. They are valid until the
    /// next poll, also when it is found out amid them that their partition has to be stopped: the caller drops the rest.
    virtual Delivery poll(std::chrono::milliseconds timeout, std::size_t at_most) = 0;

    /// Answer to the last Assigned: joins the generation, starts nothing.
    virtual void acknowledge_assigned() = 0;

    /// Answer to the last Revoked: stops those of the partitions that were started.
    virtual void acknowledge_revoked(const std::vector<Partition>& partitions) = 0;

    /// True between the loss of the assignment and the answer to its Revoked event.
    virtual bool assignment_lost() const = 0;

    /// Delivers records from these offsets on; a partition already started is started again there, and nothing of its
    /// earlier position is delivered any more. False if it failed: none of the partitions is started then.
    virtual bool start(const std::vector<StartAt>& partitions) = 0;

    /// Delivers no more of these partitions; those not started are ignored. They stay assigned.
    virtual void stop(const std::vector<Partition>& partitions) = 0;

    /// Asks the brokers, for a few seconds at most. All partitions of the topic if `partitions` is empty.
    virtual tl::expected<TopicState, std::string> describe(const std::vector<Partition>& partitions) = 0;

    /// Tells the group how far it got, for lag monitors only: when it fits, never waiting.
    virtual void commit_hint(const std::vector<StartAt>& offsets) = 0;

    /// The end of the partition as last heard, without asking.
    virtual std::optional<Offset> known_end(Partition partition) const = 0;

    /// The last proof, if there is one, of where a started partition ended; without asking. It stands still while its broker
    /// does not answer, or while a transaction is open below the end. This is what allows to take silence for idleness.
    virtual std::optional<ConfirmedEnd> confirmed_end(Partition partition) const = 0;

    /// A moment after which the broker of a started partition has answered for it, open transactions or not; without asking.
    virtual std::optional<Instant> answered_since(Partition partition) const = 0;
};

}  // namespace topkd
