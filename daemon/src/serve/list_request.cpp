#include "serve/list_request.h"

#include <fmt/format.h>

#include <charconv>

#include "event_time.h"

namespace topkd {
namespace {

// The registry's limit for names, and more than any interval that makes sense. What is longer is not carried around.
constexpr std::size_t kLongestCounter = 40;
constexpr std::size_t kLongestWindow = 64;

Problem bad(std::string detail) {
    return {.status = 400, .detail = std::move(detail), .hint = {}, .sqlstate = {}};
}

using Parameter = tl::expected<std::optional<std::string>, Problem>;

Parameter find(const HttpRequest& request, std::string_view name) {
    std::optional<std::string> found;
    for (const auto& [key, value] : request.query) {
        if (key == name) {
            if (found) {
                return tl::unexpected(bad(fmt::format("parameter {} is given twice", name)));
            }
            found = value;
        }
    }
    return found;
}

std::optional<int> read_k(const std::string& text) {
    int k = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), k);
    const bool whole = error == std::errc{} && end == text.data() + text.size();
    return whole && k >= 1 && k <= kMaxK ? std::optional(k) : std::nullopt;
}

}  // namespace

std::optional<Millis> read_at(std::string text) {
    // …T12:00:00 02:00: the only place where a zone's sign can have been
    if (text.size() > 6 && text[text.size() - 6] == ' ') {
        text[text.size() - 6] = '+';
    }
    return parse_rfc3339(text);
}

tl::expected<ListRequest, Problem> read_list_request(const HttpRequest& request, const std::string& default_counter) {
    if (request.malformed_query) {
        return tl::unexpected(bad("the query is not percent-encoded UTF-8"));
    }
    ListRequest list;
    const Parameter window = find(request, "window");
    const Parameter k = find(request, "k");
    const Parameter at = find(request, "at");
    const Parameter counter = find(request, "counter");
    for (const Parameter* parameter : {&window, &k, &at, &counter}) {
        if (!*parameter) {
            return tl::unexpected(parameter->error());
        }
    }
    if (!*window) {
        return tl::unexpected(bad("parameter window is missing: hour, day, month, all_time, or whole hours such as '24 hours'"));
    }
    if ((*window)->empty() || (*window)->size() > kLongestWindow) {
        return tl::unexpected(bad("parameter window must be hour, day, month, all_time, or whole hours such as '24 hours'"));
    }
    list.key.window = **window;
    if (*k) {
        const auto number = read_k(**k);
        if (!number) {
            return tl::unexpected(bad(fmt::format("parameter k must be a whole number from 1 to {}", kMaxK)));
        }
        list.k = *number;
    }
    if (*at) {
        list.key.at = read_at(**at);
        if (!list.key.at) {
            return tl::unexpected(bad("parameter at must be a time as in RFC 3339, such as 2026-11-22T18:00:00Z"));
        }
    }
    list.key.counter = counter->value_or(default_counter);
    if (list.key.counter.empty() || list.key.counter.size() > kLongestCounter) {
        return tl::unexpected(bad(fmt::format("parameter counter must have 1 to {} bytes", kLongestCounter)));
    }
    return list;
}

}  // namespace topkd
