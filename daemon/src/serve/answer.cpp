#include "serve/answer.h"

#include <fmt/format.h>
#include <zlib.h>

#include <algorithm>

#include "keyed_hash.h"
#include "pg_literal.h"
#include "serve/conditional.h"
#include "serve/json_text.h"

namespace topkd {
namespace {

constexpr std::size_t kWorthCompressing = 512;
constexpr int kGzipLevel = 5;
constexpr int kGzipWindow = 15 + 16;  // zlib's way to ask for gzip's format
// Clients ask for few different k. Who asks for all of them makes each anew.
constexpr std::size_t kCutsKept = 4;

// Not secret: every topkd serve of a counter gives the same tag to the same list.
constexpr std::uint64_t kTagKey = 0x746f706b2d746167;

void append_views(std::string& to, const TopList& list, int k) {
    to += '[';
    const std::size_t count = std::min(list.entries.size(), static_cast<std::size_t>(k));
    for (std::size_t i = 0; i < count; ++i) {
        to += i == 0 ? "{\"videoId\":" : ",{\"videoId\":";
        append_json_string(to, list.entries[i].video_id);
        fmt::format_to(std::back_inserter(to), ",\"views\":{}}}", list.entries[i].views);
    }
    to += ']';
}

/// Of a sealed window the tag tells which list it is; of an open one, what is in it.
std::string tag_of(const TopList& list, int k, const std::string& body) {
    if (list.sealed && list.window_start && list.window_end) {
        return fmt::format("{:x}-{}-{}-r{}-k{}", list.counter_made, raw(*list.window_start) / 1000, raw(*list.window_end) / 1000,
                           list.revision, k);
    }
    return fmt::format("{:016x}", SipHash<2, 4>(kTagKey, ~kTagKey).finish(body, body.size()));
}

/// RFC 3339 has the years 0 to 9999, and the literal that it is made of writes those before 1 as BC.
bool has_rfc3339(const std::optional<Millis>& instant) {
    constexpr std::int64_t kYear1 = -62'135'596'800'000;
    constexpr std::int64_t kYear10000 = 253'402'300'800'000;
    return instant && raw(*instant) >= kYear1 && raw(*instant) < kYear10000;
}

HttpFields fields_of(const TopList& list, bool is_of_past) {
    HttpFields fields{{"Content-Type", "application/json"},
                      {"Cache-Control", list.sealed && is_of_past ? "public, max-age=3600" : "public, max-age=0, must-revalidate"},
                      {"Vary", "Accept-Encoding"},
                      {"X-Content-Type-Options", "nosniff"},
                      {"X-Topk-Sealed", list.sealed ? "true" : "false"}};
    if (has_rfc3339(list.watermark)) {
        fields.emplace_back("X-Topk-Watermark", rfc3339_with_milliseconds(*list.watermark));
    }
    if (has_rfc3339(list.window_start)) {
        fields.emplace_back("X-Topk-Window-Start", rfc3339(*list.window_start));
    }
    if (has_rfc3339(list.window_end)) {
        fields.emplace_back("X-Topk-Window-End", rfc3339(*list.window_end));
    }
    if (list.sealed) {
        fields.emplace_back("X-Topk-Revision", std::to_string(list.revision));
    }
    return fields;
}

std::string json_time(const std::optional<Millis>& instant, std::string (*format)(Millis)) {
    return has_rfc3339(instant) ? "\"" + format(*instant) + "\"" : "null";
}

}  // namespace

std::string rfc3339_with_milliseconds(Millis instant) {
    std::string text = timestamp_literal(instant);  // 2026-11-26 10:19:27.123+00
    text.resize(std::min(text.size(), text.find('+')));
    std::replace(text.begin(), text.end(), ' ', 'T');
    return text + "Z";
}

std::string rfc3339(Millis instant) {
    std::string text = rfc3339_with_milliseconds(instant);
    if (text.ends_with(".000Z")) {
        text.replace(text.size() - 5, 5, "Z");
    }
    return text;
}

HttpBody gzip(const std::string& text) {
    z_stream stream = {};
    if (deflateInit2(&stream, kGzipLevel, Z_DEFLATED, kGzipWindow, MAX_MEM_LEVEL, Z_DEFAULT_STRATEGY) != Z_OK) {
        return nullptr;
    }
    std::string compressed(deflateBound(&stream, text.size()), '\0');
    stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));  // zlib only reads it
    stream.avail_in = static_cast<uInt>(text.size());
    stream.next_out = reinterpret_cast<Bytef*>(compressed.data());
    stream.avail_out = static_cast<uInt>(compressed.size());
    const int ended = deflate(&stream, Z_FINISH);
    compressed.resize(stream.total_out);
    compressed.shrink_to_fit();
    deflateEnd(&stream);
    return ended == Z_STREAM_END ? http_body(std::move(compressed)) : nullptr;
}

Cut::Cut(const TopList& list, int k, bool is_of_past) : fields_(fields_of(list, is_of_past)) {
    std::string text;
    text.reserve(64 * std::min(list.entries.size(), static_cast<std::size_t>(k)) + 2);
    append_views(text, list, k);
    tag_ = tag_of(list, k, text);
    text.shrink_to_fit();  // the cache counts what is kept
    body_ = http_body(std::move(text));
}

HttpBody Cut::gzipped() const {
    if (body_->size() < kWorthCompressing) {
        return nullptr;
    }
    const std::lock_guard lock(mutex_);  // who waits here would else compress the same once more
    if (!gzipped_) {
        gzipped_ = gzip(*body_);
    }
    return gzipped_;
}

std::shared_ptr<const Cut> Answer::cut(int k) const {
    {
        const std::lock_guard lock(mutex_);
        for (const auto& [length, made] : cuts_) {
            if (length == k) {
                return made;
            }
        }
    }
    auto made = std::make_shared<const Cut>(list_, k, is_of_past_);
    const std::lock_guard lock(mutex_);
    if (cuts_.size() < kCutsKept) {
        cuts_.emplace_back(k, made);
    }
    return made;
}

std::size_t Answer::bytes() const {
    constexpr std::size_t kCutsFixed = 1024;  // headers, tags
    constexpr std::size_t kMembers = 44;      // {"videoId":…,"views":9223372036854775807},
    std::size_t bytes = sizeof(Answer) + kCutsKept * kCutsFixed;
    for (const TopListEntry& entry : list_.entries) {
        // In each cut, plain and gzipped, the buffer of which is as long
        bytes += sizeof(entry) + entry.video_id.size() + 2 * kCutsKept * (kMembers + json_string_size(entry.video_id));
    }
    return bytes;
}

HttpResponse list_response(const Answer& answer, int k, const HttpRequest& request, const char* route) {
    const std::shared_ptr<const Cut> cut = answer.cut(k);
    const auto encoding = request.header("Accept-Encoding");
    const HttpBody compressed = encoding && prefers_gzip(*encoding) ? cut->gzipped() : nullptr;
    const std::string etag = fmt::format("\"{}{}\"", cut->tag(), compressed ? "-gzip" : "");
    HttpResponse response{.status = 200, .headers = cut->fields(), .body = compressed ? compressed : cut->body(), .route = route};
    response.headers.emplace_back("ETag", etag);
    if (const auto condition = request.header("If-None-Match"); condition && names_etag(*condition, etag)) {
        response.status = 304;  // the body is not sent; its length is told
    } else if (compressed) {
        response.headers.emplace_back("Content-Encoding", "gzip");
    }
    return response;
}

std::string stream_json(const Answer& answer, int k, std::string_view window) {
    const TopList& list = answer.list();
    std::string text = "{\"window\":";
    append_json_string(text, window);
    fmt::format_to(std::back_inserter(text), R"(,"windowStart":{},"windowEnd":{},"watermark":{},"sealed":{},"views":)",
                   json_time(list.window_start, rfc3339), json_time(list.window_end, rfc3339),
                   json_time(list.watermark, rfc3339_with_milliseconds), list.sealed);
    append_views(text, list, k);
    return text + "}";
}

}  // namespace topkd
