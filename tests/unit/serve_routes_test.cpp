// Routes and streams, driven by requests without a server, over a database that the test answers for.
#include "serve/routes.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <thread>

#include "serve_fakes.h"

namespace topkd {
namespace {

using nlohmann::json;
using std::chrono::milliseconds;

struct RoutesTest : testing::Test {
    std::shared_ptr<FakeExchange> ask(HttpRequest request) {
        auto exchange = std::make_shared<FakeExchange>();
        routes.handle(request, HttpReply(exchange));
        return exchange;
    }
    std::shared_ptr<FakeExchange> ask(std::string path, HttpFields query = {}, HttpFields headers = {}) {
        return ask(get(std::move(path), std::move(query), std::move(headers)));
    }
    void answer(std::int64_t most = 1'000'000, Millis watermark = Millis{5'000'123}) {
        const auto query = fetcher.take();
        TopList list = list_of(query.k, 1000, clock.monotonic(), most);
        list.watermark = watermark;
        query.done(list);
    }
    void fail(int status) { fetcher.take().done(tl::unexpected(problem_with(status))); }

    /// A look of the hub at its topics, the last answer being too old by then.
    void look() {
        clock.advance(251);
        hub.tick();
    }

    ServeClock clock;
    ManualFetcher fetcher;
    std::optional<Problem> trouble;
    ListCache cache{{.period = milliseconds(250)}, fetcher, clock, nullptr};
    StreamHub hub{
        {.interval = milliseconds(3'600'000), .beat = milliseconds(15'000), .max_topics = 2}, cache, clock};  // looks when told to
    Readiness readiness{[this](auto done) { done(trouble); }, clock};
    Routes routes{{cache, hub, readiness, [] { return std::string("# HELP x\n"); },
                   [](const HttpRequest& request) -> std::optional<HttpResponse> {
                       return request.path == "/"
                                  ? std::optional(HttpResponse{.status = 200, .headers = {}, .body = http_body("<html>"), .route = ""})
                                  : std::nullopt;
                   }},
                  "video_views"};
};

TEST_F(RoutesTest, AnswersAListWhenTheDatabaseHas) {
    const auto exchange = ask("/views/top-k", {{"window", "hour"}, {"k", "2"}});
    EXPECT_EQ(exchange->answers(), 0);
    answer();
    EXPECT_EQ(exchange->response().status, 200);
    EXPECT_EQ(json::parse(exchange->body()).size(), 2u);
    EXPECT_STREQ(exchange->response().route, "/views/top-k");
    // from the cache, with the conditions of this request
    const auto again = ask("/views/top-k", {{"window", "hour"}, {"k", "2"}}, {{"if-none-match", *exchange->field("ETag")}});
    EXPECT_EQ(again->response().status, 304);
}

TEST_F(RoutesTest, RemembersConditionsWhileItWaits) {
    const auto first = ask("/views/top-k", {{"window", "hour"}, {"k", "100"}}, {{"Accept-Encoding", "gzip"}});
    const auto second = ask("/views/top-k", {{"window", "hour"}, {"k", "100"}}, {{"If-None-Match", "*"}});
    answer();
    EXPECT_EQ(first->field("Content-Encoding"), "gzip");
    EXPECT_EQ(second->response().status, 304);
}

TEST_F(RoutesTest, TellsProblems) {
    EXPECT_EQ(ask("/views/top-k")->response().status, 400);
    const auto bad = ask("/views/top-k", {{"window", "fortnight"}});
    fail(400);
    EXPECT_EQ(bad->response().status, 400);
    const auto away = ask("/views/top-k", {{"window", "hour"}});
    fail(503);
    EXPECT_EQ(away->response().status, 503);
    EXPECT_EQ(away->field("Retry-After"), "1");
    EXPECT_EQ(away->field("Content-Type"), "application/problem+json");
}

TEST_F(RoutesTest, KnowsItsPathsAndMethods) {
    for (const char* path : {"/nothing", "/views", "/views/top-k/", "/healthz/x", "/assets/none", ""}) {
        EXPECT_EQ(ask(path)->response().status, 404) << path;
    }
    for (const char* method : {"POST", "PUT", "DELETE", "OPTIONS", "get"}) {
        HttpRequest request = get("/healthz");
        request.method = method;
        const auto exchange = ask(request);
        EXPECT_EQ(exchange->response().status, 405);
        EXPECT_EQ(exchange->field("Allow"), "GET, HEAD");
    }
    HttpRequest malformed = get("");
    malformed.malformed_query = true;
    EXPECT_EQ(ask(malformed)->response().status, 400);
    EXPECT_EQ(ask("/healthz")->body(), R"({"status":"ok"})");
    EXPECT_EQ(ask("/metrics")->field("Content-Type"), "text/plain; version=0.0.4; charset=utf-8");
    EXPECT_EQ(ask("/")->body(), "<html>");
    HttpRequest head = get("/healthz");
    head.method = "HEAD";
    EXPECT_EQ(ask(head)->response().status, 200);
}

TEST_F(RoutesTest, IsReadyWhenTheDatabaseIs) {
    EXPECT_EQ(ask("/readyz")->body(), R"({"status":"ready"})");
    trouble = problem_with(503);
    clock.advance(1001);
    EXPECT_EQ(ask("/readyz")->response().status, 503);
}

TEST_F(RoutesTest, StreamsTheListAndItsChanges) {
    const auto exchange = ask("/views/top-k/stream", {{"window", "hour"}, {"k", "2"}});
    answer();
    ASSERT_TRUE(exchange->stream());
    EXPECT_EQ(exchange->field("Content-Type"), "text/event-stream");
    const std::string first = exchange->stream()->last();
    EXPECT_TRUE(first.starts_with("retry: 1000\n\nevent: list\nid: "));
    EXPECT_TRUE(first.ends_with("\n\n"));
    EXPECT_EQ(json::parse(first.substr(first.find("data: ") + 6))["views"].size(), 2u);
    look();
    answer();
    EXPECT_EQ(exchange->stream()->chunks().size(), 1u);  // nothing new
    look();
    answer(2'000'000);
    EXPECT_EQ(exchange->stream()->chunks().size(), 2u);
    look();
    answer(2'000'000, Millis{6'000'000});  // the list is the same, but fresher
    EXPECT_EQ(exchange->stream()->chunks().size(), 3u);
    EXPECT_NE(exchange->stream()->last().find(R"("watermark":"1970-01-01T01:40:00.000Z")"), std::string::npos);
}

TEST_F(RoutesTest, StreamsShareOneQuery) {
    std::vector<std::shared_ptr<FakeExchange>> all;
    for (int i = 0; i < 5; ++i) {
        all.push_back(ask("/views/top-k/stream", {{"window", "hour"}}));
    }
    EXPECT_EQ(fetcher.waiting(), 1u);
    answer();
    EXPECT_EQ(hub.topics(), 1u);
    look();
    EXPECT_EQ(fetcher.waiting(), 1u);
    hub.tick();  // while that is under way nothing is asked again
    EXPECT_EQ(fetcher.waiting(), 1u);
    answer(7'000'000);
    for (const auto& one : all) {
        EXPECT_EQ(one->stream()->chunks().size(), 2u);
    }
}

TEST_F(RoutesTest, StreamsTellTroubleOnceAndGoOn) {
    const auto exchange = ask("/views/top-k/stream", {{"window", "hour"}});
    answer();
    for (int i = 0; i < 3; ++i) {
        look();
        fail(503);
    }
    ASSERT_EQ(exchange->stream()->chunks().size(), 2u);
    EXPECT_TRUE(exchange->stream()->last().starts_with("event: trouble\ndata: {"));
    // who comes now is told so, too
    clock.advance(251);
    const auto late = ask("/views/top-k/stream", {{"window", "hour"}});
    fail(503);
    EXPECT_NE(late->stream()->last().find("event: trouble"), std::string::npos);
    look();
    answer();  // the same list as before the outage: it is told again
    EXPECT_EQ(exchange->stream()->chunks().size(), 3u);
    EXPECT_EQ(late->stream()->chunks().size(), 2u);
    EXPECT_TRUE(exchange->stream()->last().starts_with("event: list\n"));
}

TEST_F(RoutesTest, StreamsBeginOnlyOfWhatExists) {
    const auto exchange = ask("/views/top-k/stream", {{"window", "fortnight"}});
    fail(400);
    EXPECT_FALSE(exchange->stream());
    EXPECT_EQ(exchange->response().status, 400);
    EXPECT_EQ(ask("/views/top-k/stream", {{"window", "hour"}, {"at", "2026-11-22T18:00:00Z"}})->response().status, 400);
    EXPECT_EQ(ask("/views/top-k/stream")->response().status, 400);
    HttpRequest head = get("/views/top-k/stream", {{"window", "hour"}});
    head.method = "HEAD";
    EXPECT_FALSE(ask(head)->stream());
}

TEST_F(RoutesTest, StreamsShowLifeAndNoticeWhoIsGone) {
    const auto exchange = ask("/views/top-k/stream", {{"window", "hour"}});
    answer();
    clock.advance(15'000);
    hub.tick();
    answer();
    EXPECT_EQ(exchange->stream()->last(), ": \n\n");
    exchange->stream()->leave();
    clock.advance(15'000);
    hub.tick();
    answer();
    hub.tick();
    EXPECT_EQ(hub.topics(), 0u);
}

TEST_F(RoutesTest, StreamsAreOfFewTopics) {
    for (const char* window : {"hour", "day"}) {
        ask("/views/top-k/stream", {{"window", window}});
        answer();
    }
    EXPECT_EQ(ask("/views/top-k/stream", {{"window", "month"}})->response().status, 503);
    const auto same = ask("/views/top-k/stream", {{"window", "day"}});
    EXPECT_TRUE(same->stream());
    hub.stop();
    EXPECT_EQ(ask("/views/top-k/stream", {{"window", "day"}})->response().status, 503);
}

TEST_F(RoutesTest, StreamsAreOfFewTopicsThatBeginAtOnceToo) {
    std::vector<std::shared_ptr<FakeExchange>> asked;
    for (const char* window : {"hour", "day", "month", "all_time"}) {
        asked.push_back(ask("/views/top-k/stream", {{"window", window}}));
    }
    for (std::size_t i = 0; i < asked.size(); ++i) {
        answer();
    }
    EXPECT_EQ(hub.topics(), 2u);
    EXPECT_EQ(std::count_if(asked.begin(), asked.end(), [](const auto& one) { return one->stream() != nullptr; }), 2);
    EXPECT_EQ(std::count_if(asked.begin(), asked.end(), [](const auto& one) { return one->response().status == 503; }), 2);
    EXPECT_TRUE(std::all_of(asked.begin(), asked.end(), [](const auto& one) { return one->answers() == 1; }));
}

TEST(StreamHub, LooksByItself) {
    SystemClock clock;
    class AtOnce final : public ListFetcher {
      public:
        explicit AtOnce(const Clock& now) : clock_(now) {}
        void fetch(ListKey, int k, std::function<void(ListResult)> done) override { done(list_of(k, 1000, clock_.monotonic(), ++most_)); }

      private:
        const Clock& clock_;
        std::atomic<std::int64_t> most_ = 1'000'000;
    } fetcher(clock);
    ListCache cache({.period = milliseconds(1)}, fetcher, clock, nullptr);
    StreamHub hub({.interval = milliseconds(10)}, cache, clock);
    const auto exchange = std::make_shared<FakeExchange>();
    hub.follow({"c", "hour", {}}, 3, HttpReply(exchange), "route");
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (exchange->stream()->chunks().size() < 5 && std::chrono::steady_clock::now() < deadline) {
        std::this_thread::yield();
    }
    EXPECT_GE(exchange->stream()->chunks().size(), 5u);
    hub.stop();
}

}  // namespace
}  // namespace topkd
