// Integers as they travel: big-endian, two's complement.
#pragma once

#include <array>
#include <concepts>
#include <cstddef>
#include <string>
#include <type_traits>

namespace topkd {

/// The value's bytes, most significant first.
template <std::integral T>
constexpr std::array<char, sizeof(T)> big_endian(T value) {
    std::array<char, sizeof(T)> bytes{};
    auto rest = static_cast<std::make_unsigned_t<T>>(value);
    for (std::size_t i = sizeof(T); i-- > 0; rest = static_cast<decltype(rest)>(rest >> 4 >> 4)) bytes[i] = static_cast<char>(rest & 0xff);
    return bytes;
}

template <std::integral T>
void append_big_endian(std::string& out, T value) {
    const auto bytes = big_endian(value);
    out.append(bytes.data(), bytes.size());
}

}  // namespace topkd
