// A list on its way to clients: the first k of it as JSON, its entity tag and headers, made once for each k and gzipped once, however
// many ask. Immutable to the outside; any thread.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "http_message.h"
#include "serve/top_list.h"

namespace topkd {

/// The first k of a list, ready to be sent.
class Cut {
  public:
    Cut(const TopList& list, int k, bool is_of_past);

    const HttpBody& body() const { return body_; }
    const std::string& tag() const { return tag_; }  ///< the entity tag without quotes
    const HttpFields& fields() const { return fields_; }

    /// The body gzipped, or null where that is not worth it.
    HttpBody gzipped() const;

  private:
    HttpBody body_;
    std::string tag_;
    HttpFields fields_;
    mutable std::mutex mutex_;
    mutable HttpBody gzipped_;
};

class Answer {
  public:
    /// `is_of_past`: asked for with `at`, so that the window stays the same and, once sealed, may be cached for long.
    Answer(TopList list, bool is_of_past) : list_(std::move(list)), is_of_past_(is_of_past) {}

    const TopList& list() const { return list_; }

    /// Requires list().has(k).
    std::shared_ptr<const Cut> cut(int k) const;

    /// What it takes in memory at most, with all cuts that are kept. Never changes.
    std::size_t bytes() const;

  private:
    const TopList list_;
    const bool is_of_past_;
    mutable std::mutex mutex_;
    mutable std::vector<std::pair<int, std::shared_ptr<const Cut>>> cuts_;
};

/// 200 or 304, as the request's If-None-Match and Accept-Encoding want it. Requires answer.list().has(k).
HttpResponse list_response(const Answer& answer, int k, const HttpRequest& request, const char* route);

/// The data of a stream's event, in one line: the window, its bounds, watermark, and the first k.
std::string stream_json(const Answer& answer, int k, std::string_view window);

/// "2026-11-26T10:19:27.123Z"; requires a year from 1 to 9999. And without the milliseconds where there are none.
std::string rfc3339(Millis instant);
std::string rfc3339_with_milliseconds(Millis instant);

/// Null if zlib refuses, for want of memory.
HttpBody gzip(const std::string& text);

}  // namespace topkd
