// One request between its arrival and the end of its answer: where the library's thread, which must not wait, and the thread that has the
// answer meet. Until the answer is there, the connection is suspended; a suspended connection is never closed by the library, so whoever
// resumes it, under this mutex, resumes one that lives. Lock order: exchange, then the registry of suspended ones, then the library's.
#pragma once

#include <microhttpd.h>

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>

#include "http_message.h"

namespace topkd {

class PendingExchanges;

/// A stream's chunks on their way into the library's buffer.
class ServerStream final : public HttpStream, public std::enable_shared_from_this<ServerStream> {
  public:
    explicit ServerStream(MHD_Connection* connection) : connection_(connection) {}

    bool send(HttpBody chunk) override;
    bool beat(HttpBody chunk) override;
    void end() override;

    /// The library asks for bytes: copies some, or suspends the connection until there are.
    ssize_t read(char* to, std::size_t room);

    /// The connection is closed.
    void lose();

  private:
    bool queue(HttpBody chunk, bool only_if_idle);
    void wake();  ///< requires the mutex

    std::mutex mutex_;
    MHD_Connection* connection_;  ///< null: the client is gone
    bool suspended_ = false;
    bool ended_ = false;
    HttpBody sending_;
    std::size_t sent_ = 0;
    HttpBody waiting_;
};

class ServerExchange final : public HttpExchange, public std::enable_shared_from_this<ServerExchange> {
  public:
    ServerExchange(MHD_Connection* connection, PendingExchanges& pending) : connection_(connection), pending_(pending) {}

    void send(HttpResponse response) override;
    std::shared_ptr<HttpStream> stream(HttpResponse head) override;

    /// What a handler is given: answers 500 when the last copy goes without an answer.
    HttpReply reply();

    /// The answer if it is there; if not, the connection is suspended until it is. On the library's thread, after the handler.
    std::optional<HttpResponse> answer_or_suspend();

    /// The stream that the answer is, if it is one.
    std::shared_ptr<ServerStream> stream_of_answer() const { return stream_; }

    /// Ends the wait of a server that stops.
    void give_up();

    /// The request is over, one way or the other: late answers are dropped.
    void finish();

  private:
    void abandon();
    void answer(HttpResponse response);  ///< requires the mutex

    std::mutex mutex_;
    MHD_Connection* connection_;  ///< null: finished
    PendingExchanges& pending_;
    bool answered_ = false;
    bool suspended_ = false;
    std::optional<HttpResponse> response_;
    std::shared_ptr<ServerStream> stream_;
};

/// Who waits or streams: they must have ended before the library is stopped. Any thread.
class PendingExchanges {
  public:
    /// False when the server does not let anybody wait any more.
    bool add(const std::shared_ptr<ServerExchange>& exchange);
    bool add(const std::shared_ptr<ServerStream>& stream);
    void remove(const ServerExchange* exchange);
    void remove(const ServerStream* stream);

    void end_streams();  ///< those of now, and those to come at once
    void end_all();      ///< the same for answers that are waited for

    std::size_t streams() const;

  private:
    mutable std::mutex mutex_;
    bool no_streams_ = false;
    bool none_ = false;
    std::unordered_map<const ServerExchange*, std::weak_ptr<ServerExchange>> exchanges_;
    std::unordered_map<const ServerStream*, std::weak_ptr<ServerStream>> streams_;
};

}  // namespace topkd
