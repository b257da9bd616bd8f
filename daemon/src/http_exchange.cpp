#include "http_exchange.h"

#include <algorithm>
#include <vector>

namespace topkd {
namespace {

HttpResponse plain_error(int status, const char* title) {
    return {.status = status,
            .headers = {{"Content-Type", "application/problem+json"}, {"Cache-Control", "no-store"}, {"Retry-After", "1"}},
            .body = http_body(std::string(R"({"type":"about:blank","title":")") + title + R"(","status":)" + std::to_string(status) + "}"),
            .route = "other"};
}

}  // namespace

bool ServerStream::send(HttpBody chunk) {
    return queue(std::move(chunk), false);
}

bool ServerStream::beat(HttpBody chunk) {
    return queue(std::move(chunk), true);
}

bool ServerStream::queue(HttpBody chunk, bool only_if_idle) {
    const std::lock_guard lock(mutex_);
    if (connection_ == nullptr || ended_) {
        return false;
    }
    if (only_if_idle && (waiting_ || sending_)) {
        return true;
    }
    waiting_ = std::move(chunk);
    wake();
    return true;
}

void ServerStream::end() {
    const std::lock_guard lock(mutex_);
    ended_ = true;
    wake();
}

void ServerStream::wake() {
    if (suspended_ && connection_ != nullptr) {
        suspended_ = false;
        MHD_resume_connection(connection_);
    }
}

ssize_t ServerStream::read(char* to, std::size_t room) {
    const std::lock_guard lock(mutex_);
    if (!sending_) {
        sending_ = std::move(waiting_);
        waiting_ = nullptr;
        sent_ = 0;
    }
    if (sending_) {
        const std::size_t size = std::min(room, sending_->size() - sent_);
        sending_->copy(to, size, sent_);
        sent_ += size;
        if (sent_ == sending_->size()) {
            sending_ = nullptr;
        }
        return static_cast<ssize_t>(size);
    }
    if (ended_ || connection_ == nullptr) {
        return MHD_CONTENT_READER_END_OF_STREAM;
    }
    suspended_ = true;
    MHD_suspend_connection(connection_);
    return 0;
}

void ServerStream::lose() {
    const std::lock_guard lock(mutex_);
    connection_ = nullptr;
    waiting_ = nullptr;
    sending_ = nullptr;
}

HttpReply ServerExchange::reply() {
    // The handler's copies share this pointer, whose end is not the exchange's: the library holds that as long as the request lasts.
    return HttpReply(std::shared_ptr<HttpExchange>(this, [self = shared_from_this()](HttpExchange*) { self->abandon(); }));
}

void ServerExchange::abandon() {
    const std::lock_guard lock(mutex_);
    if (!answered_) {
        answer(plain_error(500, "Internal Server Error"));
    }
}

void ServerExchange::send(HttpResponse response) {
    const std::lock_guard lock(mutex_);
    answer(std::move(response));
}

void ServerExchange::answer(HttpResponse response) {
    if (answered_ || connection_ == nullptr) {
        return;
    }
    answered_ = true;
    response_ = std::move(response);
    if (suspended_) {
        suspended_ = false;
        MHD_resume_connection(connection_);
    }
}

std::shared_ptr<HttpStream> ServerExchange::stream(HttpResponse head) {
    const std::lock_guard lock(mutex_);
    if (answered_ || connection_ == nullptr) {
        return nullptr;
    }
    stream_ = std::make_shared<ServerStream>(connection_);
    if (!pending_.add(stream_)) {
        stream_->end();
    }
    answer(std::move(head));
    // As with replies: when its last user lets go of the stream it ends, and the library still has it.
    return {stream_.get(), [stream = stream_](HttpStream*) { stream->end(); }};
}

std::optional<HttpResponse> ServerExchange::answer_or_suspend() {
    const std::lock_guard lock(mutex_);
    if (response_) {
        auto response = std::move(response_);
        response_.reset();
        return response;
    }
    if (!pending_.add(shared_from_this())) {
        answered_ = true;
        return plain_error(503, "Service Unavailable");
    }
    suspended_ = true;
    MHD_suspend_connection(connection_);
    return std::nullopt;
}

void ServerExchange::give_up() {
    send(plain_error(503, "Service Unavailable"));
}

void ServerExchange::finish() {
    std::shared_ptr<ServerStream> stream;
    {
        const std::lock_guard lock(mutex_);
        connection_ = nullptr;
        stream = stream_;
    }
    pending_.remove(this);
    if (stream) {
        stream->lose();
        pending_.remove(stream.get());
    }
}

bool PendingExchanges::add(const std::shared_ptr<ServerExchange>& exchange) {
    const std::lock_guard lock(mutex_);
    return !none_ && (exchanges_.emplace(exchange.get(), exchange), true);
}

bool PendingExchanges::add(const std::shared_ptr<ServerStream>& stream) {
    const std::lock_guard lock(mutex_);
    return !no_streams_ && (streams_.emplace(stream.get(), stream), true);
}

void PendingExchanges::remove(const ServerExchange* exchange) {
    const std::lock_guard lock(mutex_);
    exchanges_.erase(exchange);
}

void PendingExchanges::remove(const ServerStream* stream) {
    const std::lock_guard lock(mutex_);
    streams_.erase(stream);
}

std::size_t PendingExchanges::streams() const {
    const std::lock_guard lock(mutex_);
    return streams_.size();
}

void PendingExchanges::end_streams() {
    std::vector<std::shared_ptr<ServerStream>> streams;
    {
        const std::lock_guard lock(mutex_);
        no_streams_ = true;
        for (const auto& [key, stream] : streams_) {
            streams.push_back(stream.lock());
        }
    }
    for (const auto& stream : streams) {
        if (stream) {
            stream->end();
        }
    }
}

void PendingExchanges::end_all() {
    end_streams();
    std::vector<std::shared_ptr<ServerExchange>> exchanges;
    {
        const std::lock_guard lock(mutex_);
        none_ = true;
        for (const auto& [key, exchange] : exchanges_) {
            exchanges.push_back(exchange.lock());
        }
    }
    for (const auto& exchange : exchanges) {
        if (exchange) {
            exchange->give_up();
        }
    }
}

}  // namespace topkd
