// SipHash against the vectors of its reference implementation (key 00 01 … 0f, message 00 01 02 …).
#include "keyed_hash.h"

#include <gtest/gtest.h>

#include <string>

namespace topkd {
namespace {

std::string ascending(int size) {
    std::string bytes;
    for (int i = 0; i < size; ++i) bytes += static_cast<char>(i);
    return bytes;
}

std::uint64_t siphash24(std::string_view message) {
    return SipHash<2, 4>(0x0706050403020100, 0x0f0e0d0c0b0a0908).finish(message, message.size());
}

TEST(KeyedHash, EqualsTheReferenceVectors) {
    EXPECT_EQ(siphash24(""), 0x726fdb47dd0e0e31U);
    EXPECT_EQ(siphash24(ascending(1)), 0x74f839c593dc67fdU);
    EXPECT_EQ(siphash24(ascending(8)), 0x93f5f5799a932462U);
    EXPECT_EQ(siphash24(ascending(15)), 0xa129ca6149be45e5U);
}

TEST(KeyedHash, DependsOnBothHalvesOfTheKey) {
    const auto hash = [](std::uint64_t key0, std::uint64_t key1) { return SipHash<1, 3>(key0, key1).finish("vid_1", 5); };
    EXPECT_NE(hash(1, 2), hash(3, 2));
    EXPECT_NE(hash(1, 2), hash(1, 3));
}

}  // namespace
}  // namespace topkd
