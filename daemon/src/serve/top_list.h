// A list as the database gave it, and what goes with it, all of one snapshot; and the seam behind which the database is.
#pragma once

#include <chrono>
#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <tl/expected.hpp>
#include <vector>

#include "clock.h"
#include "serve/problem.h"
#include "types.h"

namespace topkd {

inline constexpr int kMaxK = 1000;

/// Which list: everything but how much of it.
struct ListKey {
    std::string counter;
    std::string window;        ///< as asked: hour, day, month, all_time or an interval
    std::optional<Millis> at;  ///< none: now

    friend auto operator<=>(const ListKey&, const ListKey&) = default;  // NOLINT(modernize-use-nullptr): its 0 is none
};

struct TopListEntry {
    std::string video_id;
    std::int64_t views = 0;
};

struct TopList {
    int k = 0;                           ///< as many were asked for; fewer entries: there are no more
    std::vector<TopListEntry> entries;   ///< views descending, then video id
    std::optional<Millis> window_start;  ///< none: all time
    std::optional<Millis> window_end;
    std::optional<Millis> watermark;  ///< everything before it is in; none: unknown
    bool sealed = false;              ///< the window no longer changes, but by corrections, which raise the revision
    std::int64_t revision = 0;
    std::int64_t counter_made = 0;  ///< tells a counter from one that had its name before
    Instant taken{};                ///< before the query began: no change committed by then is missing

    /// True if the first `wanted` are here.
    bool has(int wanted) const { return wanted <= k || entries.size() < static_cast<std::size_t>(k); }
};

using ListResult = tl::expected<TopList, Problem>;

/// One connection to the database. One thread, abort excepted.
class ListReader {
  public:
    virtual ~ListReader() = default;

    /// Connects if need be. Does not throw; a failure is logged here, with what clients are not told.
    virtual ListResult read(const ListKey& key, int k) = 0;

    /// The database answers, none otherwise: why not.
    virtual std::optional<Problem> ping() = 0;

    virtual bool connected() const = 0;

    /// Breaks the connection so that a call in progress fails soon. Any thread.
    virtual void abort() = 0;
};

}  // namespace topkd
