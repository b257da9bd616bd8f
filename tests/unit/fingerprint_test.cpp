// CRC-32C against published vectors, the record's layout against one fixed vector and a bitwise model.
#include "fingerprint.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <string>

namespace topkd {
namespace {

std::uint32_t bitwise_crc32c(std::string_view bytes) {
    std::uint32_t crc = 0xffffffff;
    for (const char c : bytes) {
        crc ^= static_cast<unsigned char>(c);
        for (int i = 0; i < 8; ++i) crc = (crc & 1) != 0 ? crc >> 1 ^ 0x82f63b78 : crc >> 1;
    }
    return ~crc;
}

std::string length_and(const std::optional<std::string>& field) {
    const auto length = field ? static_cast<std::uint32_t>(field->size()) : 0xffffffffU;
    std::string out;
    for (int shift = 24; shift >= 0; shift -= 8) out += static_cast<char>(length >> shift & 0xff);
    return out + field.value_or("");
}

TEST(Fingerprint, Crc32cOfPublishedVectors) {
    EXPECT_EQ(crc32c(""), 0U);
    EXPECT_EQ(crc32c("123456789"), 0xE3069283U);
    // RFC 3720, B.4
    EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8A9136AAU);
    EXPECT_EQ(crc32c(std::string(32, '\xff')), 0x62A8AB43U);
    std::string ascending;
    for (int i = 0; i < 32; ++i) ascending += static_cast<char>(i);
    EXPECT_EQ(crc32c(ascending), 0x46DD794EU);
}

TEST(Fingerprint, OfOneFixedRecord) {
    Record record;
    record.timestamp = Millis{1'700'000'000'000};
    record.key = "vid_1";
    record.value = R"({"video_id":"vid_1"})";
    const std::string layout(
        "\0\0\x01\x8b\xcf\xe5\x68\0"
        "\0\0\0\x05"
        "vid_1"
        "\0\0\0\x14"
        R"({"video_id":"vid_1"})",
        41);
    EXPECT_EQ(fingerprint(record), bitwise_crc32c(layout));
    EXPECT_EQ(fingerprint(record), 0x3FEBC69CU);
}

TEST(Fingerprint, NullEmptyAndMissingDiffer) {
    Record nothing;
    EXPECT_EQ(fingerprint(nothing), crc32c(std::string(16, '\xff')));
    Record empty_key;
    empty_key.key = "";
    Record empty_value;
    empty_value.value = "";
    Record at_epoch;
    at_epoch.timestamp = Millis{0};
    EXPECT_NE(fingerprint(empty_key), fingerprint(nothing));
    EXPECT_NE(fingerprint(empty_value), fingerprint(nothing));
    EXPECT_NE(fingerprint(empty_value), fingerprint(empty_key));
    EXPECT_NE(fingerprint(at_epoch), fingerprint(nothing));
}

RC_GTEST_PROP(FingerprintProperty, Crc32cEqualsTheBitwiseModelInOnePieceOrTwo, (const std::string& bytes)) {
    RC_ASSERT(crc32c(bytes) == bitwise_crc32c(bytes));
    const auto cut = *rc::gen::inRange<std::size_t>(0, bytes.size() + 1);
    RC_ASSERT(crc32c(bytes.substr(cut), crc32c(bytes.substr(0, cut))) == bitwise_crc32c(bytes));
}

RC_GTEST_PROP(FingerprintProperty, EqualsTheModelForAnyRecord, (std::int64_t timestamp, const std::string& key, const std::string& value)) {
    const bool has_key = *rc::gen::arbitrary<bool>();
    const bool has_value = *rc::gen::arbitrary<bool>();
    Record record;
    record.timestamp = Millis{timestamp};
    if (has_key) record.key = key;
    if (has_value) record.value = value;
    std::string layout;
    for (int shift = 56; shift >= 0; shift -= 8) layout += static_cast<char>(static_cast<std::uint64_t>(timestamp) >> shift & 0xff);
    layout += length_and(has_key ? std::optional(key) : std::nullopt);
    layout += length_and(has_value ? std::optional(value) : std::nullopt);
    RC_ASSERT(fingerprint(record) == bitwise_crc32c(layout));
}

}  // namespace
}  // namespace topkd
