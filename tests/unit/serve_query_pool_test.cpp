// The pool of connections: answers in bounded time whatever the database does: away, hanging, slow, back again.
#include "serve/query_pool.h"

#include <gtest/gtest.h>

#include <future>

#include "serve/readiness.h"
#include "serve_fakes.h"

namespace topkd {
namespace {

using std::chrono::milliseconds;
using namespace std::chrono_literals;

/// A database that is up or down, and whose queries may hang until they are let go or broken.
class FakeDatabase {
  public:
    std::atomic<bool> up = true;
    std::atomic<bool> hangs = false;
    std::atomic<int> connects = 0;
    std::atomic<int> queries = 0;
    std::atomic<int> aborts = 0;

    class Reader final : public ListReader {
      public:
        explicit Reader(FakeDatabase& database) : database_(database) {}

        ListResult read(const ListKey& key, int k) override {
            ++database_.queries;
            if (const auto problem = reach()) {
                return tl::unexpected(*problem);
            }
            broken_ = false;
            while (database_.hangs && !broken_) {
                std::this_thread::yield();
            }
            if (broken_) {
                connected_ = false;
                return tl::unexpected(problem_with(503, "broken"));
            }
            if (key.window == "bad") {
                return tl::unexpected(problem_with(400));
            }
            return list_of(k, 1000, std::chrono::steady_clock::now());
        }
        std::optional<Problem> ping() override { return reach(); }
        bool connected() const override { return connected_; }
        void abort() override {
            ++database_.aborts;
            broken_ = true;
        }

      private:
        std::optional<Problem> reach() {
            if (!database_.up) {
                connected_ = false;
                return problem_with(503, "away");
            }
            database_.connects += connected_ ? 0 : 1;
            connected_ = true;
            return std::nullopt;
        }
        FakeDatabase& database_;
        std::atomic<bool> connected_ = false;
        std::atomic<bool> broken_ = false;
    };
};

struct QueryPoolTest : testing::Test {
    std::unique_ptr<QueryPool> pool_of(QueryPool::Config config) {
        return std::make_unique<QueryPool>(
            config, [this] { return std::make_unique<FakeDatabase::Reader>(database); },
            [this](std::chrono::nanoseconds, bool ok) { ok ? ++good : ++bad; });
    }
    static std::future<ListResult> ask(QueryPool& pool, const char* window = "hour") {
        auto promise = std::make_shared<std::promise<ListResult>>();
        pool.fetch({"c", window, {}}, 10, [promise](ListResult result) { promise->set_value(std::move(result)); });
        return promise->get_future();
    }
    static void until(const std::function<bool()>& holds) {
        const auto deadline = std::chrono::steady_clock::now() + 20s;
        while (!holds() && std::chrono::steady_clock::now() < deadline) {
            std::this_thread::sleep_for(1ms);
        }
        ASSERT_TRUE(holds());
    }

    FakeDatabase database;
    std::atomic<int> good = 0;
    std::atomic<int> bad = 0;
};

TEST_F(QueryPoolTest, AnswersAllAtOnce) {
    const auto pool = pool_of({.connections = 3});
    std::vector<std::future<ListResult>> asked;
    for (int i = 0; i < 200; ++i) {
        asked.push_back(ask(*pool, i % 10 == 0 ? "bad" : "hour"));
    }
    int failed = 0;
    for (auto& one : asked) {
        failed += one.get() ? 0 : 1;
    }
    EXPECT_EQ(failed, 20);
    until([&] { return good == 180 && bad == 20; });
    EXPECT_LE(database.connects, 3);
}

TEST_F(QueryPoolTest, FailsAtOnceWhileTheDatabaseIsAwayAndComesBack) {
    database.up = false;
    const auto pool = pool_of({.connections = 2, .query_timeout = 30s});
    const auto begun = std::chrono::steady_clock::now();
    const ListResult away = ask(*pool).get();
    EXPECT_EQ(away.error().status, 503);
    EXPECT_LT(std::chrono::steady_clock::now() - begun, 10s);
    database.up = true;
    until([&] { return ask(*pool).get().has_value(); });
}

TEST_F(QueryPoolTest, ConnectsAgainByItself) {
    const auto pool = pool_of({.connections = 2});
    until([&] { return database.connects == 2; });
    database.up = false;
    EXPECT_FALSE(ask(*pool).get());  // one finds out
    database.up = true;
    until([&] { return database.connects >= 3; });
    until([&] { return ask(*pool).get().has_value(); });
}

TEST_F(QueryPoolTest, GivesUpWhatHangsAndBreaksItsConnection) {
    const auto pool = pool_of({.connections = 1, .query_timeout = 50ms});
    EXPECT_TRUE(ask(*pool).get());
    database.hangs = true;
    auto running = ask(*pool);
    auto queued = ask(*pool);
    EXPECT_EQ(queued.get().error().status, 503);  // its place in the queue was too far behind
    EXPECT_EQ(running.get().error().status, 503);
    until([&] { return database.aborts > 0; });
    database.hangs = false;
    until([&] { return ask(*pool).get().has_value(); });
}

TEST_F(QueryPoolTest, BoundsItsQueue) {
    database.hangs = true;
    const auto pool = pool_of({.connections = 1, .max_queue = 2, .query_timeout = 30s});
    std::vector<std::future<ListResult>> asked;
    asked.push_back(ask(*pool));
    until([&] { return database.queries == 1; });
    for (int i = 0; i < 3; ++i) {
        asked.push_back(ask(*pool));
    }
    EXPECT_EQ(asked.back().get().error().status, 503);
    database.hangs = false;
    asked.pop_back();
    for (auto& one : asked) {
        EXPECT_TRUE(one.get());
    }
}

TEST_F(QueryPoolTest, StopFailsWhatWaitsAndEndsWhatRuns) {
    database.hangs = true;
    const auto pool = pool_of({.connections = 1, .query_timeout = 30s});
    auto running = ask(*pool);
    until([&] { return database.queries == 1; });
    auto queued = ask(*pool);
    pool->stop();
    EXPECT_EQ(running.get().error().status, 503);
    EXPECT_EQ(queued.get().error().status, 503);
    EXPECT_EQ(ask(*pool).get().error().status, 503);
}

TEST_F(QueryPoolTest, PingsForReadiness) {
    const auto pool = pool_of({.connections = 1});
    const auto ready = [&] {
        auto promise = std::make_shared<std::promise<bool>>();
        pool->ping([promise](std::optional<Problem> problem) { promise->set_value(!problem); });
        return promise->get_future().get();
    };
    EXPECT_TRUE(ready());
    database.up = false;
    EXPECT_FALSE(ready());
    database.up = true;
    until(ready);
}

TEST(Readiness, AsksOnceASecondForAll) {
    ServeClock clock;
    std::vector<std::function<void(std::optional<Problem>)>> checks;
    Readiness readiness([&](auto done) { checks.push_back(std::move(done)); }, clock);
    int good = 0;
    int bad = 0;
    const auto ask = [&] { readiness.ask([&](const std::optional<Problem>& problem) { problem ? ++bad : ++good; }); };
    ask();
    ask();
    ASSERT_EQ(checks.size(), 1u);
    checks[0](std::nullopt);
    EXPECT_EQ(good, 2);
    clock.advance(1000);
    ask();
    EXPECT_EQ(good, 3);
    clock.advance(1);
    ask();
    ASSERT_EQ(checks.size(), 2u);
    checks[1](problem_with(503));
    ask();
    EXPECT_EQ(bad, 2);
}

}  // namespace
}  // namespace topkd
