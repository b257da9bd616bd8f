#include "http_refusal.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <strings.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <ctime>

namespace topkd {
namespace {

constexpr std::size_t kThrownAway = 256 * 1024;

struct Refusal {
    int status;
    const char* title;
    const char* detail;
};

constexpr std::array kRefusals{
    Refusal{400, "Bad Request", "this is no request of HTTP 1.1, or one that can be read in two ways"},
    Refusal{413, "Content Too Large", "the request's body is too large; requests here need none"},
    Refusal{414, "URI Too Long", "the request's line is too long"},
    Refusal{431, "Request Header Fields Too Large", "the request's line and headers are too large"},
    Refusal{503, "Service Unavailable", "there are too many connections"},
    Refusal{505, "HTTP Version Not Supported", "only HTTP 1.1 and 1.0 are answered"},
    Refusal{500, "Internal Server Error", "the request cannot be read"},
};

const Refusal& refusal_of(int status) {
    const auto* found = std::find_if(kRefusals.begin(), kRefusals.end() - 1, [status](const Refusal& one) { return one.status == status; });
    return *found;
}

}  // namespace

HttpResponse refusal(int status) {
    const Refusal& one = refusal_of(status);
    HttpResponse response{.status = one.status,
                          .headers = {{"Content-Type", "application/problem+json"}, {"Cache-Control", "no-store"}, {"Connection", "close"}},
                          .body = http_body(fmt::format(R"({{"type":"about:blank","title":"{}","status":{},"detail":"{}"}})", one.title,
                                                        one.status, one.detail)),
                          .route = "other"};
    if (status == 503) {
        response.headers.emplace_back("Retry-After", "1");
    }
    return response;
}

void refuse_at_once(int socket, int status) {
    const HttpResponse response = refusal(status);
    std::string text = fmt::format("HTTP/1.1 {} {}\r\nDate: {:%a, %d %b %Y %H:%M:%S} GMT\r\nContent-Length: {}\r\n", response.status,
                                   refusal_of(status).title, fmt::gmtime(std::time(nullptr)), response.body->size());
    for (const auto& [name, value] : response.headers) {
        fmt::format_to(std::back_inserter(text), "{}: {}\r\n", name, value);
    }
    text += "\r\n" + *response.body;
    ::send(socket, text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    ::shutdown(socket, SHUT_WR);
    // Closed with unread bytes, the kernel resets the connection, and some clients' kernels then take the answer back. Not after SHUT_RD:
    // reading would open no window, and a client that waits for one would hear of the end only when it times out.
    std::array<char, 16'384> unread{};
    ssize_t size = 1;
    for (std::size_t thrown = 0; size > 0 && thrown < kThrownAway; thrown += static_cast<std::size_t>(size)) {
        size = ::recv(socket, unread.data(), unread.size(), MSG_DONTWAIT);
    }
    ::shutdown(socket, SHUT_RD);  // an event, from which the library learns of the end
}

std::uint64_t announced_body(MHD_Connection* connection) {
    const char* text = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Content-Length");
    std::uint64_t size = 0;
    if (text != nullptr) {
        const auto [end, error] = std::from_chars(text, text + std::strlen(text), size);
        if (error == std::errc::result_out_of_range) {
            size = UINT64_MAX;
        }
    }
    return size;
}

bool is_ambiguous(MHD_Connection* connection, const char* version) {
    struct Seen {
        unsigned hosts = 0;
        unsigned lengths = 0;
        unsigned codings = 0;
        bool is_plain = true;
    } seen;
    MHD_get_connection_values(
        connection, MHD_HEADER_KIND,
        [](void* to, MHD_ValueKind, const char* name, const char* value) {
            auto& found = *static_cast<Seen*>(to);
            if (::strcasecmp(name, "Host") == 0) {
                ++found.hosts;
            } else if (::strcasecmp(name, "Content-Length") == 0) {
                ++found.lengths;
                found.is_plain = found.is_plain && value != nullptr && std::strspn(value, "0123456789") == std::strlen(value);
            } else if (::strcasecmp(name, "Transfer-Encoding") == 0) {
                ++found.codings;
                found.is_plain = found.is_plain && value != nullptr && ::strcasecmp(value, "chunked") == 0;
            }
            return MHD_YES;
        },
        &seen);
    const bool is_1_0 = std::strcmp(version, "HTTP/1.0") == 0;
    return seen.hosts > 1 || (seen.hosts == 0 && !is_1_0) || seen.lengths + seen.codings > 1 || !seen.is_plain;
}

}  // namespace topkd
