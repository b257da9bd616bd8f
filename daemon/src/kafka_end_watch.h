// Which partitions are known to be read to their ends, and as of when: gathered from librdkafka's statistics, without
// asking the brokers. The proof, for one partition and the broker that it is fetched from: at the moment t of some
// statistics n fetches had been sent; now it is n + 3 or more on the same connection, and one is under way at a time. So
// the fetch n + 1 was sent after t and has been answered, and the end that librdkafka knows is the one of that answer or a
// later one: the log ended there at some moment after t. A broker that is silent, restarted or replaced as leader proves
// nothing; a fetch that fails for one partition leaves no end. Requires CLOCK_MONOTONIC behind the statistics' "ts" and
// behind std::chrono::steady_clock, as on Linux. One thread.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "source.h"
#include "types.h"

namespace topkd {

class KafkaEndWatch {
  public:
    explicit KafkaEndWatch(std::string topic) : topic_(std::move(topic)) {}

    /// Takes one JSON text of librdkafka's statistics; what it cannot read proves nothing. False if it could not be read.
    bool on_statistics(std::string_view json);

    std::optional<ConfirmedEnd> confirmed_end(Partition partition) const;

    /// After this moment a fetch was sent that has been answered for the partition, whether a transaction is open in it or not.
    std::optional<Instant> answered_since(Partition partition) const;

    /// These are read from other offsets, or no longer: what was seen is forgotten.
    void forget(const std::vector<Partition>& partitions);

  private:
    /// A connection to a broker, and how many fetches it had been sent over all of them.
    struct Fetches {
        std::int64_t broker = -1;
        std::int64_t connects = 0;
        std::int64_t sent = 0;
    };
    class Proof {
      public:
        /// Takes what is seen at a moment; now is null while the end is unknown or its broker away. When a proof is complete: as of when.
        std::optional<Instant> look(const Fetches* now, Instant when);

      private:
        std::optional<Fetches> since_;
        Instant since_when_;
    };
    struct Watched {
        Proof end;
        std::optional<ConfirmedEnd> confirmed;
        Proof answer;
        std::optional<Instant> answered;
    };
    struct End {
        std::int64_t broker = -1;
        Offset offset{};
        bool is_open = false;  ///< a transaction is
    };
    struct Seen {
        Instant when;
        std::map<std::int64_t, Fetches> brokers;  ///< those connected
        std::map<Partition, End> ends;
    };

    std::optional<Seen> parse(std::string_view json) const;

    std::string topic_;
    std::map<Partition, Watched> watched_;
};

}  // namespace topkd
