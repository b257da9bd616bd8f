#include "pg_literal.h"

#include <gtest/gtest.h>

#include "event_time.h"

namespace topkd::test {
namespace {

using namespace std::string_literals;

TEST(PgLiteral, TimestampsInAndBeyondTheCommonEra) {
    EXPECT_EQ(timestamp_literal(Millis{0}), "1970-01-01 00:00:00.000+00");
    EXPECT_EQ(timestamp_literal(Millis{-1}), "1969-12-31 23:59:59.999+00");
    EXPECT_EQ(timestamp_literal(Millis{951'782'400'123}), "2000-02-29 00:00:00.123+00");
    EXPECT_EQ(timestamp_literal(Millis{253'402'300'800'000}), "10000-01-01 00:00:00.000+00");
    EXPECT_EQ(timestamp_literal(Millis{-62'135'596'800'001}), "0001-12-31 23:59:59.999+00 BC");
    EXPECT_EQ(timestamp_literal(kTimestampBegin), "4714-11-24 00:00:00.000+00 BC");
}

TEST(PgLiteral, Bytea) {
    EXPECT_EQ(bytea_literal(""), "\\x");
    EXPECT_EQ(bytea_literal("\0\xff'\\"s), "\\x00ff275c");
}

TEST(PgLiteral, CompositesQuoteTwice) {
    CompositeArray rows;
    EXPECT_EQ(rows.text(), "{}");
    rows.begin_row().field(std::int64_t{-7}).field(std::string_view("plain")).null().end_row();
    EXPECT_EQ(rows.text(), R"#({"(-7,\"plain\",)"})#");
    rows.begin_row().null().field(std::string_view("a\"b\\c,){")).field(std::optional<std::string>("")).end_row();
    EXPECT_EQ(rows.text(), R"#({"(-7,\"plain\",)","(,\"a\\\"b\\\\c,){\",\"\")"})#");
}

TEST(PgLiteral, Numbers) {
    EXPECT_EQ(array_literal({}), "{}");
    EXPECT_EQ(array_literal({1, -2}), "{1,-2}");
}

}  // namespace
}  // namespace topkd::test
