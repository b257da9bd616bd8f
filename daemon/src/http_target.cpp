#include "http_target.h"

#include <optional>

namespace topkd {
namespace {

int hexadecimal(char c) {
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    if (c >= 'A' && c <= 'F') {
        return c - 'A' + 10;
    }
    return -1;
}

/// None: malformed.
std::optional<std::string> decode(std::string_view text, bool plus_is_space) {
    std::string decoded;
    decoded.reserve(text.size());
    for (std::size_t i = 0; i < text.size(); ++i) {
        char c = text[i];
        if (c == '%') {
            const int high = i + 2 < text.size() ? hexadecimal(text[i + 1]) : -1;
            const int low = i + 2 < text.size() ? hexadecimal(text[i + 2]) : -1;
            if (high < 0 || low < 0) {
                return std::nullopt;
            }
            c = static_cast<char>(high * 16 + low);
            i += 2;
        } else if (c == '+' && plus_is_space) {
            c = ' ';
        }
        if (c == '\0') {
            return std::nullopt;
        }
        decoded += c;
    }
    return is_utf8(decoded) ? std::optional(std::move(decoded)) : std::nullopt;
}

bool read_query(std::string_view text, HttpFields& query) {
    while (!text.empty()) {
        const std::size_t end = std::min(text.find('&'), text.size());
        const std::string_view part = text.substr(0, end);
        text.remove_prefix(std::min(end + 1, text.size()));
        if (part.empty()) {
            continue;
        }
        const std::size_t equals = std::min(part.find('='), part.size());
        auto name = decode(part.substr(0, equals), true);
        auto value = decode(part.substr(std::min(equals + 1, part.size())), true);
        if (!name || !value) {
            return false;
        }
        query.emplace_back(std::move(*name), std::move(*value));
    }
    return true;
}

/// The bytes of the character that begins the text; 0: none does.
std::size_t character_length(std::string_view text) {
    const auto byte = [text](std::size_t i) { return static_cast<unsigned char>(text[i]); };
    const unsigned char first = byte(0);
    if (first < 0x80) {
        return 1;
    }
    const std::size_t length =
        first >= 0xC2 && first < 0xE0 ? 2 : (first >= 0xE0 && first < 0xF0 ? 3 : (first >= 0xF0 && first < 0xF5 ? 4 : 0));
    if (length == 0 || text.size() < length) {
        return 0;
    }
    for (std::size_t i = 1; i < length; ++i) {
        if ((byte(i) & 0xC0) != 0x80) {
            return 0;
        }
    }
    const bool overlong = (first == 0xE0 && byte(1) < 0xA0) || (first == 0xF0 && byte(1) < 0x90);
    const bool surrogate = first == 0xED && byte(1) >= 0xA0;
    const bool too_great = first == 0xF4 && byte(1) >= 0x90;
    return overlong || surrogate || too_great ? 0 : length;
}

}  // namespace

bool is_utf8(std::string_view text) {
    while (!text.empty()) {
        const std::size_t length = character_length(text);
        if (length == 0) {
            return false;
        }
        text.remove_prefix(length);
    }
    return true;
}

HttpTarget parse_target(std::string_view target) {
    HttpTarget parsed;
    if (const std::size_t scheme = target.find("://"); !target.starts_with('/') && scheme != std::string_view::npos) {
        const std::size_t path = target.find_first_of("/?", scheme + 3);
        target = path == std::string_view::npos ? "/" : target.substr(path);
    }
    target = target.substr(0, target.find('#'));
    const std::size_t question = std::min(target.find('?'), target.size());
    auto path = decode(target.substr(0, question), false);
    if (!path || !read_query(target.substr(std::min(question + 1, target.size())), parsed.query)) {
        return {.path = {}, .query = {}, .malformed = true};
    }
    parsed.path = path->empty() ? "/" : std::move(*path);
    return parsed;
}

}  // namespace topkd
