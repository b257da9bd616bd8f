// The micro-cache: merged misses, nothing older than the period, the longest k, errors; a property over random schedules against the rules
// themselves; many threads at once.
#include "serve/list_cache.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <thread>

#include "serve_fakes.h"

namespace topkd {
namespace {

using std::chrono::milliseconds;

const ListKey kHour{"video_views", "hour", std::nullopt};

class Counts final : public CacheObserver {
  public:
    void hit() override { ++hits; }
    void shared() override { ++shares; }
    void miss() override { ++misses; }
    std::atomic<int> hits = 0, shares = 0, misses = 0;
};

struct ListCacheTest : testing::Test {
    /// Asks, and keeps the answer in the place that is returned.
    std::shared_ptr<AnswerResult> ask(int k, const ListKey& key = kHour) {
        auto place = std::make_shared<AnswerResult>(tl::unexpected(problem_with(0)));
        cache.get(key, k, [place](const AnswerResult& answer) { *place = answer; });
        return place;
    }
    static bool answered(const std::shared_ptr<AnswerResult>& place) { return *place || place->error().status != 0; }

    /// The oldest query begins now, takes so long, and finds `size` rows.
    void answer(std::int64_t takes_ms = 0, std::size_t size = 1000) {
        const auto query = fetcher.take();
        const Instant taken = clock.monotonic();
        clock.advance(takes_ms);
        query.done(list_of(query.k, size, taken));
    }

    ServeClock clock;
    ManualFetcher fetcher;
    Counts counts;
    ListCache cache{{.period = milliseconds(250), .max_entries = 4, .max_bytes = 1 << 20}, fetcher, clock, &counts};
};

TEST_F(ListCacheTest, MergesMisses) {
    const auto first = ask(10);
    const auto second = ask(5);
    EXPECT_EQ(fetcher.waiting(), 1u);
    answer();
    ASSERT_TRUE(*first && *second);
    EXPECT_EQ(**first, **second);
    EXPECT_EQ(counts.misses, 1);
    EXPECT_EQ(counts.shares, 1);
}

TEST_F(ListCacheTest, ServesUntilThePeriodIsOver) {
    ask(10);
    answer(50);
    clock.advance(200);  // the snapshot is 250 ms old
    EXPECT_TRUE(*ask(10));
    EXPECT_EQ(counts.hits, 1);
    clock.advance(1);
    EXPECT_FALSE(answered(ask(10)));
    EXPECT_EQ(fetcher.fetched(), 2);
}

TEST_F(ListCacheTest, ServesNothingOlderThanIsWanted) {
    ask(10);
    answer();
    clock.advance(101);
    int answers = 0;
    cache.get(
        kHour, 10, [&](const AnswerResult&) { ++answers; }, milliseconds(101));
    EXPECT_EQ(answers, 1);
    cache.get(
        kHour, 10, [&](const AnswerResult&) { ++answers; }, milliseconds(100));
    EXPECT_EQ(answers, 1);
    EXPECT_TRUE(*ask(10));  // to others it is fresh
    answer();
    EXPECT_EQ(answers, 2);
    clock.advance(251);
    cache.get(
        kHour, 10, [&](const AnswerResult&) { ++answers; }, milliseconds(1000));
    EXPECT_EQ(answers, 2);
}

TEST_F(ListCacheTest, CutsSmallFromLarge) {
    ask(100);
    answer();
    EXPECT_TRUE(*ask(100));
    EXPECT_TRUE(*ask(1));
    EXPECT_FALSE(answered(ask(101)));
    EXPECT_EQ(fetcher.take().k, 101);
}

TEST_F(ListCacheTest, AShortListHasAllThereIs) {
    ask(10);
    answer(0, 3);
    EXPECT_TRUE(*ask(1000));
    EXPECT_EQ(fetcher.fetched(), 1);
}

TEST_F(ListCacheTest, AsksForTheLongestOfThePeriod) {
    ask(10);
    answer();
    ask(1000);
    answer();
    ask(10);
    for (int period = 0; period < 3; ++period) {
        clock.advance(300);
        ask(10);
        EXPECT_EQ(fetcher.waiting(), 1u);
        answer();
    }
    clock.advance(300);
    ask(10);
    EXPECT_EQ(fetcher.take().k, 10);  // nobody has asked for more since
}

TEST_F(ListCacheTest, AMissForMoreDoesNotWaitForLess) {
    const auto few = ask(10);
    const auto many = ask(100);
    const auto more_few = ask(20);
    EXPECT_EQ(fetcher.waiting(), 2u);
    answer();
    EXPECT_TRUE(*few);
    EXPECT_FALSE(answered(many));
    answer();
    EXPECT_TRUE(*many);
    EXPECT_TRUE(*more_few);
}

TEST_F(ListCacheTest, WhoJoinedASlowQueryLateSharesTheNext) {
    const auto first = ask(10);
    const auto query = fetcher.take();
    const Instant taken = clock.monotonic();
    clock.advance(100);
    const auto joined = ask(10);
    clock.advance(200);  // 300 ms old by now: only who asked before it began may have it
    query.done(list_of(query.k, 1000, taken));
    EXPECT_TRUE(*first);
    EXPECT_FALSE(answered(joined));
    EXPECT_EQ(fetcher.waiting(), 1u);
    const auto third = ask(10);
    EXPECT_EQ(fetcher.waiting(), 1u);
    answer(400);  // however slow: it began after they asked
    EXPECT_TRUE(*joined);
    EXPECT_TRUE(*third);
    EXPECT_FALSE(answered(ask(10)));
}

TEST_F(ListCacheTest, WhatWaitedInTheQueueIsAsNewAsItsBeginning) {
    const auto first = ask(10);
    clock.advance(5000);
    const auto second = ask(10);
    answer(249);
    EXPECT_TRUE(*first && *second);
}

TEST_F(ListCacheTest, TellsErrorsToAllAndKeepsNone) {
    const auto first = ask(10);
    const auto second = ask(10);
    fetcher.take().done(tl::unexpected(problem_with(503)));
    EXPECT_EQ(first->error().status, 503);
    EXPECT_EQ(second->error().status, 503);
    EXPECT_FALSE(answered(ask(10)));
    EXPECT_EQ(fetcher.waiting(), 1u);
}

TEST_F(ListCacheTest, AnErrorDoesNotSpoilWhatIsKept) {
    ask(10);
    answer();
    const auto more = ask(20);
    fetcher.take().done(tl::unexpected(problem_with(503)));
    EXPECT_EQ(more->error().status, 503);
    EXPECT_TRUE(*ask(10));
}

TEST_F(ListCacheTest, KeysAreApart) {
    ask(10, {"a", "hour", {}});
    ask(10, {"b", "hour", {}});
    ask(10, {"a", "day", {}});
    ask(10, {"a", "hour", Millis{0}});
    EXPECT_EQ(fetcher.waiting(), 4u);
}

TEST_F(ListCacheTest, IsBoundedByEntriesAndBytes) {
    for (int i = 0; i < 100; ++i) {
        ask(1000, {"c" + std::to_string(i), "hour", {}});
        answer();
        EXPECT_LE(cache.entries(), 4u);
        EXPECT_LE(cache.bytes(), std::size_t{1} << 20);
    }
    EXPECT_TRUE(*ask(1000, {"c99", "hour", {}}));
    EXPECT_FALSE(answered(ask(1000, {"c0", "hour", {}})));
    // one whose entry went while its query was under way is answered all the same
    const auto early = ask(10, {"early", "hour", {}});
    for (int i = 0; i < 10; ++i) {
        ask(10, {"d" + std::to_string(i), "hour", {}});
    }
    while (fetcher.waiting() > 0) {
        answer();
    }
    EXPECT_TRUE(*early);
    EXPECT_LE(cache.entries(), 4u);
}

TEST(ListCacheOff, SharesNothing) {
    ServeClock clock;
    ManualFetcher fetcher;
    ListCache cache({.period = milliseconds(0)}, fetcher, clock, nullptr);
    int answers = 0;
    for (int i = 0; i < 3; ++i) {
        cache.get(kHour, 10, [&](const AnswerResult& answer) { answers += answer ? 1 : 0; });
    }
    EXPECT_EQ(fetcher.waiting(), 3u);
    while (fetcher.waiting() > 0) {
        const auto query = fetcher.take();
        query.done(list_of(query.k, 1000, clock.monotonic()));
    }
    EXPECT_EQ(answers, 3);
    EXPECT_EQ(cache.entries(), 0u);
}

/// Random schedules: whatever happens, everybody is answered once, with at least k entries, never with a snapshot that is both older than
/// the period and older than the request.
RC_GTEST_PROP(ListCache, KeepsItsPromises, ()) {
    const auto period = *rc::gen::inRange(0, 50);
    const auto steps =
        *rc::gen::container<std::vector<std::pair<int, int>>>(rc::gen::pair(rc::gen::inRange(0, 10), rc::gen::inRange(1, 60)));
    ServeClock clock;
    ManualFetcher fetcher;
    ListCache cache({.period = milliseconds(period), .max_entries = 2}, fetcher, clock, nullptr);
    struct Asked {
        int k;
        Instant when;
        int answers = 0;
    };
    std::deque<Asked> asked;
    struct Begun {
        ManualFetcher::Query query;
        Instant taken;
    };
    std::deque<Begun> begun;
    const auto check = [&](Asked& one, const AnswerResult& answer) {
        ++one.answers;
        if (answer) {
            const TopList& list = (*answer)->list();
            RC_ASSERT(list.has(one.k));
            RC_ASSERT(list.taken >= one.when || clock.monotonic() - list.taken <= milliseconds(period));
        }
    };
    const auto finish = [&](std::size_t which) {
        const auto place = begun.begin() + static_cast<std::ptrdiff_t>(which % begun.size());
        const Begun one = *place;
        begun.erase(place);
        if (which % 7 == 3) {
            one.query.done(tl::unexpected(problem_with(503)));
        } else {
            one.query.done(list_of(one.query.k, which % 5 == 0 ? 3 : 1000, one.taken));
        }
    };
    for (const auto& [what, number] : steps) {
        if (what < 4) {
            asked.push_back({number, clock.monotonic()});
            cache.get({"c" + std::to_string(number % 3), "hour", {}}, number,
                      [&check, &one = asked.back()](const AnswerResult& answer) { check(one, answer); });
        } else if (what < 6 && fetcher.waiting() > 0) {
            begun.push_back({fetcher.take(), clock.monotonic()});
        } else if (what < 8 && !begun.empty()) {
            finish(static_cast<std::size_t>(number));
        } else {
            clock.advance(number);
        }
    }
    while (fetcher.waiting() > 0 || !begun.empty()) {
        if (begun.empty()) {
            begun.push_back({fetcher.take(), clock.monotonic()});
        }
        finish(0);
    }
    for (const Asked& one : asked) {
        RC_ASSERT(one.answers == 1);
    }
}

TEST(ListCacheThreads, ManyAskAtOnce) {
    SystemClock clock;
    /// A database with two threads of its own.
    class Threads final : public ListFetcher {
      public:
        explicit Threads(const Clock& now) : clock_(now) {
            for (std::thread& thread : threads_) {
                thread = std::thread([this] { loop(); });
            }
        }
        ~Threads() override {
            stopping_ = true;
            for (std::thread& thread : threads_) {
                thread.join();
            }
        }
        void fetch(ListKey key, int k, std::function<void(ListResult)> done) override { queue_.fetch(std::move(key), k, std::move(done)); }
        int fetched() const { return queue_.fetched(); }

      private:
        void loop() {
            while (!stopping_ || queue_.waiting() > 0) {
                std::optional<ManualFetcher::Query> query;
                {
                    const std::lock_guard lock(mutex_);
                    if (queue_.waiting() > 0) {
                        query = queue_.take();
                    }
                }
                if (query) {
                    const Instant taken = clock_.monotonic();
                    std::this_thread::sleep_for(std::chrono::microseconds(200));
                    query->done(list_of(query->k, 1000, taken));
                }
            }
        }
        const Clock& clock_;
        ManualFetcher queue_;
        std::mutex mutex_;
        std::atomic<bool> stopping_ = false;
        std::array<std::thread, 2> threads_;
    };
    constexpr int kAskers = 4;
    constexpr int kEach = 2000;
    std::atomic<int> answered = 0;
    std::atomic<int> broken = 0;
    int fetched = 0;
    {
        Counts counts;
        std::optional<ListCache> cache;
        Threads database(clock);
        cache.emplace(ListCache::Config{.period = milliseconds(2)}, database, clock, &counts);
        std::array<std::thread, kAskers> askers;
        for (int a = 0; a < kAskers; ++a) {
            askers[static_cast<std::size_t>(a)] = std::thread([&, a] {
                for (int i = 0; i < kEach; ++i) {
                    const int k = 1 + (i * 7 + a) % 100;
                    const Instant when = clock.monotonic();
                    cache->get({"c" + std::to_string(i % 3), "hour", {}}, k, [&, k, when](const AnswerResult& answer) {
                        const bool good = answer && (*answer)->list().has(k) && (*answer)->list().taken + milliseconds(50) > when;
                        broken += good && (*answer)->cut(k)->body()->size() > 2 ? 0 : 1;
                        ++answered;
                    });
                }
            });
        }
        for (std::thread& asker : askers) {
            asker.join();
        }
        while (answered < kAskers * kEach) {
            std::this_thread::yield();
        }
        fetched = database.fetched();
        EXPECT_EQ(counts.hits + counts.misses + counts.shares, kAskers * kEach);
    }
    EXPECT_EQ(answered, kAskers * kEach);
    EXPECT_EQ(broken, 0);
    EXPECT_LT(fetched, kAskers * kEach / 4);
}

}  // namespace
}  // namespace topkd
