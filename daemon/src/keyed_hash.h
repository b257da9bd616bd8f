// SipHash: a hash under a secret key, so that a stranger who chooses what is hashed cannot choose where it lands.
// After Aumasson and Bernstein's paper; one compression and three final rounds are the common choice for hash tables.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace topkd {

template <int CompressionRounds, int FinalRounds>
class SipHash {
  public:
    SipHash(std::uint64_t key0, std::uint64_t key1)
        : a_(key0 ^ 0x736f6d6570736575), b_(key1 ^ 0x646f72616e646f6d), c_(key0 ^ 0x6c7967656e657261), d_(key1 ^ 0x7465646279746573) {}

    /// Takes one little-endian word of the message.
    void word(std::uint64_t m) {
        d_ ^= m;
        for (int i = 0; i < CompressionRounds; ++i) round();
        a_ ^= m;
    }

    /// Takes the rest of the message, whose whole length is `total` bytes, and gives the hash.
    std::uint64_t finish(std::string_view rest, std::size_t total) {
        while (rest.size() >= 8) {
            word(load(rest.data(), 8));
            rest.remove_prefix(8);
        }
        word(load(rest.data(), rest.size()) | static_cast<std::uint64_t>(total) << 56);
        c_ ^= 0xff;
        for (int i = 0; i < FinalRounds; ++i) round();
        return a_ ^ b_ ^ c_ ^ d_;
    }

  private:
    static std::uint64_t load(const char* p, std::size_t size) {
        static_assert(std::endian::native == std::endian::little);
        std::uint64_t m = 0;
        if (size > 0) std::memcpy(&m, p, size);
        return m;
    }

    void round() {
        a_ += b_, b_ = std::rotl(b_, 13) ^ a_, a_ = std::rotl(a_, 32);
        c_ += d_, d_ = std::rotl(d_, 16) ^ c_;
        a_ += d_, d_ = std::rotl(d_, 21) ^ a_;
        c_ += b_, b_ = std::rotl(b_, 17) ^ c_, c_ = std::rotl(c_, 32);
    }

    std::uint64_t a_, b_, c_, d_;
};

}  // namespace topkd
