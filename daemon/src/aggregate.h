// Sums of views by (hour, video) between two flushes: what makes a flush cost its distinct videos and not its records.
// The same class collects deltas (encode) and late views (cells). The result does not depend on the order of adds, and
// two aggregates added together give what one would have: flushes may be cut anywhere.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "types.h"

namespace topkd {

/// One sum. video_id borrows from the aggregate, until it is changed, cleared or gone.
struct Cell {
    Millis hour_start{};
    std::string_view video_id;
    std::int64_t views = 0;
    std::int64_t records = 0;
};

/// A hash table over an arena. Not thread safe. Its hash is keyed anew in every aggregate: ids are chosen by strangers,
/// who must not be able to make them collide.
class Aggregate {
  public:
    Aggregate();
    ~Aggregate();
    Aggregate(Aggregate&&) noexcept;
    Aggregate& operator=(Aggregate&&) noexcept;

    /// Adds one record's views. Requires 1 <= video_id.size() <= kMaxVideoIdBytes and views > 0; hour_start is the start
    /// of one of the counter's hours. Sums fit: 2^63 views are nine million million greatest events.
    void add(Millis hour_start, std::string_view video_id, std::int64_t views);

    std::size_t size() const;  ///< distinct (hour, video)
    bool empty() const { return size() == 0; }

    /// Memory that the cells occupy, table and arena, in bytes; 0 when empty. Never less than what size() cells need.
    /// Room kept for reuse after clear() is not counted: it is at most what the last filling occupied.
    std::size_t bytes() const;

    /// All cells by hour, then by video_id bytewise, both ascending.
    std::vector<Cell> cells() const;

    /// The delta encoding that topk.flush reads, version 1, all integers big-endian; empty: the version byte alone.
    ///   deltas := 0x01 hour*
    ///   hour   := start int64 (ms since the epoch)  count uint32 > 0  entry{count}      ascending by start
    ///   entry  := length uint16  id bytes  views int64 > 0                              ascending by id, bytewise
    std::string encode() const;

    /// Empties it; room is kept for the next filling.
    void clear();

  private:
    class Table;  // keeps the hash table library out of this header
    std::unique_ptr<Table> table_;
};

}  // namespace topkd
