// The verifier's decoder: against a table of good and bad records, and against the ingest path's Decoder on random
// mutations of them. The two share no code, so agreement is evidence for both. TOPKD_SEED and TOPKD_ROUNDS set the run.
#include "verify_decode.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "decode.h"

namespace topkd {
namespace {

using std::string_literals::operator""s;

constexpr std::int64_t kTimestamp = 1'772'366'400'123;
constexpr std::int64_t kNoon = 1'772'366'400'000;  // 2026-03-01T12:00:00Z

std::string id_of(std::size_t bytes) {
    return std::string(bytes, 'x');
}
std::string nested(std::size_t depth) {
    return R"({"video_id":"a","n":)" + std::string(depth - 1, '[') + std::string(depth - 1, ']') + "}";
}

struct Good {
    std::string value;
    std::string id;
    std::int64_t time = kTimestamp;
    std::int64_t views = 1;
};

const std::vector<Good>& good() {
    static const std::vector<Good> records{
        {R"({"video_id":"vid_7","ts":1772366400000})", "vid_7", kNoon},
        {R"({"video_id":"vid_7"})", "vid_7"},
        {" \t\r\n{ \"views\" : 1000000 , \"video_id\" : \"a\" } \n", "a", kTimestamp, 1'000'000},
        {R"({"video_id":"a","ts":"2026-03-01T12:00:00Z"})", "a", kNoon},
        {R"({"video_id":"a","ts":"2026-03-01t14:30:00.1239999+02:30"})", "a", kNoon + 123},
        {R"({"video_id":"a","ts":"2016-12-31T23:59:60Z"})", "a", 1'483'228'799'999},
        {R"({"video_id":"a","ts":"2017-01-01T05:29:60+05:30"})", "a", 1'483'228'799'999},
        {R"({"video_id":"a","ts":"0000-02-29T00:00:00Z"})", "a", -62'162'121'600'000},
        {R"({"video_id":"a","ts":"1969-12-31T23:59:59.9-00:00"})", "a", -100},
        {R"({"video_id":"a","ts":0})", "a", 0},
        {R"({"video_id":"a","ts":-0})", "a", 0},
        {R"({"video_id":"a","ts":-210866803200000})", "a", -210'866'803'200'000},
        {R"({"video_id":"a","ts":9224318015999999})", "a", 9'224'318'015'999'999},
        {R"({"video_id":1,"video_id":"a","ts":"x","ts":5,"views":0,"views":2})", "a", 5, 2},
        {R"({"video\u005fid":"\u00e4\ud83d\ude00\"\\\/"})", "\u00e4\U0001F600\"\\/"},
        {R"({"video_id":"a","x":1e99999,"y":123456789012345678901234567890,"z":-1.5E-400})", "a"},
        {R"({"x":{"video_id":"b","ts":[1]},"video_id":"a"})", "a"},
        {R"({"video_id":")" + id_of(256) + "\"}", id_of(256)},
        {nested(512), "a"},
    };
    return records;
}

struct Bad {
    std::string value;
    unsigned fault;
};

const std::vector<Bad>& bad() {
    using namespace verify;
    static const std::vector<Bad> records{
        {" ", kNotJson},
        {"{", kNotJson},
        {R"({"video_id":"a"}})", kNotJson},
        {R"({"video_id":"a"} {})", kNotJson},
        {R"({"video_id":"a",})", kNotJson},
        {R"({'video_id':'a'})", kNotJson},
        {R"({"video_id":"a","x":01})", kNotJson},
        {R"({"video_id":"a","x":+1})", kNotJson},
        {R"({"video_id":"a","x":1.})", kNotJson},
        {R"({"video_id":"a","x":NaN})", kNotJson},
        {R"({"video_id":"a","x":"\ud800"})", kNotJson},
        {R"({"video_id":"a","x":"\x"})", kNotJson},
        {"{\"video_id\":\"a\",\"x\":\"\xff\"}", kNotJson},
        {"{\"video_id\":\"a\xc0\x80\"}", kNotJson},
        {"{\"video_id\":\"a\xed\xa0\x80\"}", kNotJson},
        {"{\"video_id\":\"a\nb\"}", kNotJson},
        {"{\"video_id\":\"a\"}\0"s, kNotJson},
        {"\xef\xbb\xbf{\"video_id\":\"a\"}", kNotJson},
        {R"({"video_id":"a"/**/})", kNotJson},
        {nested(513), kNotJson},
        {"[1,", kNotJson},
        {"[]", kNotObject},
        {"null", kNotObject},
        {"1e999", kNotObject},
        {R"("video_id")", kNotObject},
        {"{}", kIdMissing},
        {R"({"Video_id":"a"})", kIdMissing},
        {R"({"video_id":null})", kIdNotString},
        {R"({"video_id":["a"]})", kIdNotString},
        {R"({"video_id":"a","video_id":{}})", kIdNotString},
        {R"({"video_id":""})", kIdEmpty},
        {R"({"video_id":")" + id_of(257) + "\"}", kIdTooLong},
        {R"({"video_id":"a\u0000b"})", kIdContainsNul},
        {R"({"video_id":"a","ts":null})", kTimeNotReadable},
        {R"({"video_id":"a","ts":true})", kTimeNotReadable},
        {R"({"video_id":"a","ts":1.0})", kTimeNotReadable},
        {R"({"video_id":"a","ts":1e3})", kTimeNotReadable},
        {R"({"video_id":"a","ts":""})", kTimeNotReadable},
        {R"({"video_id":"a","ts":"1772366400000"})", kTimeNotReadable},
        {R"({"video_id":"a","ts":"2026-03-01 12:00:00Z"})", kTimeNotReadable},
        {R"({"video_id":"a","ts":"2026-03-01T12:00Z"})", kTimeNotReadable},
        {R"({"video_id":"a","ts":"2026-03-01T12:00:00"})", kTimeNotReadable},
        {R"({"video_id":"a","ts":"2026-03-01T12:00:00.Z"})", kTimeNotReadable},
        {R"({"video_id":"a","ts":"2026-03-01T24:00:00Z"})", kTimeNotReadable},
        {R"({"video_id":"a","ts":"2026-02-29T12:00:00Z"})", kTimeNotReadable},
        {R"({"video_id":"a","ts":"2026-03-01T12:00:60Z"})", kTimeNotReadable},
        {R"({"video_id":"a","ts":"2026-03-01T12:00:00+24:00"})", kTimeNotReadable},
        {R"({"video_id":"a","ts":-210866803200001})", kTimeOutOfRange},
        {R"({"video_id":"a","ts":9224318016000000})", kTimeOutOfRange},
        {R"({"video_id":"a","ts":9223372036854775808})", kTimeOutOfRange},
        {R"({"video_id":"a","ts":1772366400000000000000000000000})", kTimeOutOfRange},
        {R"({"video_id":"a","views":0})", kViewsOutOfRange},
        {R"({"video_id":"a","views":-1})", kViewsOutOfRange},
        {R"({"video_id":"a","views":1000001})", kViewsOutOfRange},
        {R"({"video_id":"a","views":100000000000000000000000001})", kViewsOutOfRange},
        {R"({"video_id":"a","views":"1"})", kViewsNotInteger},
        {R"({"video_id":"a","views":1.0})", kViewsNotInteger},
        {R"({"video_id":"a","views":null})", kViewsNotInteger},
        {R"({"video_id":"","ts":1.5,"views":0})", kIdEmpty | kTimeNotReadable | kViewsOutOfRange},
    };
    return records;
}

verify::Decoded decode_value(std::string_view value) {
    return verify::decode(std::nullopt, value, kTimestamp);
}

TEST(VerifyDecode, GoodRecords) {
    for (const Good& record : good()) {
        const verify::Decoded event = decode_value(record.value);
        EXPECT_EQ(event.faults, 0u) << record.value;
        EXPECT_EQ(event.video_id, record.id) << record.value;
        EXPECT_EQ(event.time, record.time) << record.value;
        EXPECT_EQ(event.views, record.views) << record.value;
    }
}

TEST(VerifyDecode, BadRecordsNameTheirFaults) {
    for (const Bad& record : bad()) {
        EXPECT_EQ(decode_value(record.value).faults, record.fault) << record.value;
    }
}

TEST(VerifyDecode, NullAndEmptyValues) {
    EXPECT_EQ(verify::decode("k", std::nullopt, kTimestamp).faults, verify::kNullValue);
    EXPECT_EQ(verify::decode(std::nullopt, "", kTimestamp).faults, verify::kEmptyWithoutKey);
    EXPECT_EQ(verify::decode("", "", kTimestamp).faults, verify::kIdEmpty);
    EXPECT_EQ(verify::decode("\xff", "", kTimestamp).faults, verify::kIdNotUtf8);
    EXPECT_EQ(verify::decode("k", "", std::nullopt).faults, verify::kTimeMissing);
    const verify::Decoded event = verify::decode("k", "", kTimestamp);
    EXPECT_EQ(event.faults, 0u);
    EXPECT_EQ(event.video_id, "k");
    EXPECT_EQ(event.time, kTimestamp);
}

TEST(VerifyDecode, ReasonsWithAndWithoutDetail) {
    EXPECT_EQ(verify::faults_named_by("not JSON"), verify::kNotJson);
    EXPECT_EQ(verify::faults_named_by("not JSON: something"), verify::kNotJson);
    EXPECT_EQ(verify::faults_named_by("not JSONs"), 0u);
    EXPECT_EQ(verify::faults_named_by("older than max_age: by 5 ms"), 0u);
}

/// The two decoders on one record: both take it and read the same, or both refuse it for a reason the verifier names too.
testing::AssertionResult agree(Decoder& decoder, const Record& record) {
    const auto ours = decoder.decode(record);
    std::optional<std::int64_t> timestamp;
    if (record.timestamp) {
        timestamp = raw(*record.timestamp);
    }
    const verify::Decoded theirs = verify::decode(record.key, record.value, timestamp);
    const std::string value(record.value.value_or("(null)"));
    if (!ours) {
        if ((verify::faults_named_by(ours.error().text) & theirs.faults) == 0) {
            return testing::AssertionFailure() << "decode: " << ours.error().text << ", verify: faults " << theirs.faults << ": " << value;
        }
        return testing::AssertionSuccess();
    }
    if (theirs.faults != 0 || ours->video_id != theirs.video_id || raw(ours->time) != theirs.time || ours->views != theirs.views) {
        return testing::AssertionFailure() << "decode: " << ours->video_id << " " << raw(ours->time) << " " << ours->views
                                           << ", verify: faults " << theirs.faults << " " << theirs.video_id << " " << theirs.time << " "
                                           << theirs.views << ": " << value;
    }
    return testing::AssertionSuccess();
}

TEST(VerifyDecode, AgreesWithTheDecoderOnTheTables) {
    Decoder decoder;
    Record record;
    record.timestamp = Millis{kTimestamp};
    for (const Good& entry : good()) {
        record.value = entry.value;
        EXPECT_TRUE(agree(decoder, record));
    }
    for (const Bad& entry : bad()) {
        record.value = entry.value;
        EXPECT_TRUE(agree(decoder, record));
    }
}

class Mutator {
  public:
    explicit Mutator(std::uint64_t seed) : random_(seed) {}

    std::size_t below(std::size_t bound) { return random_() % bound; }

    std::string text() {
        std::string result = pick();
        for (std::size_t edits = below(4); edits > 0; --edits) {
            edit(result);
        }
        return result;
    }

  private:
    const std::string& pick() {
        const std::size_t index = below(good().size() + bad().size());
        return index < good().size() ? good()[index].value : bad()[index - good().size()].value;
    }

    void edit(std::string& text) {
        static const std::vector<std::string> kPieces{"{",
                                                      "}",
                                                      "[",
                                                      "]",
                                                      ",",
                                                      ":",
                                                      "\"",
                                                      "\\",
                                                      "0",
                                                      "9",
                                                      "1e5",
                                                      "-",
                                                      "+",
                                                      ".",
                                                      "e",
                                                      "E",
                                                      " ",
                                                      "\n",
                                                      "\0"s,
                                                      "\x01",
                                                      "\x7f",
                                                      "\x80",
                                                      "\xc3",
                                                      "\xc3\xa4",
                                                      "\xed\xa0\x80",
                                                      "\xf4\x90\x80\x80",
                                                      "\xf0\x9f\x98\x80",
                                                      "\xef\xbb\xbf",
                                                      "null",
                                                      "true",
                                                      "fals",
                                                      "\\u0000",
                                                      "\\ud83d",
                                                      "\\ude00",
                                                      "\\u00e4",
                                                      "\"ts\":",
                                                      "\"views\":",
                                                      "\"video_id\":\"z\"",
                                                      "Z",
                                                      "T",
                                                      "60",
                                                      "+00:00",
                                                      "99999999999999999999999",
                                                      "1e400",
                                                      "-0",
                                                      "00",
                                                      "/*x*/",
                                                      "NaN"};
        const std::size_t at = below(text.size() + 1);
        switch (below(5)) {
            case 0:
                text.insert(at, kPieces[below(kPieces.size())]);
                break;
            case 1:
                text.erase(at, 1 + below(4));
                break;
            case 2:
                if (at < text.size()) {
                    text[at] = static_cast<char>(random_() & 0xFF);
                }
                break;
            case 3:
                text.insert(at, text.substr(below(text.size() + 1), below(12)));
                break;
            default:  // a piece of another record
                const std::string& other = pick();
                text.replace(at, below(8), other.substr(below(other.size()), below(24)));
        }
    }

    std::mt19937_64 random_;
};

std::uint64_t from_environment(const char* name, std::uint64_t otherwise) {
    const char* value = std::getenv(name);
    return value == nullptr ? otherwise : std::strtoull(value, nullptr, 10);
}

TEST(VerifyDecode, AgreesWithTheDecoderOnRandomMutations) {
    const std::uint64_t seed = from_environment("TOPKD_SEED", 20'260'301);
    const std::uint64_t rounds = from_environment("TOPKD_ROUNDS", 200'000);
    RecordProperty("seed", std::to_string(seed));
    SCOPED_TRACE("TOPKD_SEED=" + std::to_string(seed));
    Mutator mutator(seed);
    Decoder decoder;
    std::uint64_t events = 0;
    for (std::uint64_t i = 0; i < rounds; ++i) {
        const std::string value = mutator.text();
        const std::string key = mutator.below(8) == 0 ? mutator.text() : "key";
        Record record;
        if (mutator.below(8) != 0) {
            record.timestamp = Millis{kTimestamp};
        }
        if (mutator.below(8) != 0) {
            record.key = key;
        }
        if (mutator.below(32) != 0) {
            record.value = mutator.below(32) == 0 ? std::string_view{} : std::string_view(value);
        }
        events += verify::decode(record.key, record.value, kTimestamp).faults == 0 ? 1 : 0;
        ASSERT_TRUE(agree(decoder, record)) << "round " << i;
    }
    EXPECT_GT(events, rounds / 20) << "the mutations leave too few good records to compare";
}

}  // namespace
}  // namespace topkd
