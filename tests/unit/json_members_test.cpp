// Which texts are of the plain form, and what is read of them. That it agrees with the parser is shown by the properties of decode_test.
#include "json_members.h"

#include <gtest/gtest.h>

#include <string>

#include "synthetic.h"

namespace topkd::test {
namespace {

using Kind = Member::Kind;

TEST(PlainObject, ReadsWhatProduceWrites) {
    SyntheticSequence sequence({}, Millis{1'700'000'000'000});
    SyntheticRecord record;
    sequence.next(Millis{1'700'000'000'000}, record);
    const auto members = read_plain_object(record.value);
    ASSERT_TRUE(members);
    EXPECT_EQ(members->video_id.kind, Kind::ascii);
    EXPECT_EQ(members->video_id.text, record.key);
    EXPECT_EQ(members->ts.kind, Kind::number);
    EXPECT_EQ(members->ts.text, "1700000000000");
}

TEST(PlainObject, ReadsMembersInAnyOrderWithAnySpace) {
    const auto members = read_plain_object(" {\t\"other\" : \"x\" ,\n\"views\":-0\r, \"ts\": \"\",\"video_id\":\"~ \" }\n");
    ASSERT_TRUE(members);
    EXPECT_EQ(members->video_id.text, "~ ");
    EXPECT_EQ(members->ts.kind, Kind::ascii);
    EXPECT_EQ(members->ts.text, "");
    EXPECT_EQ(members->views.text, "-0");
}

TEST(PlainObject, OfDuplicatesTheLastCounts) {
    const auto members = read_plain_object(R"({"views":1,"views":"2"})");
    ASSERT_TRUE(members);
    EXPECT_EQ(members->views.kind, Kind::ascii);
    EXPECT_EQ(members->views.text, "2");
    EXPECT_EQ(members->ts.kind, Kind::absent);
}

TEST(PlainObject, GivesUpOnEverythingElse) {
    for (const std::string text : {"",
                                   " ",
                                   "{",
                                   "{}",
                                   "[]",
                                   "1",
                                   R"("a")",
                                   R"({"a")",
                                   R"({"a":)",
                                   R"({"a":1)",
                                   R"({"a":1,)",
                                   R"({"a":1,})",
                                   R"({"a":1}})",
                                   R"({"a":1} x)",
                                   R"({"a":1 2})",
                                   R"({"a" 1})",
                                   R"({a:1})",
                                   R"({"a":"b)",
                                   R"({"a":"b\n"})",
                                   R"({"\u0061":1})",
                                   "{\"a\":\"\n\"}",
                                   "{\"a\":\"\xc3\xa9\"}",
                                   "{\"a\":\"\xff\"}",
                                   R"({"a":01})",
                                   R"({"a":-01})",
                                   R"({"a":-})",
                                   R"({"a":+1})",
                                   R"({"a":1.0})",
                                   R"({"a":1e3})",
                                   R"({"a":1x})",
                                   R"({"a":true})",
                                   R"({"a":null})",
                                   R"({"a":{}})",
                                   R"({"a":[1]})",
                                   "\xef\xbb\xbf{\"a\":1}"}) {
        EXPECT_FALSE(read_plain_object(text)) << text;
    }
    EXPECT_FALSE(read_plain_object(std::string_view("{\"a\":\"\0\"}", 9)));
    EXPECT_FALSE(read_plain_object(std::string_view("{\"a\":1}\0", 8)));
}

}  // namespace
}  // namespace topkd::test
