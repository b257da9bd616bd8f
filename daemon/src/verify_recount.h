// Counts the records of a log again and compares with what is stored. Pure: the log's records and the counter's hours are
// handed in. Every way in which the two can differ ends in one line of text.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <vector>

#include "verify_split.h"
#include "verify_stored.h"
#include "verify_windows.h"

namespace topkd::verify {

struct Decoded;

/// One record as the verifier's consumer delivered it.
struct LogRecord {
    int partition = 0;
    std::int64_t offset = 0;
    std::optional<std::int64_t> timestamp;
    std::optional<std::string_view> key;
    std::optional<std::string_view> value;
};

/// Differences: how many there are of each kind, and the first ones in words.
class Differences {
  public:
    enum class Kind : std::size_t { books, rows, records };
    static constexpr std::size_t kKinds = 3;
    static constexpr std::size_t kInWords = 20;

    void add(Kind kind, std::string difference);
    std::uint64_t count() const;
    std::uint64_t count(Kind kind) const { return counts_[static_cast<std::size_t>(kind)]; }

    /// At most kInWords, the kinds in turn, so that a flood of one does not hide another.
    std::vector<std::string> in_words() const;

  private:
    std::array<std::uint64_t, kKinds> counts_{};
    std::array<std::vector<std::string>, kKinds> words_;
};

struct Totals {
    std::int64_t records = 0;
    std::int64_t events = 0;  ///< counted or late
    std::int64_t dead = 0;
    std::int64_t skipped = 0;
    std::int64_t late = 0;  ///< as the tables have it
    std::size_t rows = 0;   ///< (hour, video) pairs
};

class Recount {
  public:
    /// The counter's hours that overlap [since, until), or why they are not known.
    using HoursOf = std::function<tl::expected<std::vector<HourBounds>, std::string>(Instant since, Instant until)>;

    Recount(Stored stored, HoursOf hours_of);

    /// Counts a record if it lies in a book. Records of a partition come in offset order, each once. Fails only where the
    /// hours are not known.
    std::optional<std::string> add(const LogRecord& record);

    /// After the last record of every book: what differs. Call once.
    Differences compare();

    const Totals& totals() const { return totals_; }

    std::int64_t corrections() const { return stored_.corrections; }

    /// True if rows of hours have expired.
    bool days_compared() const { return stored_.hours_expired_through.has_value(); }

    /// After compare: how many of the dead letters that expired cannot be told from the log. They are of events which were too old, or
    /// ahead of the clock, by a clock that nobody knows any more, so that views the tables lack may be theirs.
    std::int64_t unplaced_dead() const { return unplaced_dead_; }

    /// After compare: why counted and late were compared in their sum only; none if also one by one.
    const std::optional<std::string>& split_not_compared() const { return split_not_compared_; }

  private:
    struct PartitionTotals {
        std::int64_t records = 0;
        std::int64_t events = 0;
        std::int64_t late = 0;  ///< of the events
        std::int64_t dead = 0;
        std::int64_t expired_dead = 0;  ///< dead letters that expired, and are not found in the log yet
        Instant last_flush = 0;
    };

    /// In how many books the record is: more than one after a reset to an earlier offset.
    std::int64_t books_of(const LogRecord& record) const;
    void check_fingerprint(const LogRecord& record);
    void check_limits(const LogRecord& record, Instant time, Instant last_flush);
    std::int64_t place_expired_dead(const LogRecord& record, const Decoded& event, std::int64_t missing);
    void check_dead(const LogRecord& record, unsigned faults, Instant time, std::vector<DeadLetter>& letters, std::int64_t books);
    std::optional<std::string> count(const LogRecord& record, const Decoded& event, std::int64_t times);
    std::optional<std::string> find_hour(Instant time);
    void compare_books();
    void compare_dead_letters();
    void look_up_hours();
    void compare_views();
    void compare_window(const WindowName& name, const Window& window);
    void compare_watermarks();

    Stored stored_;
    HoursOf hours_of_;
    std::map<Instant, HourBounds> hours_;  ///< by start
    HourBounds current_hour_;              ///< of the record before, where the next one most likely lies as well
    HourViews* current_views_ = nullptr;
    std::map<int, PartitionTotals> partitions_;
    EventTimes times_;
    Totals totals_;
    std::optional<std::string> split_not_compared_;
    std::int64_t unplaced_dead_ = 0;
    Differences differences_;
};

/// The fingerprint of a record as the books keep it (CRC-32C).
std::uint32_t fingerprint_of(const LogRecord& record);

}  // namespace topkd::verify
