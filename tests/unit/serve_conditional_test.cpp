// If-None-Match and Accept-Encoding: the grammar's good and odd forms, and bytes of strangers.
#include "serve/conditional.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <string>

namespace topkd {
namespace {

TEST(IfNoneMatch, ComparesWeakly) {
    for (const char* yes : {R"("a")", R"(W/"a")", R"("b", "a")", R"("b","a","c")", R"(W/"b",  W/"a")", "*", " * ", R"(  "a"  )",
                            R"("x,y", "a")", R"(, "a")"}) {
        EXPECT_TRUE(names_etag(yes, R"("a")")) << yes;
    }
    for (const char* no :
         {"", "a", R"("b")", R"("A")", R"("a)", R"(a")", R"(w/"a")", R"("a-gzip")", R"("b" a)", "W/", R"("b", *)", ",,,", R"("x,"a"")"}) {
        EXPECT_FALSE(names_etag(no, R"("a")")) << no;
    }
}

TEST(AcceptEncoding, RespectsWeights) {
    for (const char* yes : {"gzip", "GZIP", "x-gzip", "deflate, gzip", "gzip, deflate, br", "*", "gzip;q=1", "gzip;q=0.001", "gzip ; q=0.5",
                            "br;q=1.0, gzip;q=0.8, *;q=0.1", "*;q=0.5", "identity, gzip", "identity;q=0.5, gzip;q=0.5", "gzip;Q=1",
                            "identity;q=0, gzip", "gzip;q=1.000"}) {
        EXPECT_TRUE(prefers_gzip(yes)) << yes;
    }
    for (const char* no :
         {"", "identity", "br", "gzip;q=0", "gzip;q=0.0", "gzip;q=0.000", "*;q=0", "gzip;q=0, *", "identity;q=1, gzip;q=0.5", "gzipped",
          "gzip;q=", "gzip;q=x", "gzip;q=-1", "gzip;q=0.0001", "gzip;q=1x", ";q=1", ",,,", "deflate;q=1"}) {
        EXPECT_FALSE(prefers_gzip(no)) << no;
    }
}

RC_GTEST_PROP(IfNoneMatch, FindsATagAmongOthers, (const std::vector<std::uint32_t>& others, std::uint32_t tag, bool weak)) {
    const auto quoted = [](std::uint32_t number) { return "\"" + std::to_string(number) + "\""; };
    std::string list;
    bool is_in = false;
    for (const std::uint32_t other : others) {
        list += quoted(other) + ", ";
        is_in = is_in || other == tag;
    }
    RC_ASSERT(names_etag(list, quoted(tag)) == is_in);
    RC_ASSERT(names_etag(list + (weak ? "W/" : "") + quoted(tag), quoted(tag)));
}

RC_GTEST_PROP(Conditional, EndsWhateverIsSent, ()) {
    const auto bytes =
        *rc::gen::container<std::string>(rc::gen::element('"', ',', ';', '=', 'q', '0', '.', '1', 'W', '/', ' ', '*', 'g', '\xff', '\0'));
    names_etag(bytes, "\"g\"");
    prefers_gzip(bytes);
}

}  // namespace
}  // namespace topkd
