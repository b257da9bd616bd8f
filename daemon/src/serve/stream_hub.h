// Lists that update themselves: server-sent events. One look at the list of each topic every interval, through the cache, whoever and
// however many follow it; each follower is sent a list when it, its window or its watermark is another than what that follower has, the
// news of an outage once, and a sign of life where there is nothing to tell.
#pragma once

#include <chrono>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "http_message.h"
#include "serve/list_cache.h"

namespace topkd {

class StreamHub {
  public:
    struct Config {
        std::chrono::milliseconds interval{250};
        std::chrono::milliseconds beat{15'000};  ///< the longest silence
        std::size_t max_topics = 256;            ///< each is a query every interval
    };

    /// The cache outlives the hub, and calls back no more after stop.
    StreamHub(Config config, ListCache& cache, const Clock& clock);
    ~StreamHub();
    StreamHub(const StreamHub&) = delete;
    StreamHub& operator=(const StreamHub&) = delete;

    /// Answers with a stream, or with a problem that does not pass, such as a window that is none.
    void follow(const ListKey& key, int k, HttpReply reply, const char* route);

    /// Looks at every topic; called by the thread, and by tests.
    void tick();

    std::size_t topics() const;

    /// Ends the thread, lets go of the streams. Once.
    void stop();

  private:
    using TopicKey = std::pair<ListKey, int>;

    /// A list as an event; equal versions are not told twice.
    struct Edition {
        std::string version;  ///< entity tag, window, watermark; empty: trouble
        HttpBody event;
    };
    struct Follower {
        std::shared_ptr<HttpStream> stream;
        std::string seen;  ///< the version it has; empty: it knows of trouble
        Instant last_sent;
    };
    struct Topic {
        std::vector<Follower> followers;
        bool is_asking = false;
    };

    bool has_room(const TopicKey& topic) const;
    static Edition edition_of(const AnswerResult& result, const TopicKey& topic);
    void begin(const TopicKey& topic, const AnswerResult& result, const HttpReply& reply, const char* route);
    void publish(const TopicKey& topic, const AnswerResult& result);
    void loop();

    const Config config_;
    ListCache& cache_;
    const Clock& clock_;
    mutable std::mutex mutex_;
    std::condition_variable changed_;
    std::map<TopicKey, Topic> topics_;
    bool stopping_ = false;
    std::thread thread_;
};

}  // namespace topkd
