// What is not of the plain form (json_members.h) is read by simdjson's On Demand parser. It validates only what is visited, so every value
// is visited; its own number parser refuses numbers beyond a double, which are JSON, so numbers are read from their text.
#include "decode.h"

#include <simdjson.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <new>
#include <optional>
#include <string>
#include <vector>

#include "event_time.h"
#include "json_members.h"

namespace topkd {
namespace {

namespace ondemand = simdjson::ondemand;
using simdjson::error_code;

/// A parser that had to grow beyond this for one record is given back after it.
constexpr std::size_t kRetainedBytes = std::size_t{1} << 20;
constexpr std::size_t kSmallestBuffer = 4096;

tl::unexpected<DeadReason> dead(const char* text) {
    return tl::unexpected<DeadReason>(DeadReason{text});
}

DeadReason not_json(error_code error) {
    switch (error) {
        case simdjson::EMPTY:
            return {"not JSON: only white space"};
        case simdjson::UTF8_ERROR:
            return {"not JSON: not UTF-8"};
        case simdjson::STRING_ERROR:
            return {"not JSON: bad escape in a string"};
        case simdjson::UNESCAPED_CHARS:
            return {"not JSON: control character in a string"};
        case simdjson::UNCLOSED_STRING:
            return {"not JSON: string without end"};
        case simdjson::NUMBER_ERROR:
            return {"not JSON: bad number or word"};
        case simdjson::DEPTH_ERROR:
            return {"not JSON: nested deeper than " + std::to_string(kMaxJsonDepth) + " levels"};
        case simdjson::TRAILING_CONTENT:
            return {"not JSON: more text behind its end"};
        default:
            return {"not JSON: bad structure"};
    }
}

std::string_view trim(std::string_view text) {
    constexpr std::string_view kSpace = " \t\n\r";
    const auto first = text.find_first_not_of(kSpace);
    if (first == std::string_view::npos) return {};
    return text.substr(first, text.find_last_not_of(kSpace) - first + 1);
}

std::size_t count_digits(std::string_view text) {
    return static_cast<std::size_t>(std::find_if(text.begin(), text.end(), [](char c) { return c < '0' || c > '9'; }) - text.begin());
}

/// JSON's int: -? ( 0 | 1-9 digit* ). Returns its length, 0 if the text does not start with one.
std::size_t integer_length(std::string_view text) {
    const std::size_t sign = text.starts_with('-') ? 1 : 0;
    const std::size_t digits = count_digits(text.substr(sign));
    if (digits == 0) return 0;
    return text[sign] == '0' ? sign + 1 : sign + digits;
}

bool is_integer(std::string_view text) {
    return !text.empty() && integer_length(text) == text.size();
}

bool is_number(std::string_view text) {
    const std::size_t integer = integer_length(text);
    if (integer == 0) return false;
    text.remove_prefix(integer);
    if (text.starts_with('.')) {
        const std::size_t digits = count_digits(text.substr(1));
        if (digits == 0) return false;
        text.remove_prefix(1 + digits);
    }
    if (text.starts_with('e') || text.starts_with('E')) {
        text.remove_prefix(1);
        if (text.starts_with('+') || text.starts_with('-')) text.remove_prefix(1);
        const std::size_t digits = count_digits(text);
        if (digits == 0) return false;
        text.remove_prefix(digits);
    }
    return text.empty();
}

/// A token that is neither string nor container.
error_code read_word(std::string_view token, Member& into) {
    token = trim(token);
    if (is_number(token)) {
        into = {Member::Kind::number, token};
    } else if (token == "true" || token == "false" || token == "null") {
        into = {Member::Kind::other, {}};
    } else {
        return simdjson::NUMBER_ERROR;
    }
    return simdjson::SUCCESS;
}

error_code visit(ondemand::value value, int depth, Member& into);

/// Visits everything in an object; depth is the object's own.
error_code visit_object(ondemand::object object, int depth, Members* members) {
    if (depth > kMaxJsonDepth) return simdjson::DEPTH_ERROR;
    for (auto field : object) {
        std::string_view name;
        if (const auto error = field.unescaped_key().get(name)) return error;
        ondemand::value value;
        if (const auto error = field.value().get(value)) return error;
        Member ignored;
        Member* const wanted = members != nullptr ? members->named(name) : nullptr;
        if (const auto error = visit(value, depth + 1, wanted != nullptr ? *wanted : ignored)) return error;
    }
    return simdjson::SUCCESS;
}

error_code visit_array(ondemand::array array, int depth) {
    if (depth > kMaxJsonDepth) return simdjson::DEPTH_ERROR;
    for (auto element : array) {
        ondemand::value value;
        if (const auto error = element.get(value)) return error;
        Member ignored;
        if (const auto error = visit(value, depth + 1, ignored)) return error;
    }
    return simdjson::SUCCESS;
}

error_code visit(ondemand::value value, int depth, Member& into) {
    const std::string_view token = value.raw_json_token();
    switch (token.front()) {
        case '{': {
            into = {Member::Kind::other, {}};
            ondemand::object object;
            if (const auto error = value.get_object().get(object)) return error;
            return visit_object(object, depth, nullptr);
        }
        case '[': {
            into = {Member::Kind::other, {}};
            ondemand::array array;
            if (const auto error = value.get_array().get(array)) return error;
            return visit_array(array, depth);
        }
        case '"':
            into.kind = Member::Kind::string;
            return value.get_string().get(into.text);
        default:
            return read_word(token, into);
    }
}

std::optional<DeadReason> bad_video_id(std::string_view id) {
    if (id.empty()) return DeadReason{"video_id empty"};
    if (id.size() > kMaxVideoIdBytes) return DeadReason{"video_id longer than 256 bytes"};
    if (!simdjson::validate_utf8(id.data(), id.size())) return DeadReason{"video_id not UTF-8"};
    if (id.find('\0') != std::string_view::npos) return DeadReason{"video_id contains NUL"};
    return std::nullopt;
}

/// Requires is_integer(text). None if it does not fit.
std::optional<std::int64_t> to_int64(std::string_view text) {
    std::int64_t value = 0;
    const auto result = std::from_chars(text.data(), text.data() + text.size(), value);
    if (result.ec != std::errc{}) return std::nullopt;
    return value;
}

tl::expected<std::string_view, DeadReason> read_video_id(const Member& member) {
    if (member.kind == Member::Kind::absent) return dead("video_id missing");
    if (member.kind == Member::Kind::ascii && !member.text.empty() && member.text.size() <= kMaxVideoIdBytes) return member.text;
    if (member.kind != Member::Kind::string && member.kind != Member::Kind::ascii) return dead("video_id not a string");
    if (auto reason = bad_video_id(member.text)) return tl::unexpected<DeadReason>(std::move(*reason));
    return member.text;
}

tl::expected<Millis, DeadReason> read_time(const Member& member, const std::optional<Millis>& record_timestamp) {
    std::optional<Millis> time;
    if (member.kind == Member::Kind::absent) {
        if (!record_timestamp) return dead("ts missing: and the record has no timestamp");
        time = record_timestamp;
    } else if (member.kind == Member::Kind::number && is_integer(member.text)) {
        const auto millis = to_int64(member.text);
        if (!millis) return dead("ts out of range");
        time = Millis{*millis};
    } else if (member.kind == Member::Kind::string || member.kind == Member::Kind::ascii) {
        time = parse_rfc3339(member.text);
    }
    if (!time) return dead("ts not an integer or RFC 3339 string");
    if (!in_timestamp_range(*time)) return dead("ts out of range");
    return *time;
}

tl::expected<std::int64_t, DeadReason> read_views(const Member& member) {
    if (member.kind == Member::Kind::absent) return 1;
    if (member.kind != Member::Kind::number || !is_integer(member.text)) return dead("views not an integer");
    const auto views = to_int64(member.text);
    if (!views || *views < 1 || *views > kMaxViewsPerEvent) return dead("views out of range");
    return *views;
}

tl::expected<Event, DeadReason> event_of(const Members& members, const Record& record) {
    const auto video_id = read_video_id(members.video_id);
    if (!video_id) return tl::unexpected<DeadReason>(video_id.error());
    const auto time = read_time(members.ts, record.timestamp);
    if (!time) return tl::unexpected<DeadReason>(time.error());
    const auto views = read_views(members.views);
    if (!views) return tl::unexpected<DeadReason>(views.error());
    return Event{*video_id, *time, *views};
}

/// An empty value: the key names the video, and only the record knows the time.
tl::expected<Event, DeadReason> decode_key(const Record& record) {
    if (!record.key) return dead("empty value without key");
    if (auto reason = bad_video_id(*record.key)) return tl::unexpected<DeadReason>(std::move(*reason));
    const auto time = read_time({}, record.timestamp);
    if (!time) return tl::unexpected<DeadReason>(time.error());
    return Event{*record.key, *time, 1};
}

}  // namespace

class Decoder::Json {
  public:
    /// Reads the members of the one object that the text must be. Their texts are valid until the next call.
    tl::expected<Members, DeadReason> read(std::string_view text) {
        // The parser's later versions skip a byte order mark; what is accepted must not depend on the version.
        if (text.starts_with("\xEF\xBB\xBF")) return dead("not JSON: byte order mark");
        fill(text);
        ondemand::document document;
        error_code error = parser_.iterate(buffer_.data(), text.size(), buffer_.size()).get(document);
        if (error == simdjson::MEMALLOC) throw std::bad_alloc();
        bool is_object = false;
        Members members;
        if (error == simdjson::SUCCESS) error = read_root(document, text, is_object, members);
        if (error != simdjson::SUCCESS) return tl::unexpected<DeadReason>(not_json(error));
        if (!is_object) return dead("not an object");
        return members;
    }

  private:
    /// Copies the text before the padding that the parser may read.
    void fill(std::string_view text) {
        const std::size_t needed = text.size() + simdjson::SIMDJSON_PADDING;
        const bool outsize = buffer_.size() > kRetainedBytes && needed <= kRetainedBytes;
        if (outsize || needed > buffer_.size()) {
            buffer_ = std::vector<char>(std::max(kSmallestBuffer, needed + needed / 2));
            parser_ = ondemand::parser{};
            if (parser_.allocate(buffer_.size()) != simdjson::SUCCESS) throw std::bad_alloc();
        }
        std::memcpy(buffer_.data(), text.data(), text.size());
        std::memset(buffer_.data() + text.size(), 0, simdjson::SIMDJSON_PADDING);
    }

    static error_code read_root(ondemand::document& document, std::string_view text, bool& is_object, Members& members) {
        const std::string_view trimmed = trim(text);
        error_code error = simdjson::SUCCESS;
        if (trimmed.starts_with('{')) {
            is_object = true;
            ondemand::object object;
            error = document.get_object().get(object);
            if (error == simdjson::SUCCESS) error = visit_object(object, 1, &members);
        } else if (trimmed.starts_with('[')) {
            ondemand::array array;
            error = document.get_array().get(array);
            if (error == simdjson::SUCCESS) error = visit_array(array, 1);
        } else if (trimmed.starts_with('"')) {
            error = document.get_string().error();
        } else {
            Member ignored;
            return read_word(trimmed, ignored);
        }
        if (error != simdjson::SUCCESS) return error;
        return document.current_location().error() == simdjson::OUT_OF_BOUNDS ? simdjson::SUCCESS : simdjson::TRAILING_CONTENT;
    }

    ondemand::parser parser_;
    std::vector<char> buffer_;
};

Decoder::Decoder() : json_(std::make_unique<Json>()) {}
Decoder::~Decoder() = default;
Decoder::Decoder(Decoder&&) noexcept = default;
Decoder& Decoder::operator=(Decoder&&) noexcept = default;

tl::expected<Event, DeadReason> Decoder::decode(const Record& record) {
    if (!record.value) return dead("null value");
    if (record.value->empty()) return decode_key(record);
    if (const auto plain = read_plain_object(*record.value)) return event_of(*plain, record);
    auto members = json_->read(*record.value);
    if (!members) return tl::unexpected<DeadReason>(std::move(members.error()));
    return event_of(*members, record);
}

}  // namespace topkd
