// An HTTP/1.1 server: an epoll loop on each of a few threads, answers that may come later from any thread, limits for everything a
// client can make large or slow, an orderly stop. The only wrapper of libmicrohttpd.
#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <string>
#include <tl/expected.hpp>
#include <vector>

#include "http_message.h"

namespace topkd {

struct HttpServerConfig {
    std::vector<std::string> listen{};  ///< host:port, [::1]:port, unix:/path; port 0 is any free one
    unsigned threads = 2;               ///< for each address
    unsigned max_connections = 20'000;
    unsigned other_files = 0;  ///< open files that the program needs beside the server, such as connections to a database
    std::chrono::milliseconds request_timeout{10'000};  ///< for a request's line and headers, from its first byte to its last
    std::chrono::milliseconds idle_timeout{60'000};     ///< without a byte from or to the client, between requests or amid an answer
    std::size_t max_header_bytes = 16'384;              ///< request line and headers together; beyond it 431 or 414
    std::size_t max_body_bytes = 65'536;                ///< read and thrown away up to here; beyond it 413
};

class HttpServer {
  public:
    /// Binds every address and begins to serve. Fails with a message for the operator: an address that is not one, or in use, or
    /// fewer file descriptors than max_connections needs (the limit is raised as far as the system lets it). The observer may be null;
    /// handler's captures and observer outlive the server.
    static tl::expected<std::unique_ptr<HttpServer>, std::string> start(HttpServerConfig config, HttpHandler handler,
                                                                        HttpObserver* observer);

    ~HttpServer();  ///< stop, without grace
    HttpServer(const HttpServer&) = delete;
    HttpServer& operator=(const HttpServer&) = delete;

    /// Accepts no more connections, ends the streams, lets answers under way go out for at most `grace`, then closes what is left.
    /// Replies are ignored afterwards. Once.
    void stop(std::chrono::milliseconds grace);

    /// Where it listens, in the notation of `listen`, with the ports that were found.
    std::vector<std::string> addresses() const;

  private:
    class Impl;
    explicit HttpServer(std::unique_ptr<Impl> impl);

    std::unique_ptr<Impl> impl_;
};

/// The connections that the system's limit of open files leaves room for beside `other_files` of the program, at most `wanted`.
unsigned most_connections(unsigned wanted, unsigned other_files);

/// What --listen says, for a check before the start: none, or why it is no address.
tl::expected<void, std::string> check_listen_address(const std::string& text);

}  // namespace topkd
