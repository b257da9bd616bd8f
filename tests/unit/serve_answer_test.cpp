// Answers: body, entity tag, headers, compression, 304; what a stream sends; problems.
#include "serve/answer.h"

#include <gtest/gtest.h>
#include <zlib.h>

#include <nlohmann/json.hpp>

#include "serve_fakes.h"

namespace topkd {
namespace {

using nlohmann::json;

std::string gunzip(const std::string& bytes) {
    z_stream stream = {};
    EXPECT_EQ(inflateInit2(&stream, 15 + 16), Z_OK);
    std::string text(1 << 20, '\0');
    stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
    stream.avail_in = static_cast<uInt>(bytes.size());
    stream.next_out = reinterpret_cast<Bytef*>(text.data());
    stream.avail_out = static_cast<uInt>(text.size());
    EXPECT_EQ(inflate(&stream, Z_FINISH), Z_STREAM_END);
    text.resize(stream.total_out);
    inflateEnd(&stream);
    return text;
}

std::string field(const HttpResponse& response, std::string_view name) {
    HttpRequest as_request;
    as_request.headers = response.headers;
    return as_request.header(name).value_or("(none)");
}

HttpResponse ask(const Answer& answer, int k, HttpFields headers = {}) {
    return list_response(answer, k, get("/", {}, std::move(headers)), "route");
}

TopList sealed_list() {
    TopList list = list_of(100, 100, Instant{});
    list.sealed = true;
    list.revision = 3;
    list.counter_made = 0xabc;
    return list;
}

TEST(Answer, IsAnArrayOfTheFirstK) {
    const Answer answer(list_of(10, 3, Instant{}), false);
    EXPECT_EQ(*ask(answer, 2).body, R"([{"videoId":"vid_0","views":1000000},{"videoId":"vid_1","views":999999}])");
    EXPECT_EQ(json::parse(*ask(answer, 10).body).size(), 3u);
    EXPECT_EQ(*ask(Answer(list_of(10, 0, Instant{}), false), 10).body, "[]");
}

TEST(Answer, EscapesIds) {
    TopList list = list_of(1, 1, Instant{});
    list.entries[0].video_id = "a\"b\\c\n\t\x01\x7f</script>\xc3\xa4";
    EXPECT_EQ(json::parse(*ask(Answer(list, false), 1).body)[0]["videoId"], list.entries[0].video_id);
}

TEST(Answer, TellsTheWindow) {
    const HttpResponse open = ask(Answer(list_of(10, 3, Instant{}), true), 3);
    EXPECT_EQ(field(open, "X-Topk-Watermark"), "1970-01-01T01:23:20.123Z");
    EXPECT_EQ(field(open, "X-Topk-Window-Start"), "1970-01-01T01:00:00Z");
    EXPECT_EQ(field(open, "X-Topk-Window-End"), "1970-01-01T02:00:00Z");
    EXPECT_EQ(field(open, "X-Topk-Sealed"), "false");
    EXPECT_EQ(field(open, "X-Topk-Revision"), "(none)");
    EXPECT_EQ(field(open, "Cache-Control"), "public, max-age=0, must-revalidate");
    EXPECT_EQ(field(open, "Vary"), "Accept-Encoding");
    EXPECT_EQ(field(open, "Content-Type"), "application/json");
    TopList all_time = list_of(10, 3, Instant{});
    all_time.window_start = all_time.window_end = all_time.watermark = std::nullopt;
    const HttpResponse all = ask(Answer(all_time, false), 3);
    for (const char* name : {"X-Topk-Watermark", "X-Topk-Window-Start", "X-Topk-Window-End"}) {
        EXPECT_EQ(field(all, name), "(none)");
    }
}

TEST(Answer, OfASealedWindowIsCachedLongAndTaggedByRevision) {
    const HttpResponse past = ask(Answer(sealed_list(), true), 5);
    EXPECT_EQ(field(past, "ETag"), "\"abc-3600-7200-r3-k5\"");
    EXPECT_EQ(field(past, "Cache-Control"), "public, max-age=3600");
    EXPECT_EQ(field(past, "X-Topk-Sealed"), "true");
    EXPECT_EQ(field(past, "X-Topk-Revision"), "3");
    // Without `at` the same address means another window soon.
    EXPECT_EQ(field(ask(Answer(sealed_list(), false), 5), "Cache-Control"), "public, max-age=0, must-revalidate");
}

TEST(Answer, TagOfAnOpenWindowFollowsTheBody) {
    const auto tag = [](TopList list, int k) { return field(ask(Answer(std::move(list), false), k), "ETag"); };
    EXPECT_EQ(tag(list_of(10, 5, Instant{}), 5), tag(list_of(20, 20, Instant{} + std::chrono::seconds(9)), 5));
    EXPECT_NE(tag(list_of(10, 5, Instant{}), 5), tag(list_of(10, 5, Instant{}), 4));
    EXPECT_NE(tag(list_of(10, 5, Instant{}), 5), tag(list_of(10, 5, Instant{}, 77), 5));
}

TEST(Answer, IsCompressedWhenAskedForAndWorthIt) {
    const Answer answer(list_of(100, 100, Instant{}), false);
    const HttpResponse plain = ask(answer, 100);
    const HttpResponse compressed = ask(answer, 100, {{"accept-encoding", "gzip"}});
    EXPECT_EQ(field(plain, "Content-Encoding"), "(none)");
    EXPECT_EQ(field(compressed, "Content-Encoding"), "gzip");
    EXPECT_LT(compressed.body->size(), plain.body->size());
    EXPECT_EQ(gunzip(*compressed.body), *plain.body);
    const std::string tag = field(plain, "ETag");
    EXPECT_EQ(field(compressed, "ETag"), tag.substr(0, tag.size() - 1) + "-gzip\"");
    EXPECT_EQ(field(ask(answer, 100, {{"Accept-Encoding", "gzip;q=0"}}), "Content-Encoding"), "(none)");
    EXPECT_EQ(field(ask(answer, 1, {{"Accept-Encoding", "gzip"}}), "Content-Encoding"), "(none)");
    // once for all who ask
    EXPECT_EQ(ask(answer, 100, {{"Accept-Encoding", "gzip"}}).body, compressed.body);
    EXPECT_EQ(ask(answer, 100).body, plain.body);
}

TEST(Answer, IsNotSentToWhoHasIt) {
    const Answer answer(sealed_list(), true);
    const HttpResponse first = ask(answer, 100);
    const HttpResponse again = ask(answer, 100, {{"If-None-Match", "\"x\", W/" + field(first, "ETag")}});
    EXPECT_EQ(first.status, 200);
    EXPECT_EQ(again.status, 304);
    EXPECT_EQ(again.headers, first.headers);
    // Tags are of representations: one with gzip is another.
    EXPECT_EQ(ask(answer, 100, {{"If-None-Match", field(first, "ETag")}, {"Accept-Encoding", "gzip"}}).status, 200);
    const HttpResponse compressed = ask(answer, 100, {{"Accept-Encoding", "gzip"}});
    EXPECT_EQ(ask(answer, 100, {{"If-None-Match", field(compressed, "ETag")}, {"Accept-Encoding", "gzip"}}).status, 304);
    EXPECT_EQ(ask(answer, 100, {{"If-None-Match", "*"}}).status, 304);
}

TEST(Answer, KeepsAFewCutsOnly) {
    const Answer answer(list_of(1000, 1000, Instant{}), false);
    EXPECT_EQ(answer.cut(3), answer.cut(3));
    for (int k = 1; k <= 1000; ++k) {
        EXPECT_EQ(json::parse(*answer.cut(k)->body()).size(), static_cast<std::size_t>(k));
    }
    EXPECT_NE(answer.cut(999), answer.cut(999));
}

TEST(StreamJson, IsOneLineWithEverything) {
    TopList list = list_of(10, 2, Instant{});
    const std::string text = stream_json(Answer(list, false), 10, "24 \"hours\"\n");
    EXPECT_EQ(text.find('\n'), std::string::npos);
    const json parsed = json::parse(text);
    EXPECT_EQ(parsed["window"], "24 \"hours\"\n");
    EXPECT_EQ(parsed["windowStart"], "1970-01-01T01:00:00Z");
    EXPECT_EQ(parsed["watermark"], "1970-01-01T01:23:20.123Z");
    EXPECT_EQ(parsed["sealed"], false);
    EXPECT_EQ(parsed["views"].size(), 2u);
    list.window_end = list.window_start = list.watermark = std::nullopt;
    const json all_time = json::parse(stream_json(Answer(list, false), 10, "all_time"));
    EXPECT_TRUE(all_time["windowStart"].is_null() && all_time["windowEnd"].is_null() && all_time["watermark"].is_null());
}

TEST(Problem, ClassifiesWhatTheDatabaseSays) {
    const struct {
        const char* sqlstate;
        int status;
    } cases[] = {{"22023", 400}, {"22007", 400}, {"22008", 400}, {"22P02", 400}, {"42704", 404}, {"55000", 410}, {"42501", 403},
                 {"", 503},      {"08006", 503}, {"57014", 503}, {"57P01", 503}, {"57P03", 503}, {"40001", 503}, {"53300", 503},
                 {"25006", 503}, {"42601", 500}, {"XX000", 500}, {"42883", 500}, {"22012", 500}};
    for (const auto& [sqlstate, status] : cases) {
        const std::string primary = std::string_view(sqlstate) == "55000" ? "hour secret has expired" : "primary secret";
        const SinkError error{SinkErrorKind::kOutage, sqlstate, "SELECT secret FROM host=secret", primary, "hint"};
        const Problem problem = problem_of(error);
        EXPECT_EQ(problem.status, status) << sqlstate;
        EXPECT_EQ(problem.sqlstate, sqlstate);
        const HttpResponse response = problem_response(problem, "route");
        const json body = json::parse(*response.body);
        EXPECT_EQ(body["type"], "about:blank");
        EXPECT_EQ(body["status"], status);
        EXPECT_EQ(body["title"], status_title(status));
        // What is passed on is what the server says about the client's own arguments.
        EXPECT_EQ(body["detail"] == primary, status == 400 || status == 403 || status == 404 || status == 410) << sqlstate;
        EXPECT_EQ(response.body->find("host="), std::string::npos);
        EXPECT_EQ(field(response, "Content-Type"), "application/problem+json");
        EXPECT_EQ(field(response, "Cache-Control"), "no-store");
        EXPECT_EQ(field(response, "Retry-After"), status == 503 ? "1" : "(none)");
    }
}

TEST(Problem, OfTheServerIsNotTheClients) {
    for (const auto& [sqlstate, primary] :
         {std::pair("55000", "the hour table of counter \"secret\" was dropped"), std::pair("22003", "bigint out of range")}) {
        const Problem problem = problem_of({SinkErrorKind::kRefused, sqlstate, primary, primary, "hint"});
        EXPECT_EQ(problem.status, 500) << sqlstate;
        EXPECT_EQ(problem.detail.find(primary), std::string::npos);
    }
}

TEST(Answer, CountsWhatItsCutsTake) {
    TopList list = list_of(1000, 1000, {});
    for (TopListEntry& entry : list.entries) {
        entry.video_id = std::string(200, '\x01') + entry.video_id + "\"\\\n\t";
    }
    const Answer answer(list, false);
    const std::size_t counted = answer.bytes();
    std::size_t held = 0;
    std::vector<std::shared_ptr<const Cut>> kept;
    for (int k = 1000; k > 980; --k) {
        const auto cut = answer.cut(k);
        if (cut == answer.cut(k)) {  // kept
            held += cut->body()->capacity() + cut->gzipped()->capacity();
            kept.push_back(cut);
        }
    }
    EXPECT_GE(kept.size(), 2u);
    EXPECT_GE(counted, held);
    EXPECT_EQ(answer.bytes(), counted);
}

TEST(Answer, LeavesOutTimesThatRfc3339CannotWrite) {
    TopList list = list_of(1, 1, {});
    list.window_start = Millis{-62'135'596'800'001};  // 1 BC
    list.window_end = Millis{253'402'300'800'000};    // the year 10000
    const HttpFields fields = Cut(list, 1, false).fields();
    EXPECT_TRUE(std::none_of(fields.begin(), fields.end(), [](const auto& one) { return one.first.starts_with("X-Topk-Window-"); }));
    const json data = json::parse(stream_json(Answer(list, false), 1, "hour"));
    EXPECT_TRUE(data["windowStart"].is_null() && data["windowEnd"].is_null());
    list.window_start = Millis{-62'135'596'800'000};
    list.window_end = Millis{253'402'300'799'999};
    const json written = json::parse(stream_json(Answer(list, false), 1, "hour"));
    EXPECT_EQ(written["windowStart"], "0001-01-01T00:00:00Z");
    EXPECT_EQ(written["windowEnd"], "9999-12-31T23:59:59.999Z");
}

}  // namespace
}  // namespace topkd
