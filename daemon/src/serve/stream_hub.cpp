#include "serve/stream_hub.h"

#include <fmt/format.h>

#include <algorithm>

namespace topkd {
namespace {

/// How long a client waits before it connects again, in milliseconds.
constexpr std::string_view kRetry = "retry: 1000\n\n";

constexpr const char* kNoRoom = "too many different lists are followed, or the server is stopping";

HttpResponse stream_head(const char* route) {
    return {.status = 200,
            .headers = {{"Content-Type", "text/event-stream"},
                        {"Cache-Control", "no-store"},
                        {"X-Content-Type-Options", "nosniff"},
                        {"X-Accel-Buffering", "no"}},  // a proxy that collects would keep the news
            .body = nullptr,
            .route = route};
}

const HttpBody& sign_of_life() {
    static const HttpBody kComment = http_body(": \n\n");
    return kComment;
}

}  // namespace

StreamHub::StreamHub(Config config, ListCache& cache, const Clock& clock)
    : config_(config), cache_(cache), clock_(clock), thread_([this] { loop(); }) {}

StreamHub::~StreamHub() {
    stop();
}

void StreamHub::stop() {
    std::map<TopicKey, Topic> ended;  // outside the lock: streams end
    {
        const std::lock_guard lock(mutex_);
        if (std::exchange(stopping_, true)) {
            return;
        }
        ended.swap(topics_);
    }
    changed_.notify_all();
    thread_.join();
}

std::size_t StreamHub::topics() const {
    const std::lock_guard lock(mutex_);
    return topics_.size();
}

StreamHub::Edition StreamHub::edition_of(const AnswerResult& result, const TopicKey& topic) {
    if (!result) {
        return {"", http_body("event: trouble\ndata: " + problem_json(result.error()) + "\n\n")};
    }
    const TopList& list = (*result)->list();
    const std::string& tag = (*result)->cut(topic.second)->tag();
    const auto text = [](const std::optional<Millis>& instant) { return instant ? std::to_string(raw(*instant)) : "-"; };
    return {fmt::format("{} {} {} {}", tag, text(list.window_start), text(list.window_end), text(list.watermark)),
            http_body(fmt::format("event: list\nid: {}\ndata: {}\n\n", tag, stream_json(**result, topic.second, topic.first.window)))};
}

/// Requires the mutex.
bool StreamHub::has_room(const TopicKey& topic) const {
    return !stopping_ && (topics_.contains(topic) || topics_.size() < config_.max_topics);
}

void StreamHub::follow(const ListKey& key, int k, HttpReply reply, const char* route) {
    const TopicKey topic{key, k};
    {
        const std::lock_guard lock(mutex_);
        if (!has_room(topic)) {
            reply.send(problem_response(database_away(kNoRoom), route));
            return;
        }
    }
    cache_.get(key, k, [this, topic, reply = std::move(reply), route](const AnswerResult& result) { begin(topic, result, reply, route); });
}

void StreamHub::begin(const TopicKey& topic, const AnswerResult& result, const HttpReply& reply, const char* route) {
    if (!result && !result.error().is_passing()) {
        reply.send(problem_response(result.error(), route));
        return;
    }
    const Edition first = edition_of(result, topic);
    const std::lock_guard lock(mutex_);
    if (!has_room(topic)) {  // others came while the database was asked
        reply.send(problem_response(database_away(kNoRoom), route));
        return;
    }
    std::shared_ptr<HttpStream> stream = reply.stream(stream_head(route));
    if (!stream) {
        return;
    }
    stream->send(http_body(std::string(kRetry) + *first.event));
    topics_[topic].followers.push_back({std::move(stream), first.version, clock_.monotonic()});
    changed_.notify_all();
}

void StreamHub::tick() {
    std::vector<TopicKey> due;
    {
        const std::lock_guard lock(mutex_);
        std::erase_if(topics_, [](const auto& topic) { return topic.second.followers.empty() && !topic.second.is_asking; });
        for (auto& [key, topic] : topics_) {
            if (!std::exchange(topic.is_asking, true)) {
                due.push_back(key);
            }
        }
    }
    // With the cache's period alone, every other look would find the answer of the one before.
    for (const TopicKey& topic : due) {
        cache_.get(
            topic.first, topic.second, [this, topic](const AnswerResult& result) { publish(topic, result); }, config_.interval / 2);
    }
}

void StreamHub::publish(const TopicKey& key, const AnswerResult& result) {
    const Edition edition = edition_of(result, key);
    const Instant now = clock_.monotonic();
    const std::lock_guard lock(mutex_);
    const auto place = topics_.find(key);
    if (place == topics_.end()) {
        return;
    }
    place->second.is_asking = false;
    std::erase_if(place->second.followers, [&](Follower& follower) {
        if (follower.seen != edition.version) {
            follower.seen = edition.version;
            follower.last_sent = now;
            return !follower.stream->send(edition.event);
        }
        if (now - follower.last_sent < config_.beat) {
            return false;
        }
        follower.last_sent = now;
        return !follower.stream->beat(sign_of_life());
    });
}

void StreamHub::loop() {
    std::unique_lock lock(mutex_);
    while (!stopping_) {
        changed_.wait(lock, [this] { return stopping_ || !topics_.empty(); });
        if (changed_.wait_for(lock, config_.interval, [this] { return stopping_; })) {
            return;
        }
        lock.unlock();
        tick();
        lock.lock();
    }
}

}  // namespace topkd
