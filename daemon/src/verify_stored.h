// What the database says was consumed and counted, read in one repeatable-read snapshot: the side of `topkd verify` that is
// checked. Nothing here knows how records become counts.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <tl/expected.hpp>
#include <unordered_map>
#include <utility>
#include <vector>

struct pg_conn;

namespace topkd::verify {

/// Instants are milliseconds since the epoch throughout.
using Instant = std::int64_t;

/// What one progress row, of today or archived by a reset, says about the offsets [start, next) of a partition.
struct Book {
    int partition = 0;
    std::int64_t start = 0;
    std::int64_t next = 0;
    std::int64_t counted = 0;
    std::int64_t late = 0;
    std::int64_t dead = 0;
    std::int64_t skipped = 0;
    std::optional<std::int64_t> last_offset;  ///< with the fingerprint of the record there
    std::optional<std::int64_t> last_timestamp;
    std::optional<std::int64_t> last_crc;
    std::string cluster_id;
    Instant flushed_at = 0;
    std::string reset_reason;           ///< or of its retirement; empty for today's row
    bool retired = false;               ///< by topk.retire_partition, and not reset
    std::optional<Instant> watermark;   ///< none before the first event
    bool clock_advanced = false;        ///< the watermark followed the clock at some time
    std::optional<Instant> created_at;  ///< none where the row does not say
};

struct DeadLetter {
    std::string reason;
    std::optional<std::string> payload;
    Instant recorded_at = 0;
    bool seen = false;  ///< its record was found in the log
};

/// Views of one video in one hour: what the tables have, as it was before corrections, and what the log has.
struct Views {
    std::int64_t counted = 0;
    std::int64_t late = 0;
    std::int64_t recounted = 0;  ///< in time
    std::int64_t recounted_late = 0;
};

using HourViews = std::unordered_map<std::string, Views>;
using Sums = std::unordered_map<std::string, std::int64_t>;  ///< views by video
using PartitionOffset = std::pair<int, std::int64_t>;

struct Stored {
    std::vector<Book> books;
    std::map<PartitionOffset, std::vector<DeadLetter>> dead_letters;
    std::unordered_map<Instant, HourViews> hours;  ///< by the hour's start
    Instant counter_created_at = 0;
    std::int64_t max_age = 0;  ///< milliseconds, like the next one
    std::int64_t max_clock_skew = 0;
    std::int64_t lateness = 0;
    std::int64_t corrections = 0;           ///< by topk.correct, taken back in the hours above
    std::vector<std::string> other_topics;  ///< that were counted into the same tables

    // Hours of a day of which some have expired are not in the hours above but in their day here, with all views in time; days of a
    // month likewise, in their month.
    std::optional<Instant> hours_expired_through;  ///< none: nothing expired
    std::optional<Instant> days_expired_through;
    std::unordered_map<Instant, Sums> days;
    std::unordered_map<Instant, Sums> months;
    std::unordered_map<Instant, std::int64_t> expired_late;  ///< late views that are no longer in the hours above, by hour
    std::map<int, std::int64_t> expired_dead;                ///< dead letters that are no longer above, by partition
};

/// An hour window of the counter.
struct HourBounds {
    Instant start = 0;
    Instant end = 0;
    Instant day = 0;  ///< the start of its day
    Instant month = 0;
};

/// A connection of its own to the database that the counter lives in.
class StoredReader {
  public:
    static tl::expected<StoredReader, std::string> connect(const std::string& conninfo);

    /// Everything about the counter and the topic, as of one snapshot, which is not held any longer than that.
    tl::expected<Stored, std::string> read(const std::string& counter, const std::string& topic);

    /// The counter's hours that overlap [since, until), ascending.
    tl::expected<std::vector<HourBounds>, std::string> hours(const std::string& counter, Instant since, Instant until);

  private:
    struct Disconnect {
        void operator()(pg_conn* connection) const;
    };
    explicit StoredReader(pg_conn* connection) : connection_(connection) {}

    std::unique_ptr<pg_conn, Disconnect> connection_;
};

}  // namespace topkd::verify
