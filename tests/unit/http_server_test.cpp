// The server over real sockets: answers now and later, from other threads, streams, limits, slow and hostile clients, the stop.
#include "http_server.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <mutex>
#include <thread>

#include "http_listen.h"
#include "http_watch.h"

namespace topkd {
namespace {

using std::chrono::milliseconds;
using namespace std::chrono_literals;

/// A client's socket; reads with a limit of time.
class Client {
  public:
    explicit Client(const std::string& address) {
        if (address.starts_with("unix:")) {
            sockaddr_un path = {};
            path.sun_family = AF_UNIX;
            address.copy(path.sun_path, sizeof(path.sun_path) - 1, 5);
            socket_ = ::socket(AF_UNIX, SOCK_STREAM, 0);
            connected_ = ::connect(socket_, reinterpret_cast<sockaddr*>(&path), sizeof(path)) == 0;
            return;
        }
        sockaddr_in host = {};
        host.sin_family = AF_INET;
        host.sin_port = htons(static_cast<std::uint16_t>(std::stoi(address.substr(address.rfind(':') + 1))));
        host.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socket_ = ::socket(AF_INET, SOCK_STREAM, 0);
        connected_ = ::connect(socket_, reinterpret_cast<sockaddr*>(&host), sizeof(host)) == 0;
    }
    ~Client() { ::close(socket_); }
    Client(const Client&) = delete;
    Client& operator=(const Client&) = delete;

    bool connected() const { return connected_; }
    bool send(std::string_view bytes) {
        return ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(bytes.size());
    }

    /// Reads until the text has come, or the server closed; what came by then.
    std::string until(std::string_view text) {
        while (got_.find(text) == std::string::npos && more()) {
        }
        return got_;
    }
    std::string until_closed() {
        while (more()) {
        }
        return got_;
    }
    bool closed() const { return closed_; }
    void forget() { got_.clear(); }
    std::string got() const { return got_; }

  private:
    bool more() {
        pollfd ready = {.fd = socket_, .events = POLLIN, .revents = 0};
        char bytes[65536];
        if (::poll(&ready, 1, 20'000) != 1) {
            return false;
        }
        const ssize_t size = ::recv(socket_, bytes, sizeof(bytes), 0);
        if (size <= 0) {
            closed_ = true;
            return false;
        }
        got_.append(bytes, static_cast<std::size_t>(size));
        return true;
    }
    int socket_ = -1;
    bool connected_ = false;
    bool closed_ = false;
    std::string got_;
};

std::string request(const std::string& path, const std::string& headers = "", const char* method = "GET") {
    return std::string(method) + " " + path + " HTTP/1.1\r\nHost: test\r\n" + headers + "\r\n";
}

/// Waits until it holds; false: it did not.
bool holds_soon(const std::function<bool()>& holds) {
    const auto deadline = std::chrono::steady_clock::now() + 20s;
    while (!holds()) {
        if (std::chrono::steady_clock::now() > deadline) {
            return false;
        }
        std::this_thread::sleep_for(1ms);
    }
    return true;
}

class Observer final : public HttpObserver {
  public:
    void request_done(const char*, int status, std::chrono::nanoseconds) override {
        ++requests;
        last_status = status;
    }
    void open_connections(std::int64_t count) override { connections = count; }
    void open_streams(std::int64_t count) override { streams = count; }
    std::atomic<int> requests = 0;
    std::atomic<int> last_status = 0;
    std::atomic<std::int64_t> connections = 0;
    std::atomic<std::int64_t> streams = 0;
};

struct HttpServerTest : testing::Test {
    void start(HttpServerConfig config = {}) {
        if (config.listen.empty()) {
            config.listen = {"127.0.0.1:0"};
        }
        config.max_connections = std::min(config.max_connections, 500u);
        auto started = HttpServer::start(
            config, [this](const HttpRequest& one, HttpReply reply) { handle(one, std::move(reply)); }, &observer);
        ASSERT_TRUE(started) << started.error();
        server = std::move(*started);
        address = server->addresses().front();
    }
    void handle(const HttpRequest& one, HttpReply reply) {
        if (one.path == "/now") {
            reply.send(
                {.status = 200, .headers = {{"X-Seen", one.header("x-sent").value_or("")}}, .body = http_body("now"), .route = "now"});
        } else if (one.path == "/busy") {
            busy = true;
            EXPECT_TRUE(holds_soon([&] { return !busy; }));
            reply.send({.status = 200, .headers = {}, .body = http_body("busy"), .route = "busy"});
        } else if (one.path == "/large") {
            reply.send({.status = 200, .headers = {}, .body = http_body(std::string(32u << 20, 'x')), .route = "large"});
        } else if (one.path == "/bad") {
            reply.send({.status = one.malformed_query ? 400 : 200, .headers = {}, .body = nullptr, .route = "bad"});
        } else if (one.path == "/not-modified") {
            reply.send({.status = 304, .headers = {}, .body = http_body("kept"), .route = "bad"});
        } else if (one.path == "/stream") {
            auto opened =
                reply.stream({.status = 200, .headers = {{"Content-Type", "text/event-stream"}}, .body = nullptr, .route = "stream"});
            const std::lock_guard lock(mutex);
            stream = std::move(opened);
        } else if (one.path == "/later") {
            const std::lock_guard lock(mutex);
            later.push_back(std::move(reply));
        }  // else the reply is dropped
    }
    std::size_t waiting() {
        const std::lock_guard lock(mutex);
        return later.size();
    }
    /// Answers those that wait; how many.
    std::size_t answer_later(const std::string& body) {
        std::vector<HttpReply> all;
        {
            const std::lock_guard lock(mutex);
            all.swap(later);
        }
        for (const HttpReply& reply : all) {
            reply.send({.status = 200, .headers = {}, .body = http_body(body), .route = "later"});
        }
        return all.size();
    }
    std::shared_ptr<HttpStream> opened_stream() {
        EXPECT_TRUE(holds_soon([this] {
            const std::lock_guard lock(mutex);
            return stream != nullptr;
        }));
        const std::lock_guard lock(mutex);
        return stream;
    }

    std::atomic<bool> busy = false;
    Observer observer;
    std::mutex mutex;
    std::vector<HttpReply> later;
    std::shared_ptr<HttpStream> stream;
    std::unique_ptr<HttpServer> server;
    std::string address;
};

TEST_F(HttpServerTest, AnswersOnOneConnection) {
    start();
    Client client(address);
    for (int i = 0; i < 3; ++i) {
        client.forget();
        client.send(request("/now", "X-Sent: a\r\nx-sent: b\r\n"));
        const std::string got = client.until("\r\n\r\nnow");
        EXPECT_TRUE(got.starts_with("HTTP/1.1 200")) << got;
        EXPECT_NE(got.find("X-Seen: a, b"), std::string::npos);
    }
    EXPECT_TRUE(holds_soon([this] { return observer.requests == 3 && observer.connections == 1; }));
}

TEST_F(HttpServerTest, AnswersPipelinedRequestsInOrder) {
    start();
    Client client(address);
    client.send(request("/later") + request("/now") + request("/nothing"));
    ASSERT_TRUE(holds_soon([this] { return waiting() == 1; }));
    EXPECT_EQ(client.got(), "");
    answer_later("first");
    const std::string got = client.until(" 500 ");
    EXPECT_LT(got.find("first"), got.find("now"));
    EXPECT_LT(got.find("now"), got.find(" 500 "));  // a reply that was dropped
}

TEST_F(HttpServerTest, AnswersLaterFromAnyThread) {
    start({.threads = 2});
    std::vector<std::unique_ptr<Client>> clients;
    for (int i = 0; i < 50; ++i) {
        clients.push_back(std::make_unique<Client>(address));
        clients.back()->send(request("/later"));
    }
    std::size_t seen = 0;
    std::thread answering([&] {
        while (seen < clients.size()) {
            seen += answer_later("late");
            std::this_thread::yield();
        }
    });
    for (const auto& client : clients) {
        EXPECT_NE(client->until("late").find(" 200 "), std::string::npos);
    }
    answering.join();
}

TEST_F(HttpServerTest, HeadAndNotModifiedHaveNoBody) {
    start();
    Client client(address);
    client.send(request("/now", "", "HEAD") + request("/not-modified") + request("/now", "Connection: close\r\n"));
    const std::string got = client.until_closed();
    EXPECT_NE(got.find("Content-Length: 3\r\n"), std::string::npos);
    EXPECT_NE(got.find(" 304 "), std::string::npos);
    EXPECT_EQ(got.find("kept"), std::string::npos);
    EXPECT_EQ(got.find("now"), got.size() - 3);
}

TEST_F(HttpServerTest, MarksTargetsThatAreNoText) {
    start();
    const auto status = [this](const std::string& bytes) {
        Client client(address);
        client.send(bytes);
        return client.until("\r\n\r\n").substr(0, 12);
    };
    EXPECT_EQ(status(request("/bad")), "HTTP/1.1 200");
    EXPECT_EQ(status(request("/bad?a=b")), "HTTP/1.1 200");
    EXPECT_EQ(status(request(std::string("/bad?a=b") + '\0' + "c")), "HTTP/1.1 400");
}

TEST_F(HttpServerTest, RefusesWhatIsTooLarge) {
    start({.max_header_bytes = 4096, .max_body_bytes = 1000});
    const auto status = [this](const std::string& bytes) {
        Client client(address);
        client.send(bytes);
        const std::string got = client.until("\r\n\r\n");
        return got.empty() ? "closed" : got.substr(9, 3);
    };
    EXPECT_EQ(status(request("/now?" + std::string(3000, 'x'))), "200");
    EXPECT_EQ(status(request("/now?" + std::string(20'000, 'x'))), "414");
    EXPECT_EQ(status(request("/now", "X: " + std::string(4200, 'x') + "\r\n")), "431");
    EXPECT_EQ(status(request("/now", "X: " + std::string(20'000, 'x') + "\r\n")), "431");
    EXPECT_EQ(status(request("/now", "Content-Length: 999999999999999999999999\r\n")), "413");
    EXPECT_EQ(status(request("/now", "Content-Length: 1001\r\n")), "413");
    EXPECT_EQ(status(request("/now", "Content-Length: 1000\r\n") + std::string(1000, 'x')), "200");
    EXPECT_EQ(status(request("/now", "Transfer-Encoding: chunked\r\n") + "fff\r\n" + std::string(0xfff, 'x') + "\r\n0\r\n\r\n"), "413");
    EXPECT_EQ(status("garbage\r\n\r\n"), "closed");
}

TEST_F(HttpServerTest, TellsByItselfWhatTheLibraryRefuses) {
    start({.max_header_bytes = 4096});
    const std::string rest = " HTTP/1.1\r\nHost: test\r\n\r\n";
    const std::vector<std::pair<int, std::string>> refused{
        {400, request("/now", "Content-Length: x\r\n")},
        {400, request("/now", "Content-Length: 5, 5\r\n") + "hello"},
        {413, request("/now", "Content-Length: 99999999999999999999\r\n")},
        {400, request("/now", "no colon\r\n")},
        {400, request("/now", "Transfer-Encoding: chunked\r\n") + "x\r\n"},
        {400, "GET /now JUNK/1.1\r\n\r\n"},
        {414, "GET /" + std::string(20'000, 'x') + rest},
        {431, request("/now", "X: " + std::string(20'000, 'x') + "\r\n")},
        {431, request("/now", "X: " + std::string(2'000'000, 'x') + "\r\n")},
        {505, "GET /now HTTP/2.0\r\n\r\n"},
    };
    int counted = 0;
    for (const auto& [status, bytes] : refused) {
        Client client(address);
        client.send(request("/now"));
        EXPECT_NE(client.until("now").find("HTTP/1.1 200 "), std::string::npos);
        EXPECT_TRUE(holds_soon([&] { return observer.requests == counted + 1; }));
        client.forget();
        client.send(bytes + request("/now"));
        const std::string got = client.until_closed();
        const std::string shown = bytes.substr(0, 70) + " -> " + got;
        EXPECT_TRUE(client.closed()) << shown;
        EXPECT_TRUE(got.starts_with("HTTP/1.1 " + std::to_string(status) + " ")) << shown;
        EXPECT_EQ(got.rfind("HTTP/1.1 "), 0u) << shown;
        EXPECT_NE(got.find("\r\nContent-Type: application/problem+json\r\n"), std::string::npos) << shown;
        EXPECT_NE(got.find("\r\nConnection: close\r\n"), std::string::npos) << shown;
        EXPECT_TRUE(got.ends_with("}")) << shown;
        counted += 2;
        EXPECT_TRUE(holds_soon([&] { return observer.requests == counted; })) << shown;
        EXPECT_EQ(observer.last_status, status) << shown;
    }
}

TEST_F(HttpServerTest, RefusesADoubledLength) {
    start();
    for (const char* second : {"5", "6", "x"}) {
        Client client(address);
        client.send(request("/now", std::string("Content-Length: 5\r\nContent-Length: ") + second + "\r\n") + "hello" + request("/now"));
        const std::string got = client.until_closed();
        EXPECT_TRUE(client.closed());
        EXPECT_TRUE(got.starts_with("HTTP/1.1 400 ")) << got;
        EXPECT_EQ(got.rfind("HTTP/1.1 "), 0u) << got;
    }
}

TEST_F(HttpServerTest, ShowsABodyToNobody) {
    start();
    Client client(address);
    client.send(request("/now", "Content-Length: 5\r\n") + "hello" + request("/now", "Connection: close\r\n"));
    const std::string got = client.until_closed();
    EXPECT_NE(got.find("now"), got.rfind("now"));  // both answered
}

TEST_F(HttpServerTest, StreamsChunks) {
    start();
    Client client(address);
    client.send(request("/stream"));
    const auto opened = opened_stream();
    client.until("\r\n\r\n");
    for (int i = 0; i < 5; ++i) {
        EXPECT_TRUE(opened->send(http_body("event " + std::to_string(i) + "\n")));
        client.until("event " + std::to_string(i) + "\n");
    }
    EXPECT_EQ(observer.streams, 1);
    EXPECT_TRUE(opened->send(http_body(std::string(200'000, 'y') + "end\n")));  // more than the library's buffer
    client.until("end\n");
    opened->end();
    client.until("\r\n0\r\n\r\n");
    EXPECT_TRUE(holds_soon([this] { return observer.streams == 0; }));
    EXPECT_FALSE(opened->send(http_body("too late")));
    client.forget();
    client.send(request("/now"));  // the connection goes on
    client.until("now");
}

TEST_F(HttpServerTest, ASlowReaderGetsTheNewest) {
    start();
    Client client(address);
    client.send(request("/stream"));
    const auto opened = opened_stream();
    for (int i = 0; i < 200; ++i) {
        EXPECT_TRUE(opened->send(http_body(std::string(100'000, 'z') + "number " + std::to_string(i) + "\n")));
    }
    const std::string got = client.until("number 199\n");
    EXPECT_LT(got.size(), 19'000'000u);  // most were replaced before they were begun
    EXPECT_NE(got.find("number 199\n"), std::string::npos);
}

TEST_F(HttpServerTest, ABeatDoesNotReplaceNews) {
    start();
    Client client(address);
    client.send(request("/stream"));
    const auto opened = opened_stream();
    opened->send(http_body("news\n"));
    opened->beat(http_body("beat\n"));
    client.until("news\n");
    EXPECT_TRUE(holds_soon([&] {
        opened->beat(http_body("beat\n"));
        return true;
    }));
    client.until("beat\n");
}

TEST_F(HttpServerTest, NoticesThatAStreamsClientIsGone) {
    start();
    auto client = std::make_unique<Client>(address);
    client->send(request("/stream"));
    const auto opened = opened_stream();
    client->until("\r\n\r\n");
    client = nullptr;
    EXPECT_TRUE(holds_soon([&] { return !opened->send(http_body("anybody?")); }));
}

TEST_F(HttpServerTest, CutsOffWhoDripsARequest) {
    start({.request_timeout = 200ms, .idle_timeout = 60s});
    Client idle(address);
    idle.send(request("/now"));
    idle.until("now");
    Client slow(address);
    Client later_slow(address);
    later_slow.send(request("/now"));
    later_slow.until("now");
    later_slow.forget();
    const std::string bytes = request("/now", "X: " + std::string(10'000, 'x') + "\r\n");
    std::size_t sent = 0;
    EXPECT_TRUE(holds_soon([&] {
        std::this_thread::sleep_for(20ms);
        ++sent;
        const bool first = slow.send(bytes.substr(sent, 1));
        const bool second = later_slow.send(bytes.substr(sent, 1));
        return !first && !second;
    }));
    EXPECT_LT(sent, 1000u);
    idle.forget();
    idle.send(request("/now"));  // the idle one was none of them
    EXPECT_NE(idle.until("now"), "");
}

TEST_F(HttpServerTest, AnswersBurstsOfAnySize) {
    // While the only thread is busy requests pile up: it finds all of them at once. The library reads 128 events at a time.
    start({.threads = 1, .request_timeout = 60s});
    std::vector<std::unique_ptr<Client>> clients;
    for (int size = 124; size <= 132; ++size) {
        while (clients.size() < static_cast<std::size_t>(size)) {
            clients.push_back(std::make_unique<Client>(address));
            clients.back()->send(request("/now"));
            ASSERT_NE(clients.back()->until("now"), "");
        }
        Client first(address);
        first.send(request("/busy"));
        ASSERT_TRUE(holds_soon([&] { return busy.load(); }));
        for (const auto& client : clients) {
            client->forget();
            client->send(request("/now"));
        }
        const auto released = std::chrono::steady_clock::now();
        busy = false;
        for (const auto& client : clients) {
            ASSERT_NE(client->until("now"), "") << size;
        }
        EXPECT_LT(std::chrono::steady_clock::now() - released, 10s) << size;
    }
}

TEST_F(HttpServerTest, LetsGoOfWhoClosedAmidARequest) {
    start({.request_timeout = 60s});  // a sweep every second
    for (int i = 0; i < 20; ++i) {
        Client(address).send("GET /now HTTP/1.1\r\nHost: test\r\nX: " + std::string(8'000, 'x'));
    }
    Client other(address);
    other.send(request("/now"));
    EXPECT_NE(other.until("now"), "");  // the twenty were accepted before it
    EXPECT_TRUE(holds_soon([&] { return observer.connections == 1; }));
    const auto begun = std::chrono::steady_clock::now();
    server->stop(30s);
    EXPECT_LT(std::chrono::steady_clock::now() - begun, 10s);  // no request is under way
}

TEST_F(HttpServerTest, ClosesIdleConnections) {
    start({.idle_timeout = 1s});
    Client client(address);
    client.send(request("/now"));
    client.until("now");
    client.until_closed();
    EXPECT_TRUE(client.closed());
}

TEST_F(HttpServerTest, CutsOffWhoDoesNotReadAnAnswer) {
    start({.request_timeout = 200ms, .idle_timeout = 1s});
    Client client(address);
    client.send(request("/large"));
    EXPECT_TRUE(holds_soon([this] { return observer.requests == 1 && observer.connections == 0; }));
}

TEST_F(HttpServerTest, HoldsTheNumberOfConnections) {
    start({.max_connections = 3});
    std::vector<std::unique_ptr<Client>> clients;
    for (int i = 0; i < 3; ++i) {
        clients.push_back(std::make_unique<Client>(address));
        clients.back()->send(request("/now"));
        clients.back()->until("now");
    }
    ASSERT_TRUE(holds_soon([this] { return observer.requests == 3; }));
    Client refused(address);
    refused.send(request("/now"));
    const std::string got = refused.until_closed();
    EXPECT_TRUE(got.starts_with("HTTP/1.1 503 ")) << got;
    EXPECT_NE(got.find("\r\nRetry-After: 1\r\n"), std::string::npos) << got;
    EXPECT_EQ(got.rfind("HTTP/1.1 "), 0u) << got;
    EXPECT_EQ(observer.connections, 3);
    EXPECT_TRUE(holds_soon([this] { return observer.requests == 4 && observer.last_status == 503; }));
    clients.pop_back();
    EXPECT_TRUE(holds_soon([this] {
        Client next(address);
        return next.send(request("/now")) && next.until("now").starts_with("HTTP/1.1 200 ");
    }));
}

TEST_F(HttpServerTest, StopsInOrder) {
    start();
    Client idle(address);
    Client waits(address);
    Client streams(address);
    idle.send(request("/now"));
    idle.until("now");
    waits.send(request("/later"));
    streams.send(request("/stream"));
    const auto opened = opened_stream();
    ASSERT_TRUE(holds_soon([this] { return waiting() == 1; }));
    std::thread answering([this] {
        EXPECT_TRUE(holds_soon([this] { return !Client(address).connected(); }));  // nobody can connect any more
        answer_later("in time");
    });
    server->stop(20s);
    answering.join();
    EXPECT_NE(waits.until_closed().find("in time"), std::string::npos);
    EXPECT_NE(waits.got().find("Connection: close"), std::string::npos);
    EXPECT_NE(streams.until_closed().find("\r\n0\r\n\r\n"), std::string::npos);
    idle.until_closed();
    EXPECT_TRUE(idle.closed());
    EXPECT_FALSE(opened->send(http_body("late")));
}

TEST_F(HttpServerTest, DoesNotWaitForeverWhenItStops) {
    start();
    Client waits(address);
    waits.send(request("/later"));
    ASSERT_TRUE(holds_soon([this] { return waiting() == 1; }));
    server->stop(10ms);
    const std::string got = waits.until_closed();
    EXPECT_TRUE(got.empty() || got.find(" 503 ") != std::string::npos) << got;
    answer_later("too late");
    server = nullptr;
}

TEST_F(HttpServerTest, ListensOnSeveralAddresses) {
    const std::string path = testing::TempDir() + "/topkd_http_test." + std::to_string(::getpid());
    start({.listen = {"127.0.0.1:0", "unix:" + path}});
    ASSERT_EQ(server->addresses().size(), 2u);
    for (const std::string& one : server->addresses()) {
        Client client(one);
        client.send(request("/now"));
        EXPECT_NE(client.until("now").find(" 200 "), std::string::npos);
    }
    // in use
    EXPECT_FALSE(HttpServer::start(
        {.listen = {address}, .max_connections = 10}, [](const HttpRequest&, const HttpReply&) {}, nullptr));
    EXPECT_FALSE(HttpServer::start(
        {.listen = {"unix:" + path}, .max_connections = 10}, [](const HttpRequest&, const HttpReply&) {}, nullptr));
    server = nullptr;
    EXPECT_NE(::access(path.c_str(), F_OK), 0);
}

TEST(HttpListen, ReadsAddresses) {
    for (const char* good : {"127.0.0.1:8080", "localhost:0", "[::1]:80", "[::]:65535", ":80", "*:80", "unix:/tmp/x"}) {
        EXPECT_TRUE(parse_listen_address(good)) << good;
    }
    for (const char* bad :
         {"", "8080", "host", "host:", "host:x", "host:65536", "host:-1", "::1:80", "unix:", "unix:x", "[::1]", "host:80x"}) {
        EXPECT_FALSE(parse_listen_address(bad)) << bad;
    }
}

TEST(HttpListen, TakesALeftPathOver) {
    const std::string path = testing::TempDir() + "/topkd_left." + std::to_string(::getpid());
    const int left = ::socket(AF_UNIX, SOCK_STREAM, 0);
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof(address.sun_path) - 1);
    ASSERT_EQ(::bind(left, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    ::close(left);
    EXPECT_TRUE(listen_on("unix:" + path));
    EXPECT_FALSE(listen_on("unix:/nonexistent/x"));
    EXPECT_FALSE(listen_on("unix:/" + std::string(200, 'x')));
}

TEST(HttpListen, TellsWhenFilesAreTooFew) {
    const auto allowed = allow_open_files(std::size_t{1} << 40);
    ASSERT_FALSE(allowed);
    EXPECT_NE(allowed.error().find("--max-connections"), std::string::npos);
}

}  // namespace
}  // namespace topkd
