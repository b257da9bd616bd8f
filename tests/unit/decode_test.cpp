// The decoder: every kind of malformed record with its stable reason, what must be accepted, and agreement with the naive
// decoder on generated and on damaged records.
#include "decode.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "naive_decode.h"

namespace topkd {
namespace {

using namespace std::string_literals;
using naive::OwnedEvent;

constexpr std::int64_t kRecordTime = 1'699'999'999'000;

Record record_of(std::string_view value) {
    Record record;
    record.timestamp = Millis{kRecordTime};
    record.value = value;
    return record;
}

/// The whole reason, or "" for an event.
std::string detail_of(Decoder& decoder, const Record& record) {
    const auto event = decoder.decode(record);
    return event ? "" : event.error().text;
}

/// The stable part of the reason, or "" for an event.
std::string reason_of(Decoder& decoder, const Record& record) {
    const std::string text = detail_of(decoder, record);
    return text.substr(0, text.find(':'));
}

std::optional<OwnedEvent> owned(Decoder& decoder, const Record& record) {
    const auto event = decoder.decode(record);
    if (!event) return std::nullopt;
    return OwnedEvent{std::string(event->video_id), raw(event->time), event->views};
}

std::string with_id(const std::string& id) {
    return R"({"video_id":")" + id + R"(","ts":1})";
}
std::string with_ts(const std::string& ts) {
    return R"({"video_id":"a","ts":)" + ts + "}";
}
std::string with_views(const std::string& views) {
    return R"({"video_id":"a","ts":1,"views":)" + views + "}";
}
std::string with_other(const std::string& other) {
    return R"({"other":)" + other + R"(,"video_id":"a","ts":1})";
}
std::string repeat(const std::string& part, int times) {
    std::string out;
    for (int i = 0; i < times; ++i) out += part;
    return out;
}
/// A good record whose ignored member brings the nesting to `levels`.
std::string nested(int levels) {
    return with_other(repeat("[", levels - 1) + repeat("]", levels - 1));
}

struct Malformed {
    const char* reason;
    std::vector<std::string> values;
};

const std::vector<Malformed>& malformed() {
    static const std::vector<Malformed> kinds = {
        // What is no JSON text at all.
        {"not JSON", {"x", "hello world", "{video_id:1}", "video_id=a&ts=1", "\x00\x01\x02\x03"s, "\0"s, "NaN", "undefined", "'a'"}},
        {"not JSON", {" ", "\n\t \r"}},
        {"not JSON",
         {with_id("a").substr(0, 10), with_id("a").substr(0, 22), R"({"video_id":"a","ts":1)", R"({"video_id":"a","ts":)", "{", "[", "\""}},
        {"not JSON",
         {with_id("a") + "x", with_id("a") + with_id("a"), with_id("a") + ",", with_id("a") + "}", with_id("a") + "\0"s, "1 2"}},
        {"not JSON", {"\xEF\xBB\xBF" + with_id("a"), "\xFF\xFE{\0}\0"s}},
        {"not JSON", {R"({"video_id":"a" "ts":1})", R"({"video_id":"a",,"ts":1})", R"({"video_id":"a","ts":1,})", R"({"video_id" "a"})"}},
        {"not JSON", {R"({"video_id":"a","ts":})", R"({"video_id":"a","ts"})", R"({"video_id":"a",1})", R"({1:"a"})", R"({:1})", "{,}"}},
        {"not JSON", {with_other("[1,]"), with_other("[,1]"), with_other("[1 2]"), with_other("[1}"), with_other("{]"), with_other("[[]")}},
        {"not JSON", {R"({'video_id':'a'})", "/* c */" + with_id("a"), with_id("a") + " // c"}},
        // Bad JSON in members that nobody reads.
        {"not JSON",
         {with_other("tru"), with_other("True"), with_other("nul"), with_other("nulll"), with_other("truefalse"), with_other("x")}},
        {"not JSON",
         {with_other("01"), with_other("+1"), with_other(".5"), with_other("1."), with_other("1e"), with_other("1e+"), with_other("-"),
          with_other("0x10"), with_other("1_000"), with_other("--1"), with_other("Infinity"), with_other("-01")}},
        {"not JSON",
         {with_other(R"("\x")"), with_other(R"("\u12")"), with_other(R"("\u12G4")"), with_other(R"("\)") + "\"", with_other(R"("a"b)")}},
        {"not JSON", {with_other("\"\n\""), with_other("\"\x01\""), with_other("\"\0\""s), with_other("1\x0b"), with_other("1\0"s)}},
        {"not JSON", {with_other(R"("\ud800")"), R"({"\udc00":1,"video_id":"a","ts":1})", with_other(R"(["\ud800\u0041"])")}},
        {"not JSON",
         {with_other("\"\xff\""), with_other("\"\xc3\""), with_other("\"\xed\xa0\x80\""), with_other("\"\xc0\x80\""),
          with_other("\"\xf4\x90\x80\x80\"")}},
        {"not JSON",
         {nested(kMaxJsonDepth + 1), repeat("[", 100'000), repeat("[", 100'000) + repeat("]", 100'000), repeat(R"({"a":)", 100'000)}},
        // JSON, but no event.
        {"not an object", {"1", "\"a\"", "null", "true", " [] ", "[" + with_id("a") + "]", "-1.5e300", "123456789012345678901234567890"}},
        {"video_id missing",
         {"{}", " { } ", R"({"ts":1})", R"({"Video_id":"a","ts":1})", R"({"video_id ":"a"})",
          with_other(R"({"video_id":"a"})").substr(0, 25) + "}"}},
        {"video_id not a string",
         {R"({"video_id":1,"ts":1})", R"({"video_id":null})", R"({"video_id":["a"]})", R"({"video_id":{"video_id":"a"}})",
          R"({"video_id":true})"}},
        {"video_id empty", {with_id("")}},
        {"video_id longer than 256 bytes",
         {with_id(std::string(257, 'a')), with_id(repeat("\xc3\xa9", 129)), with_id(repeat(R"(\u00e9)", 129)),
          with_id(std::string(1'000'000, 'a'))}},
        {"not JSON", {with_id("\xff"), with_id("a\xc3"), with_id("\xed\xa0\x80"), with_id(R"(\ud800)"), with_id(R"(\ude00\ud83d)")}},
        {"video_id contains NUL", {with_id(R"(\u0000)"), with_id(R"(a\u0000b)")}},
        {"ts not an integer or RFC 3339 string", {with_ts("1.0"), with_ts("1e3"), with_ts("1E3"), with_ts("-0.0"), with_ts("1.7e12")}},
        {"ts not an integer or RFC 3339 string", {with_ts("null"), with_ts("true"), with_ts("[1]"), with_ts("{}")}},
        {"ts not an integer or RFC 3339 string",
         {with_ts(R"("")"), with_ts(R"("1")"), with_ts(R"("yesterday")"), with_ts(R"("2024-01-01")"),
          with_ts(R"("2024-01-01T00:00:00Z\u0000")")}},
        {"ts out of range",
         {with_ts("9224318016000000"), with_ts("-210866803200001"), with_ts("9223372036854775807"), with_ts("9223372036854775808")}},
        {"ts out of range",
         {with_ts("-9223372036854775809"), with_ts("123456789012345678901234567890"), with_ts("1" + std::string(5000, '0'))}},
        {"views not an integer", {with_views("1.0"), with_views("1e3"), with_views("0.5"), with_views("1E400")}},
        {"views not an integer", {with_views("\"1\""), with_views("null"), with_views("false"), with_views("[]"), with_views("{}")}},
        {"views out of range",
         {with_views("0"), with_views("-0"), with_views("-1"), with_views("1000001"), with_views("18446744073709551617")}},
    };
    return kinds;
}

TEST(Decode, MalformedRecordsHaveStableReasons) {
    ASSERT_GE(malformed().size(), 25U);
    Decoder decoder;
    for (const Malformed& kind : malformed()) {
        for (const std::string& value : kind.values) {
            SCOPED_TRACE(value.substr(0, 100));
            EXPECT_EQ(reason_of(decoder, record_of(value)), kind.reason);
            // A bad record leaves nothing behind for the next one.
            EXPECT_EQ(owned(decoder, record_of(with_id("next"))), (OwnedEvent{"next", 1, 1}));
        }
    }
}

TEST(Decode, ReasonsTellTheDetailBehindAColon) {
    Decoder decoder;
    EXPECT_EQ(detail_of(decoder, record_of(with_id("\xff"))), "not JSON: not UTF-8");
    EXPECT_EQ(detail_of(decoder, record_of(nested(kMaxJsonDepth + 1))), "not JSON: nested deeper than 512 levels");
    EXPECT_EQ(detail_of(decoder, record_of(with_id(R"(\ud800)"))), "not JSON: bad escape in a string");
    EXPECT_EQ(detail_of(decoder, record_of(" ")), "not JSON: only white space");
    EXPECT_EQ(detail_of(decoder, record_of(with_id("a") + " 1}")), "not JSON: more text behind its end");
}

TEST(Decode, AcceptsWhatTheContractSays) {
    const struct {
        std::string value;
        OwnedEvent event;
    } cases[] = {
        {R"({"video_id":"a","ts":1700000000000})", {"a", 1'700'000'000'000, 1}},
        {R"({"video_id":"a"})", {"a", kRecordTime, 1}},
        {R"({"ts":-5,"views":1000000,"video_id":"a"})", {"a", -5, 1'000'000}},
        {R"({"video_id":"a","ts":"2023-11-14T22:13:20.5+00:00","views":2})", {"a", 1'700'000'000'500, 2}},
        {R"({"video_id":"a","ts":"2023-11-14\u005422:13:20Z"})", {"a", 1'700'000'000'000, 1}},
        {with_ts("9224318015999999"), {"a", 9'224'318'015'999'999, 1}},
        {with_ts("-210866803200000"), {"a", -210'866'803'200'000, 1}},
        {with_ts("-0"), {"a", 0, 1}},
        {" \t\r\n{ \"video_id\"\n: \"a\" ,\t\"ts\" : 1 } \n", {"a", 1, 1}},
        // Escapes in names and in ids.
        {R"({"video\u005fid":"a","\u0074s":1})", {"a", 1, 1}},
        {with_id(R"(\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00)"), {"\"\\/\b\f\n\r\t\xc3\xa9\xf0\x9f\x98\x80", 1, 1}},
        {with_id("\xc3\xa9\xf0\x9f\x98\x80"), {"\xc3\xa9\xf0\x9f\x98\x80", 1, 1}},
        {with_id("a\x7f \xc2\x85"), {"a\x7f \xc2\x85", 1, 1}},
        {with_id(std::string(256, 'a')), {std::string(256, 'a'), 1, 1}},
        {with_id(repeat(R"(\ud83d\ude00)", 64)), {repeat("\xf0\x9f\x98\x80", 64), 1, 1}},
        // The last of duplicate members wins, whatever the others were; escaped names are the same names.
        {R"({"video_id":"a","video_id":"b","ts":1,"ts":2,"views":1,"views":3})", {"b", 2, 3}},
        {R"({"video_id":null,"ts":1.5,"views":0,"video_id":"a","ts":1,"views":1})", {"a", 1, 1}},
        {R"({"video_id":"a","video\u005fid":"b","ts":1})", {"b", 1, 1}},
        {R"({"video_id":"\u0000","ts":[],"ts":1,"video_id":"a"})", {"a", 1, 1}},
        // Other members are JSON and nothing else matters.
        {with_other("123456789012345678901234567890"), {"a", 1, 1}},
        {with_other("1e400"), {"a", 1, 1}},
        {with_other("-1.5E-400"), {"a", 1, 1}},
        {with_other(R"({"video_id":"b","ts":2,"views":[]})"), {"a", 1, 1}},
        {with_other(R"(["\u0000",true,false,null,[],{},[[]],{"":{}}])"), {"a", 1, 1}},
        {R"({"":1,"\u0000":2,"video_id":"a","ts":1})", {"a", 1, 1}},
        {nested(kMaxJsonDepth), {"a", 1, 1}},
        {with_other("\"" + std::string(3'000'000, 'x') + "\""), {"a", 1, 1}},
    };
    Decoder decoder;
    for (const auto& c : cases) {
        SCOPED_TRACE(c.value.substr(0, 100));
        EXPECT_EQ(reason_of(decoder, record_of(c.value)), "");
        EXPECT_EQ(owned(decoder, record_of(c.value)), c.event);
        EXPECT_EQ(naive::decode(record_of(c.value)), c.event);
    }
}

TEST(Decode, NullValueIsDeadWithOrWithoutKey) {
    Decoder decoder;
    Record record;
    record.timestamp = Millis{kRecordTime};
    EXPECT_EQ(reason_of(decoder, record), "null value");
    record.key = "a";
    EXPECT_EQ(reason_of(decoder, record), "null value");
}

TEST(Decode, EmptyValueIsOneViewOfTheKeysVideo) {
    Decoder decoder;
    Record record = record_of("");
    EXPECT_EQ(reason_of(decoder, record), "empty value without key");
    const std::string longest(256, 'k');
    record.key = longest;
    EXPECT_EQ(owned(decoder, record), (OwnedEvent{longest, kRecordTime, 1}));
    const std::pair<std::string, const char*> bad_keys[] = {{"", "video_id empty"},
                                                            {longest + "k", "video_id longer than 256 bytes"},
                                                            {"\xff", "video_id not UTF-8"},
                                                            {"a\xed\xa0\x80", "video_id not UTF-8"},
                                                            {"a\0"s, "video_id contains NUL"}};
    for (const auto& [key, reason] : bad_keys) {
        record.key = key;
        EXPECT_EQ(reason_of(decoder, record), reason);
    }
}

TEST(Decode, TheKeyIsNotReadWhenThereIsAValue) {
    Decoder decoder;
    Record record = record_of("{}");
    record.key = "a";
    EXPECT_EQ(reason_of(decoder, record), "video_id missing");
    const std::string value = with_id("b");
    record.value = value;
    record.key = "\xff\xff";
    EXPECT_EQ(owned(decoder, record), (OwnedEvent{"b", 1, 1}));
}

TEST(Decode, WithoutAnyTimeThereIsNoEvent) {
    Decoder decoder;
    Record record = record_of(R"({"video_id":"a"})");
    record.timestamp = std::nullopt;
    EXPECT_EQ(reason_of(decoder, record), "ts missing");
    record.value = "";
    record.key = "a";
    EXPECT_EQ(reason_of(decoder, record), "ts missing");
    record.timestamp = kTimestampEnd;
    EXPECT_EQ(reason_of(decoder, record), "ts out of range");
}

rc::Gen<std::string> any_json_string() {
    return rc::gen::map(rc::gen::container<std::vector<std::string>>(
                            rc::gen::element("a"s, "b"s, "7"s, "_"s, " "s, "/"s, "\xc3\xa9"s, "\xf0\x9f\x98\x80"s, "\\n"s, "\\\""s, "\\\\"s,
                                             "\\u0000"s, "\\u00e9"s, "\\ud83d\\ude00"s, "\\ud800"s, "\\x"s)),
                        [](const std::vector<std::string>& parts) {
                            std::string out;
                            for (const auto& part : parts) out += part;
                            return '"' + out + '"';
                        });
}

rc::Gen<std::string> any_scalar() {
    return rc::gen::oneOf(any_json_string(),
                          rc::gen::map(rc::gen::inRange<std::int64_t>(-10, 2'000'000), [](std::int64_t n) { return std::to_string(n); }),
                          rc::gen::element("1700000000000"s, "1.0"s, "1e3"s, "1e999"s, "9223372036854775808"s, "true"s, "null"s, "[]"s,
                                           "{\"ts\":[1,{}]}"s, "\"2024-02-29T01:02:03.5Z\""s, "\"2024-02-29T01:02:03.5+05:30\""s));
}

/// An object of mostly the right members, with mostly the right types, and any white space.
rc::Gen<std::string> any_record() {
    const auto space = rc::gen::element(""s, ""s, " "s, "\n\t"s);
    const auto right =
        rc::gen::oneOf(rc::gen::map(any_json_string(), [](const std::string& s) { return "\"video_id\":" + s; }),
                       rc::gen::element("\"video_id\":\"v1\""s, "\"ts\":1700000000000"s, "\"views\":3"s, "\"video\\u005fid\" : \"v2\""s));
    const auto any = rc::gen::apply(
        [](const std::string& name, const std::string& gap, const std::string& value) { return name + gap + ":" + gap + value; },
        rc::gen::element("\"video_id\""s, "\"ts\""s, "\"views\""s, "\"x\""s), space, any_scalar());
    const auto member = rc::gen::weightedOneOf<std::string>({{7, right}, {1, any}});
    return rc::gen::apply(
        [](const std::vector<std::string>& members, const std::string& gap) {
            std::string out = gap + "{" + gap;
            for (std::size_t i = 0; i < members.size(); ++i) out += (i > 0 ? "," + gap : "") + members[i];
            return out + gap + "}" + gap;
        },
        rc::gen::scale(0.1, rc::gen::container<std::vector<std::string>>(member)), space);
}

RC_GTEST_PROP(DecodeProperty, AgreesWithTheNaiveDecoder, ()) {
    static Decoder decoder;
    for (int i = 0; i < 20; ++i) {
        const auto value = *any_record();
        const auto event = owned(decoder, record_of(value));
        RC_ASSERT(event == naive::decode(record_of(value)));
    }
}

std::string damaged(std::string value) {
    const int edits = *rc::gen::inRange(1, 4);
    for (int i = 0; i < edits && !value.empty(); ++i) {
        const auto at = *rc::gen::inRange<std::size_t>(0, value.size());
        const auto with =
            *rc::gen::oneOf(rc::gen::arbitrary<char>(), rc::gen::element('"', '\\', '{', '}', '[', ']', ',', ':', ' ', '0', '\0'));
        switch (*rc::gen::inRange(0, 4)) {
            case 0:
                value[at] = with;
                break;
            case 1:
                value.insert(at, 1, with);
                break;
            case 2:
                value.erase(at, 1);
                break;
            default:
                value.resize(at);
                break;
        }
    }
    return value;
}

RC_GTEST_PROP(DecodeProperty, AgreesWithTheNaiveDecoderOnDamagedRecords, ()) {
    static Decoder decoder;
    for (int i = 0; i < 20; ++i) {
        const auto value = damaged(*any_record());
        Record record = record_of(value);
        record.key = value;
        RC_ASSERT(owned(decoder, record) == naive::decode(record));
    }
}

/// The copy must not read beyond the record: it stands at the very end of its allocation, where a sanitizer sees it.
RC_GTEST_PROP(DecodeProperty, BufferSizesDoNotMatter, ()) {
    static Decoder decoder;
    const auto padding = *rc::gen::element(0, 1, 60, 63, 64, 65, 4000, 4096, 70'000, 1'500'000) + *rc::gen::inRange(0, 3);
    const auto text = with_other('"' + std::string(static_cast<std::size_t>(padding), 'x') + '"');
    const std::vector<char> exact(text.begin(), text.end());
    RC_ASSERT(owned(decoder, record_of({exact.data(), exact.size()})) == std::optional(OwnedEvent{"a", 1, 1}));
}

}  // namespace
}  // namespace topkd
