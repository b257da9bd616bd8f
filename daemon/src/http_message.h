// What an HTTP handler sees and says, without a server behind it: tests drive handlers with requests of their own and collect the
// replies. Nothing here knows the library; http_server.h serves these over sockets.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace topkd {

/// Immutable, so that one body is sent to many clients at once without a copy.
using HttpBody = std::shared_ptr<const std::string>;
using HttpFields = std::vector<std::pair<std::string, std::string>>;

HttpBody http_body(std::string text);

/// Valid during the call of the handler only, if it comes from a server: copy what is needed later.
struct HttpRequest {
    std::string method;            ///< as sent; methods are case-sensitive
    std::string path;              ///< decoded, without the query; starts with '/'
    HttpFields query;              ///< decoded, in order, '+' read as a space; a name may come twice
    bool malformed_query = false;  ///< path or query: a bad percent-encoding, a NUL, or not UTF-8
    HttpFields headers;            ///< in order, names as sent

    /// The header's value, of several lines joined by ", "; the name in any case.
    std::optional<std::string> header(std::string_view name) const;
};

struct HttpResponse {
    int status = 200;
    HttpFields headers;
    HttpBody body;                ///< null: empty
    const char* route = "other";  ///< the observer's label, a string literal from a fixed set
};

/// An answer without an end, sent chunk by chunk. Any thread.
class HttpStream {
  public:
    virtual ~HttpStream() = default;

    /// Queues a chunk, which replaces one not yet begun to be sent: a slow client gets the newest. False when the client is gone.
    virtual bool send(HttpBody chunk) = 0;

    /// The same, but does nothing if another chunk still waits or is being sent: for a sign of life.
    virtual bool beat(HttpBody chunk) = 0;

    /// Ends the answer after what is queued. Dropping the last reference does the same.
    virtual void end() = 0;
};

/// The server's side of one request.
class HttpExchange {
  public:
    virtual ~HttpExchange() = default;
    virtual void send(HttpResponse response) = 0;
    virtual std::shared_ptr<HttpStream> stream(HttpResponse head) = 0;
};

/// The promise to answer one request: send or stream, once, now or later, from any thread. Never to answer is an error of the
/// handler; when the last copy goes without an answer, the client gets 500.
class HttpReply {
  public:
    explicit HttpReply(std::shared_ptr<HttpExchange> exchange) : exchange_(std::move(exchange)) {}

    void send(HttpResponse response) const { exchange_->send(std::move(response)); }

    /// Sends status and headers, then what the stream is given. The head's body is ignored. Null if the client is gone already.
    std::shared_ptr<HttpStream> stream(HttpResponse head) const { return exchange_->stream(std::move(head)); }

  private:
    std::shared_ptr<HttpExchange> exchange_;
};

/// Called on one of the server's threads, several at once; must not wait. Does not throw.
using HttpHandler = std::function<void(const HttpRequest&, HttpReply)>;

/// Told what the server does. Any thread, several at once; must be cheap.
class HttpObserver {
  public:
    virtual ~HttpObserver() = default;

    /// An answer was sent to its end, or its client is gone. Streams: when they end.
    virtual void request_done(const char* route, int status, std::chrono::nanoseconds took) = 0;
    virtual void open_connections(std::int64_t count) = 0;
    virtual void open_streams(std::int64_t count) = 0;
};

}  // namespace topkd
