// Targets of requests: what is decoded, what is refused, and that no bytes of a stranger do harm.
#include "http_target.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

namespace topkd {
namespace {

TEST(HttpTarget, DecodesPathAndQuery) {
    const HttpTarget target = parse_target("/views/top%2Dk?window=24%20hours&k=10&at=2026-11-22T18:00:00+02:00&flag&empty=&a=b=c");
    EXPECT_FALSE(target.malformed);
    EXPECT_EQ(target.path, "/views/top-k");
    const HttpFields query{{"window", "24 hours"}, {"k", "10"},   {"at", "2026-11-22T18:00:00 02:00"},
                           {"flag", ""},           {"empty", ""}, {"a", "b=c"}};
    EXPECT_EQ(target.query, query);
}

TEST(HttpTarget, TakesEveryFormOfATarget) {
    EXPECT_EQ(parse_target("/").path, "/");
    EXPECT_EQ(parse_target("").path, "/");
    EXPECT_EQ(parse_target("*").path, "*");
    EXPECT_EQ(parse_target("/?").path, "/");
    EXPECT_EQ(parse_target("/a+b").path, "/a+b");  // a plus is a space in queries only
    EXPECT_EQ(parse_target("http://host:80/views?x=1").path, "/views");
    EXPECT_EQ(parse_target("http://host?x=1").path, "/");
    EXPECT_EQ(parse_target("http://host").path, "/");
    EXPECT_EQ(parse_target("/a#b?c=d").path, "/a");
    EXPECT_TRUE(parse_target("/?&&&").query.empty());
}

TEST(HttpTarget, RefusesWhatIsNoText) {
    for (const char* bad : {"/%", "/%2", "/%zz", "/%0", "/?a=%", "/?a=%f", "/?%g0=1", "/%00", "/?a=b%00", "/?a=%ff", "/?a=%c0%af",
                            "/?a=%ed%a0%80", "/?a=%f5%80%80%80", "/?a=%e2%82", "/\xff"}) {
        EXPECT_TRUE(parse_target(bad).malformed) << bad;
    }
    for (const char* good : {"/?a=%C3%A4", "/?a=%e2%82%ac", "/?a=%F0%9F%98%80", "/?a=%ef%bf%bf", "/?a=%f4%8f%bf%bf", "/%25"}) {
        EXPECT_FALSE(parse_target(good).malformed) << good;
    }
    EXPECT_TRUE(parse_target(std::string_view("/a\0b", 4)).malformed);
}

RC_GTEST_PROP(HttpTarget, ReadsBackWhatWasEncoded, ()) {
    const auto name = *rc::gen::container<std::string>(rc::gen::inRange<char>(1, 127));
    const auto value = *rc::gen::container<std::string>(rc::gen::inRange<char>(1, 127));
    std::string target = "/?x";
    const auto encode = [&target](const std::string& text) {
        for (const char c : text) {
            char hex[4];
            std::snprintf(hex, sizeof(hex), "%%%02x", static_cast<unsigned char>(c));
            target += hex;
        }
    };
    encode(name);
    target += '=';
    encode(value);
    const HttpTarget parsed = parse_target(target);
    RC_ASSERT(!parsed.malformed);
    RC_ASSERT(parsed.query == HttpFields({{"x" + name, value}}));
}

RC_GTEST_PROP(HttpTarget, GivesUtf8OrNothing, (const std::string& bytes)) {
    const HttpTarget parsed = parse_target(bytes);
    RC_ASSERT(is_utf8(parsed.path));
    for (const auto& [name, value] : parsed.query) {
        RC_ASSERT(is_utf8(name) && is_utf8(value));
        RC_ASSERT(name.find('\0') == std::string::npos && value.find('\0') == std::string::npos);
    }
    RC_ASSERT(!parsed.malformed || parsed.query.empty());
}

}  // namespace
}  // namespace topkd
