// The parameters of a list: each good form, each bad one, and what the client is told.
#include "serve/list_request.h"

#include <gtest/gtest.h>

#include "serve_fakes.h"

namespace topkd {
namespace {

auto read(HttpFields query) {
    return read_list_request(get("/views/top-k", std::move(query)), "video_views");
}

TEST(ListRequest, HasDefaults) {
    const auto request = read({{"window", "hour"}});
    ASSERT_TRUE(request);
    EXPECT_EQ(request->key, (ListKey{"video_views", "hour", std::nullopt}));
    EXPECT_EQ(request->k, 10);
}

TEST(ListRequest, TakesWhatIsGiven) {
    const auto request =
        read({{"k", "1000"}, {"window", "24 hours"}, {"counter", "other"}, {"at", "2026-11-22T18:00:00Z"}, {"x", "1"}, {"x", "2"}});
    ASSERT_TRUE(request);
    EXPECT_EQ(request->key, (ListKey{"other", "24 hours", Millis{1'795'370'400'000}}));
    EXPECT_EQ(request->k, 1000);
}

TEST(ListRequest, ReadsZonesWhosePlusBecameASpace) {
    EXPECT_EQ(read_at("2026-11-22T20:00:00 02:00"), Millis{1'795'370'400'000});
    EXPECT_EQ(read_at("2026-11-22T20:00:00+02:00"), Millis{1'795'370'400'000});
    EXPECT_EQ(read_at("2026-11-22T16:00:00-02:00"), Millis{1'795'370'400'000});
    EXPECT_FALSE(read_at("2026-11-22 20:00:00Z"));
    EXPECT_FALSE(read_at("2026-11-22T20:00 02:00"));
    EXPECT_FALSE(read_at("now"));
    EXPECT_FALSE(read_at(""));
}

TEST(ListRequest, RefusesWithTheParametersName) {
    const struct {
        HttpFields query;
        const char* names;
    } cases[] = {
        {{}, "window is missing"},
        {{{"k", "3"}}, "window is missing"},
        {{{"window", ""}}, "window"},
        {{{"window", std::string(65, 'x')}}, "window"},
        {{{"window", "hour"}, {"window", "hour"}}, "window is given twice"},
        {{{"window", "hour"}, {"k", "1"}, {"k", "1"}}, "k is given twice"},
        {{{"window", "hour"}, {"at", "x"}, {"at", "y"}}, "at is given twice"},
        {{{"window", "hour"}, {"counter", "x"}, {"counter", "x"}}, "counter is given twice"},
        {{{"window", "hour"}, {"k", "0"}}, "k must be"},
        {{{"window", "hour"}, {"k", "1001"}}, "k must be"},
        {{{"window", "hour"}, {"k", "-1"}}, "k must be"},
        {{{"window", "hour"}, {"k", ""}}, "k must be"},
        {{{"window", "hour"}, {"k", "10 "}}, "k must be"},
        {{{"window", "hour"}, {"k", "1e2"}}, "k must be"},
        {{{"window", "hour"}, {"k", "99999999999999999999"}}, "k must be"},
        {{{"window", "hour"}, {"at", "yesterday"}}, "at must be"},
        {{{"window", "hour"}, {"at", ""}}, "at must be"},
        {{{"window", "hour"}, {"counter", ""}}, "counter must"},
        {{{"window", "hour"}, {"counter", std::string(41, 'x')}}, "counter must"},
    };
    for (const auto& [query, names] : cases) {
        const auto request = read(query);
        ASSERT_FALSE(request) << names;
        EXPECT_EQ(request.error().status, 400);
        EXPECT_NE(request.error().detail.find(names), std::string::npos) << request.error().detail;
    }
}

TEST(ListRequest, RefusesAQueryThatIsNoText) {
    HttpRequest request = get("/views/top-k", {{"window", "hour"}});
    request.malformed_query = true;
    const auto read = read_list_request(request, "video_views");
    ASSERT_FALSE(read);
    EXPECT_EQ(read.error().status, 400);
}

}  // namespace
}  // namespace topkd
