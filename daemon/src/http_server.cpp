#include "http_server.h"

#include <dlfcn.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <spdlog/spdlog.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <condition_variable>
#include <cstdio>
#include <cstring>
#include <mutex>
#include <thread>

#include "http_exchange.h"
#include "http_listen.h"
#include "http_refusal.h"
#include "http_target.h"
#include "http_watch.h"

// In place of libc's, for the library: MHD_epoll (0.9.75, and still 1.0.1) asks for 128 events, and when it gets as many it waits for more,
// as long as its time-out says, before it looks at any. A burst of so many requests on one of its threads would lie there unread. So it
// never gets all it asks for.
extern "C" int epoll_wait(int poll, epoll_event* events, int room, int timeout) {
    return static_cast<int>(::syscall(SYS_epoll_pwait, poll, events, std::max(room - 1, 1), timeout, nullptr, 0));
}

namespace topkd {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;
using Phase = ConnectionWatch::Phase;

constexpr std::size_t kOtherFiles = 256;  // listening sockets, epoll, logs
constexpr int kStreamBuffer = 64 * 1024;  // what the kernel keeps for a client that does not read

/// A request from its first line to the end of its answer; the library keeps the pointer.
struct Request {
    steady_clock::time_point begun = steady_clock::now();
    std::string target;
    std::size_t body_bytes = 0;
    bool has_headers = false;
    bool is_handled = false;
    std::shared_ptr<ServerExchange> exchange;
    const char* route = "other";
    int status = 0;  ///< 0: no answer yet
};

/// A client from its acceptance to its end; the library keeps the pointer.
struct Connection {
    HttpObserver* observer;
    ConnectionWatch::Entry* entry;  ///< null: refused, being one too many
    Request* request = nullptr;     ///< the one under way
};

void log_library(void*, const char* format, va_list arguments) {
    std::array<char, 512> line{};
    const int size = std::vsnprintf(line.data(), line.size(), format, arguments);
    if (size > 0) {  // what clients do wrong, mostly
        spdlog::debug("http: {}", std::string_view(line.data(), std::strcspn(line.data(), "\n")));
    }
}

/// The library would decode the path and read the query: parse_target does, from what the client sent.
std::size_t leave_encoded(void*, MHD_Connection*, char* text) {
    return std::strlen(text);
}

MHD_Result collect(void* fields, MHD_ValueKind, const char* name, const char* value) {
    static_cast<HttpFields*>(fields)->emplace_back(name, value == nullptr ? "" : value);
    return MHD_YES;
}

void set_option(int socket, int level, int name, int value) {
    ::setsockopt(socket, level, name, &value, sizeof(value));  // not a TCP socket: nothing to set
}

int socket_of(MHD_Connection* connection) {
    return MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
}

Connection& connection_of(MHD_Connection* connection) {
    return *static_cast<Connection*>(MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context);
}

ConnectionWatch::Entry* entry_of(MHD_Connection* connection) {
    return connection_of(connection).entry;
}

/// For good: nothing more is read of this client. Counted, of a request with its end.
void refuse(MHD_Connection* connection, int status) {
    const Connection& client = connection_of(connection);
    refuse_at_once(socket_of(connection), status);
    if (client.request != nullptr) {
        client.request->status = status;
    } else if (client.observer != nullptr) {
        client.observer->request_done("other", status, std::chrono::nanoseconds(0));
    }
}

/// The library's own function of that name.
MHD_Result queue_response(MHD_Connection* connection, int status, MHD_Response* response) {
    static const auto queue = reinterpret_cast<decltype(&MHD_queue_response)>(::dlsym(RTLD_NEXT, "MHD_queue_response"));
    return queue(connection, static_cast<unsigned>(status), response);
}

MHD_Response* fixed_response(const HttpBody& body) {
    if (!body || body->empty()) {
        return MHD_create_response_from_buffer(0, nullptr, MHD_RESPMEM_PERSISTENT);
    }
    // The library does not write to the buffer.
    return MHD_create_response_from_buffer_with_free_callback_cls(
        body->size(), const_cast<char*>(body->data()), [](void* held) { delete static_cast<HttpBody*>(held); }, new HttpBody(body));
}

MHD_Response* endless_response(const std::shared_ptr<ServerStream>& stream) {
    using Held = std::shared_ptr<ServerStream>;
    constexpr std::size_t kBlock = 16'384;
    return MHD_create_response_from_callback(
        MHD_SIZE_UNKNOWN, kBlock,
        [](void* held, std::uint64_t, char* to, std::size_t room) { return (*static_cast<Held*>(held))->read(to, room); }, new Held(stream),
        [](void* held) { delete static_cast<Held*>(held); });
}

}  // namespace
}  // namespace topkd

// In place of the library's: what it has to say by itself (414, 431, 400, 413, 505) is a page of HTML that nobody counts, for a bad
// Content-Length with the header sent twice (0.9.75), and it closes the connection. Refused here, it closes the connection likewise. Where
// the library was linked so that it calls its own (-Bsymbolic), it does as it did.
extern "C" MHD_Result MHD_queue_response(MHD_Connection* connection, unsigned status, MHD_Response*) {
    topkd::refuse(connection, static_cast<int>(status));
    return MHD_NO;
}

namespace topkd {

class HttpServer::Impl {
  public:
    Impl(HttpServerConfig config, HttpHandler handler, HttpObserver* observer)
        : config_(std::move(config)),
          handler_(std::move(handler)),
          observer_(observer),
          watch_({.reading = config_.request_timeout, .sending = config_.idle_timeout}) {}

    tl::expected<void, std::string> open();
    void stop(milliseconds grace);
    std::vector<std::string> addresses() const;

  private:
    MHD_Daemon* start_daemon(int socket);

    static void on_connection(void* self, MHD_Connection* connection, void** context, MHD_ConnectionNotificationCode code);
    static void* on_request_line(void* self, const char* target, MHD_Connection* connection);
    static MHD_Result on_request(void* self, MHD_Connection* connection, const char* url, const char* method, const char* version,
                                 const char* body, std::size_t* body_size, void** context);
    static void on_completed(void* self, MHD_Connection* connection, void** context, MHD_RequestTerminationCode code);

    MHD_Result begin(MHD_Connection* connection, Request& request, const char* version);
    void handle(MHD_Connection* connection, Request& request, const char* url, const char* method, const char* version);
    MHD_Result continue_answer(MHD_Connection* connection, Request& request);
    MHD_Result queue(MHD_Connection* connection, Request& request, const HttpResponse& response,
                     const std::shared_ptr<ServerStream>& stream);

    const HttpServerConfig config_;
    const HttpHandler handler_;
    HttpObserver* const observer_;
    PendingExchanges pending_;
    ConnectionWatch watch_;
    std::vector<ListenSocket> sockets_;
    std::vector<std::string> addresses_;
    std::vector<MHD_Daemon*> daemons_;
    std::atomic<std::int64_t> under_way_ = 0;
    std::atomic<bool> stopping_ = false;
    std::mutex done_mutex_;
    std::condition_variable done_;
};

tl::expected<void, std::string> HttpServer::Impl::open() {
    if (auto allowed = allow_open_files(config_.max_connections + config_.other_files + kOtherFiles); !allowed) {
        return allowed;
    }
    for (const std::string& text : config_.listen) {
        auto sockets = listen_on(text);
        if (!sockets) {
            return tl::unexpected(std::move(sockets.error()));
        }
        std::move(sockets->begin(), sockets->end(), std::back_inserter(sockets_));
    }
    for (const ListenSocket& socket : sockets_) {
        MHD_Daemon* daemon = start_daemon(socket.descriptor());
        if (daemon == nullptr) {
            return tl::unexpected("cannot start the HTTP server on " + socket.name());
        }
        daemons_.push_back(daemon);
        addresses_.push_back(socket.name());
    }
    return {};
}

MHD_Daemon* HttpServer::Impl::start_daemon(int socket) {
    const unsigned threads = std::max(config_.threads, 1u);
    // The library divides the limit among its threads, and connections do not fall evenly: on_connection counts all of them.
    const unsigned limit = 2 * config_.max_connections + threads;
    const auto idle =
        static_cast<unsigned>(std::max<std::int64_t>(std::chrono::ceil<std::chrono::seconds>(config_.idle_timeout).count(), 1));
    std::vector<MHD_OptionItem> options;
    if (threads > 1) {
        options.push_back({MHD_OPTION_THREAD_POOL_SIZE, static_cast<std::intptr_t>(threads), nullptr});
    }
    options.push_back({MHD_OPTION_CONNECTION_LIMIT, static_cast<std::intptr_t>(limit), nullptr});
    options.push_back({MHD_OPTION_END, 0, nullptr});
    return MHD_start_daemon(MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG, 0, nullptr, nullptr,
                            &Impl::on_request, this,                            //
                            MHD_OPTION_EXTERNAL_LOGGER, &log_library, nullptr,  // first: it may log
                            MHD_OPTION_LISTEN_SOCKET, socket,                   //
                            MHD_OPTION_CONNECTION_TIMEOUT, idle,                //
                            MHD_OPTION_CONNECTION_MEMORY_LIMIT,
                            config_.max_header_bytes + config_.max_header_bytes / 4,    // and what it makes of them
                            MHD_OPTION_STRICT_FOR_CLIENT, 0,                            // more would refuse with garbage: see is_ambiguous
                            MHD_OPTION_UNESCAPE_CALLBACK, &leave_encoded, nullptr,      //
                            MHD_OPTION_URI_LOG_CALLBACK, &Impl::on_request_line, this,  //
                            MHD_OPTION_NOTIFY_CONNECTION, &Impl::on_connection, this,   //
                            MHD_OPTION_NOTIFY_COMPLETED, &Impl::on_completed, this,     //
                            MHD_OPTION_ARRAY, options.data(), MHD_OPTION_END);
}

std::vector<std::string> HttpServer::Impl::addresses() const {
    return addresses_;
}

void HttpServer::Impl::stop(milliseconds grace) {
    if (stopping_.exchange(true)) {
        return;
    }
    for (MHD_Daemon* daemon : daemons_) {
        MHD_quiesce_daemon(daemon);
    }
    for (ListenSocket& socket : sockets_) {
        socket.refuse_more();
    }
    pending_.end_streams();
    {
        std::unique_lock lock(done_mutex_);
        done_.wait_for(lock, grace, [this] { return under_way_ == 0; });
    }
    pending_.end_all();  // the library must not be stopped while a connection is suspended
    for (MHD_Daemon* daemon : daemons_) {
        MHD_stop_daemon(daemon);
    }
    daemons_.clear();
    sockets_.clear();
}

void HttpServer::Impl::on_connection(void* self, MHD_Connection* connection, void** context, MHD_ConnectionNotificationCode code) {
    auto& server = *static_cast<Impl*>(self);
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        const int socket = socket_of(connection);
        // A peer that vanished is noticed as soon as one that is silent
        set_option(socket, IPPROTO_TCP, TCP_USER_TIMEOUT, static_cast<int>(server.config_.idle_timeout.count()));
        const bool is_refused = server.watch_.size() >= server.config_.max_connections;
        auto client = std::make_unique<Connection>(server.observer_, is_refused ? nullptr : server.watch_.add(socket));
        *context = client.release();
        if (is_refused) {
            refuse(connection, MHD_HTTP_SERVICE_UNAVAILABLE);
        }
    } else {
        const std::unique_ptr<Connection> client(static_cast<Connection*>(*context));
        *context = nullptr;
        if (client->entry != nullptr) {
            server.watch_.remove(client->entry);
        }
    }
    if (server.observer_ != nullptr) {
        server.observer_->open_connections(static_cast<std::int64_t>(server.watch_.size()));
    }
}

void* HttpServer::Impl::on_request_line(void* self, const char* target, MHD_Connection* connection) {
    auto& server = *static_cast<Impl*>(self);
    Connection& client = connection_of(connection);
    if (client.entry == nullptr) {
        return nullptr;
    }
    server.under_way_.fetch_add(1);
    auto request = std::make_unique<Request>();
    request->target = target == nullptr ? "" : target;
    client.request = request.get();
    return request.release();
}

void HttpServer::Impl::on_completed(void* self, MHD_Connection* connection, void** context, MHD_RequestTerminationCode) {
    auto& server = *static_cast<Impl*>(self);
    const std::unique_ptr<Request> request(static_cast<Request*>(*context));
    *context = nullptr;
    if (!request) {
        return;
    }
    connection_of(connection).request = nullptr;
    entry_of(connection)->enter(Phase::kReading);
    if (request->exchange) {
        const bool streamed = request->exchange->stream_of_answer() != nullptr;
        request->exchange->finish();
        if (streamed && server.observer_ != nullptr) {
            server.observer_->open_streams(static_cast<std::int64_t>(server.pending_.streams()));
        }
    }
    if (server.observer_ != nullptr && request->status != 0) {
        server.observer_->request_done(request->route, request->status, steady_clock::now() - request->begun);
    }
    if (server.under_way_.fetch_sub(1) == 1 && server.stopping_) {
        const std::lock_guard lock(server.done_mutex_);
        server.done_.notify_all();
    }
}

MHD_Result HttpServer::Impl::on_request(void* self, MHD_Connection* connection, const char* url, const char* method, const char* version,
                                        const char*, std::size_t* body_size, void** context) {
    auto& server = *static_cast<Impl*>(self);
    if (*context == nullptr) {
        return MHD_NO;
    }
    auto& request = *static_cast<Request*>(*context);
    if (!request.has_headers) {
        request.has_headers = true;
        if (const MHD_Result refused = server.begin(connection, request, version); request.status != 0 || refused == MHD_NO) {
            return refused;
        }
        // Who sends anything but GET and HEAD is told before the body; an answer to these two now would cost the connection.
        if (std::strcmp(method, "GET") == 0 || std::strcmp(method, "HEAD") == 0) {
            return MHD_YES;
        }
    } else if (*body_size > 0) {
        request.body_bytes += *body_size;
        *body_size = 0;
        if (request.body_bytes > server.config_.max_body_bytes) {
            refuse(connection, MHD_HTTP_CONTENT_TOO_LARGE);  // the library takes no answer amid a body
            return MHD_NO;
        }
        return MHD_YES;
    }
    if (!request.is_handled) {
        request.is_handled = true;
        server.handle(connection, request, url, method, version);
    }
    return server.continue_answer(connection, request);
}

/// Limits that are known with the headers.
MHD_Result HttpServer::Impl::begin(MHD_Connection* connection, Request& request, const char* version) {
    const auto too_large = [&] {
        if (MHD_get_connection_info(connection, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE)->header_size > config_.max_header_bytes) {
            return MHD_HTTP_REQUEST_HEADER_FIELDS_TOO_LARGE;
        }
        return announced_body(connection) > config_.max_body_bytes ? MHD_HTTP_CONTENT_TOO_LARGE : 0;
    };
    const int status = is_ambiguous(connection, version) ? MHD_HTTP_BAD_REQUEST : too_large();
    return status == 0 ? MHD_YES : queue(connection, request, refusal(status), nullptr);
}

void HttpServer::Impl::handle(MHD_Connection* connection, Request& request, const char* url, const char* method, const char* version) {
    entry_of(connection)->enter(Phase::kHandling);
    HttpTarget target = parse_target(request.target);
    // The library ends the target at a NUL; its version string lies behind the whole of it.
    const bool has_nul = version > url && static_cast<std::size_t>(version - url) <= config_.max_header_bytes &&
                         static_cast<std::size_t>(version - url) != request.target.size() + 1;
    HttpRequest seen{.method = method,
                     .path = std::move(target.path),
                     .query = std::move(target.query),
                     .malformed_query = target.malformed || has_nul,
                     .headers = {}};
    MHD_get_connection_values(connection, MHD_HEADER_KIND, &collect, &seen.headers);
    request.exchange = std::make_shared<ServerExchange>(connection, pending_);
    handler_(seen, request.exchange->reply());
}

MHD_Result HttpServer::Impl::continue_answer(MHD_Connection* connection, Request& request) {
    const auto response = request.exchange->answer_or_suspend();
    if (!response) {
        return MHD_YES;
    }
    return queue(connection, request, *response, request.exchange->stream_of_answer());
}

MHD_Result HttpServer::Impl::queue(MHD_Connection* connection, Request& request, const HttpResponse& response,
                                   const std::shared_ptr<ServerStream>& stream) {
    MHD_Response* made = stream ? endless_response(stream) : fixed_response(response.body);
    if (made == nullptr) {
        return MHD_NO;
    }
    for (const auto& [name, value] : response.headers) {
        MHD_add_response_header(made, name.c_str(), value.c_str());
    }
    if (stopping_) {
        MHD_add_response_header(made, "Connection", "close");
    }
    request.route = response.route;
    request.status = response.status;
    entry_of(connection)->enter(stream ? Phase::kStreaming : Phase::kSending);
    if (stream) {
        const int socket = socket_of(connection);
        set_option(socket, SOL_SOCKET, SO_SNDBUF, kStreamBuffer);
        set_option(socket, IPPROTO_TCP, TCP_NOTSENT_LOWAT, kStreamBuffer);
        if (observer_ != nullptr) {
            observer_->open_streams(static_cast<std::int64_t>(pending_.streams()));
        }
    }
    const MHD_Result queued = queue_response(connection, response.status, made);
    MHD_destroy_response(made);
    return queued;
}

HttpServer::HttpServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

HttpServer::~HttpServer() {
    impl_->stop(milliseconds(0));
}

tl::expected<std::unique_ptr<HttpServer>, std::string> HttpServer::start(HttpServerConfig config, HttpHandler handler,
                                                                         HttpObserver* observer) {
    std::unique_ptr<HttpServer> server(new HttpServer(std::make_unique<Impl>(std::move(config), std::move(handler), observer)));
    if (auto opened = server->impl_->open(); !opened) {
        return tl::unexpected(std::move(opened.error()));
    }
    return server;
}

void HttpServer::stop(milliseconds grace) {
    impl_->stop(grace);
}

std::vector<std::string> HttpServer::addresses() const {
    return impl_->addresses();
}

unsigned most_connections(unsigned wanted, unsigned other_files) {
    const std::size_t files = most_open_files();
    const std::size_t others = kOtherFiles + other_files;
    return files > wanted + others ? wanted : static_cast<unsigned>(files - std::min(files - 1, others));
}

tl::expected<void, std::string> check_listen_address(const std::string& text) {
    const auto address = parse_listen_address(text);
    return address ? tl::expected<void, std::string>() : tl::unexpected(address.error());
}

}  // namespace topkd
