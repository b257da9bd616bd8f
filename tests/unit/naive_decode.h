// The decoder's rules once more, the slow and obvious way: a recursive descent over RFC 8259 with no library, nothing
// shared with the decoder but Event's bounds. Tests and the fuzzer compare the two; they must agree on every input.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "decode.h"
#include "event_time.h"

namespace topkd::naive {

inline bool valid_utf8(std::string_view s) {
    for (std::size_t i = 0; i < s.size();) {
        const auto byte = [&](std::size_t k) { return i + k < s.size() ? static_cast<unsigned char>(s[i + k]) : 0U; };
        const unsigned lead = byte(0);
        const std::size_t length = lead < 0x80 ? 1 : lead >> 5 == 6 ? 2 : lead >> 4 == 14 ? 3 : lead >> 3 == 30 ? 4 : 0;
        if (length == 0) return false;
        unsigned code = length == 1 ? lead : lead & (0x7fU >> length);
        for (std::size_t k = 1; k < length; ++k) {
            if (byte(k) >> 6 != 2) return false;
            code = code << 6 | (byte(k) & 0x3f);
        }
        constexpr unsigned kSmallest[] = {0, 0, 0x80, 0x800, 0x10000};
        if (code < kSmallest[length] || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff)) return false;
        i += length;
    }
    return true;
}

struct Number {
    std::string text;
};
struct Other {};
using Value = std::variant<std::string, Number, Other>;
using Object = std::map<std::string, Value>;

/// Throws nothing; failed() once anything is wrong.
class Parser {
  public:
    explicit Parser(std::string_view text) : text_(text) {}

    /// The members of the object that the whole text is, or none if it is no JSON or no object.
    std::optional<Object> whole_object() {
        Object members;
        space();
        const bool is_object = peek() == '{';
        if (is_object) {
            object(1, &members);
        } else {
            value(1);
        }
        space();
        if (failed_ || at_ != text_.size() || !is_object) return std::nullopt;
        return members;
    }

  private:
    int peek() const { return at_ < text_.size() ? static_cast<unsigned char>(text_[at_]) : -1; }
    int take() { return at_ < text_.size() ? static_cast<unsigned char>(text_[at_++]) : -1; }
    void expect(int c) {
        if (take() != c) failed_ = true;
    }
    void space() {
        while (peek() == ' ' || peek() == '\t' || peek() == '\n' || peek() == '\r') ++at_;
    }

    void object(int depth, Object* members) {
        expect('{');
        if (depth > kMaxJsonDepth) failed_ = true;
        space();
        if (!failed_ && peek() == '}') return void(take());
        while (!failed_) {
            space();
            std::string name = string();
            space();
            expect(':');
            space();
            Value v = value(depth + 1);
            if (members != nullptr) members->insert_or_assign(std::move(name), std::move(v));
            space();
            if (peek() == '}') return void(take());
            expect(',');
        }
    }

    void array(int depth) {
        expect('[');
        if (depth > kMaxJsonDepth) failed_ = true;
        space();
        if (!failed_ && peek() == ']') return void(take());
        while (!failed_) {
            space();
            value(depth + 1);
            space();
            if (peek() == ']') return void(take());
            expect(',');
        }
    }

    Value value(int depth) {
        if (failed_) return Other{};
        if (peek() == '{') return object(depth, nullptr), Other{};
        if (peek() == '[') return array(depth), Other{};
        if (peek() == '"') return string();
        for (const std::string_view word : {"true", "false", "null"}) {
            if (text_.substr(at_).starts_with(word)) return at_ += word.size(), Other{};
        }
        return number();
    }

    void digits() {
        if (peek() < '0' || peek() > '9') failed_ = true;
        while (peek() >= '0' && peek() <= '9') ++at_;
    }

    Number number() {
        const std::size_t start = at_;
        if (peek() == '-') take();
        if (peek() == '0') {
            take();
        } else {
            digits();
        }
        if (peek() == '.') take(), digits();
        if (peek() == 'e' || peek() == 'E') {
            take();
            if (peek() == '+' || peek() == '-') take();
            digits();
        }
        return {std::string(text_.substr(start, at_ - start))};
    }

    unsigned hex4() {
        unsigned code = 0;
        for (int i = 0; i < 4; ++i) {
            const int c = take();
            const int digit = c >= '0' && c <= '9'   ? c - '0'
                              : c >= 'a' && c <= 'f' ? c - 'a' + 10
                              : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                                     : -1;
            if (digit < 0) failed_ = true;
            code = code * 16 + static_cast<unsigned>(digit & 15);
        }
        return code;
    }

    void escape(std::string& out) {
        constexpr std::string_view kFrom = "\"\\/bfnrt";
        constexpr std::string_view kTo = "\"\\/\b\f\n\r\t";
        const int c = take();
        if (c != 'u') {
            const auto index = c < 0 ? std::string_view::npos : kFrom.find(static_cast<char>(c));
            if (index == std::string_view::npos) {
                failed_ = true;
            } else {
                out += kTo[index];
            }
            return;
        }
        unsigned code = hex4();
        if (code >= 0xd800 && code <= 0xdbff) {
            expect('\\');
            expect('u');
            const unsigned low = hex4();
            if (low < 0xdc00 || low > 0xdfff) failed_ = true;
            code = 0x10000 + ((code & 0x3ff) << 10 | (low & 0x3ff));
        } else if (code >= 0xdc00 && code <= 0xdfff) {
            failed_ = true;
        }
        append_utf8(out, code);
    }

    static void append_utf8(std::string& out, unsigned code) {
        const auto tail = [&](unsigned shift) { out += static_cast<char>(0x80 | (code >> shift & 0x3f)); };
        if (code < 0x80) {
            out += static_cast<char>(code);
        } else if (code < 0x800) {
            out += static_cast<char>(0xc0 | code >> 6), tail(0);
        } else if (code < 0x10000) {
            out += static_cast<char>(0xe0 | code >> 12), tail(6), tail(0);
        } else {
            out += static_cast<char>(0xf0 | (code >> 18 & 7)), tail(12), tail(6), tail(0);
        }
    }

    std::string string() {
        std::string out;
        expect('"');
        while (!failed_ && peek() != '"') {
            const int c = take();
            if (c < 0x20) {
                failed_ = true;  // the end of the text too
            } else if (c == '\\') {
                escape(out);
            } else {
                out += static_cast<char>(c);
            }
        }
        expect('"');
        return out;
    }

    std::string_view text_;
    std::size_t at_ = 0;
    bool failed_ = false;
};

struct OwnedEvent {
    std::string video_id;
    std::int64_t time = 0;
    std::int64_t views = 1;

    friend bool operator==(const OwnedEvent&, const OwnedEvent&) = default;
};

/// The value of an integer of at most 19 characters; longer ones are out of every range here.
inline std::optional<std::int64_t> integer(const Value& value) {
    const auto* number = std::get_if<Number>(&value);
    if (number == nullptr || number->text.size() > 18 || number->text.find_first_of(".eE") != std::string::npos) return std::nullopt;
    return std::stoll(number->text);
}

/// The event that a record is, or none.
inline std::optional<OwnedEvent> decode(const Record& record) {
    OwnedEvent event;
    std::optional<std::int64_t> time;
    if (record.timestamp) time = raw(*record.timestamp);
    if (!record.value) return std::nullopt;
    if (record.value->empty()) {
        if (!record.key) return std::nullopt;
        event.video_id = *record.key;
    } else {
        if (!valid_utf8(*record.value)) return std::nullopt;
        const auto members = Parser(*record.value).whole_object();
        if (!members || !members->contains("video_id")) return std::nullopt;
        const auto* id = std::get_if<std::string>(&members->at("video_id"));
        if (id == nullptr) return std::nullopt;
        event.video_id = *id;
        if (members->contains("ts")) {
            const Value& ts = members->at("ts");
            time = integer(ts);
            if (const auto* text = std::get_if<std::string>(&ts)) {
                if (const auto parsed = parse_rfc3339(*text)) time = raw(*parsed);
            }
        }
        if (members->contains("views")) {
            const auto views = integer(members->at("views"));
            if (!views) return std::nullopt;
            event.views = *views;
        }
    }
    const std::string& id = event.video_id;
    if (id.empty() || id.size() > 256 || !valid_utf8(id) || id.find('\0') != std::string::npos) return std::nullopt;
    if (!time || *time < -210'866'803'200'000 || *time >= 9'224'318'016'000'000) return std::nullopt;
    if (event.views < 1 || event.views > 1'000'000) return std::nullopt;
    event.time = *time;
    return event;
}

}  // namespace topkd::naive
