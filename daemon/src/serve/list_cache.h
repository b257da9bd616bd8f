// The micro-cache: many clients ask for the same list at once, the database is asked once.
//
// - An answer is served for at most `period` after its snapshot was taken (its `taken`, before the query began), never older.
// - Who asks while a query for the same list is under way waits for it. If that query's snapshot turns out to be older than the period
//   when it is done, only those are served who asked before it began; the others share the next one.
// - The longest k of the period is fetched, smaller ones are cut from it. An error is told to all who wait, and not kept.
// - With a period of 0 nothing is kept, and nobody shares.
// Bounded by entries and bytes; the least recently used go. Any thread. Callbacks run on the caller's thread or the reader's, unlocked.
#pragma once

#include <chrono>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <tl/expected.hpp>
#include <vector>

#include "clock.h"
#include "serve/answer.h"
#include "serve/top_list.h"

namespace topkd {

using AnswerResult = tl::expected<std::shared_ptr<const Answer>, Problem>;
using AnswerCallback = std::function<void(const AnswerResult&)>;

/// Begins a query; the callback runs once, later or at once, on any thread.
class ListFetcher {
  public:
    virtual ~ListFetcher() = default;
    virtual void fetch(ListKey key, int k, std::function<void(ListResult)> done) = 0;
};

/// Told how well the cache does.
class CacheObserver {
  public:
    virtual ~CacheObserver() = default;
    virtual void hit() = 0;
    virtual void shared() = 0;
    virtual void miss() = 0;
};

class ListCache {
  public:
    struct Config {
        std::chrono::milliseconds period{250};
        std::size_t max_entries = 1024;
        std::size_t max_bytes = 64u << 20;
    };

    /// All outlive the cache, and every fetch has ended before the cache ends.
    ListCache(Config config, ListFetcher& fetcher, const Clock& clock, CacheObserver* observer)
        : config_(config), fetcher_(fetcher), clock_(clock), observer_(observer) {}

    /// Calls back with an answer that has the first k. What is kept is served up to `oldest`, if that is less than the period.
    void get(const ListKey& key, int k, AnswerCallback done, std::chrono::milliseconds oldest = std::chrono::milliseconds::max());

    std::size_t entries() const;
    std::size_t bytes() const;

  private:
    struct Waiter {
        int k;
        Instant asked;
        AnswerCallback done;
    };
    struct Fetch {
        ListKey key;
        int k;
        std::vector<Waiter> waiters;
    };
    struct Entry {
        std::shared_ptr<const Answer> answer;  ///< null: none yet, or too old
        std::shared_ptr<Fetch> fetch;          ///< the one that may be joined
        int longest_k = 0;                     ///< asked since the last fetch began
        int longest_k_before = 0;              ///< and between that and the one before
        std::list<ListKey>::iterator use;
    };
    using Entries = std::map<ListKey, Entry>;

    bool is_fresh(Instant taken, Instant now) const { return now - taken <= config_.period; }
    Entry& touch(const ListKey& key);
    std::shared_ptr<Fetch> plan_fetch(Entry& entry, const ListKey& key);
    void begin(const std::shared_ptr<Fetch>& fetch);
    void finish(const std::shared_ptr<Fetch>& fetch, ListResult result);
    void keep(const ListKey& key, const std::shared_ptr<const Answer>& answer, Instant now);
    void let_go();

    const Config config_;
    ListFetcher& fetcher_;
    const Clock& clock_;
    CacheObserver* const observer_;
    mutable std::mutex mutex_;
    Entries entries_;
    std::list<ListKey> uses_;  ///< the latest first
    std::size_t bytes_ = 0;
};

}  // namespace topkd
