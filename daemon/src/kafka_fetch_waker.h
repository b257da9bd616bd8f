// Wakes librdkafka's fetching threads, which sleep up to a second beside a queue that was full (kafka_queue_gauge.h). It has no call for
// that; but any request to a broker wakes the thread of its connection. So a thread here asks the leaders of the partitions for an
// offset, which is cheap and changes nothing, and forgets the answer. For librdkafka before 2.2. With client.rack, which fetches from
// followers, it wakes the wrong ones.
#pragma once

#include <librdkafka/rdkafka.h>

#include <condition_variable>
#include <mutex>
#include <set>
#include <string>
#include <thread>

#include "types.h"

namespace topkd {

class FetchWaker {
  public:
    /// The handle outlives it.
    FetchWaker(rd_kafka_t* handle, std::string topic);
    ~FetchWaker();  ///< waits for the answer under way, for 50 ms at most
    FetchWaker(const FetchWaker&) = delete;
    FetchWaker& operator=(const FetchWaker&) = delete;

    /// Wakes the threads of these partitions' leaders. Returns at once; while a request is under way another one follows it.
    void wake(const std::set<Partition>& partitions);

  private:
    void run();
    void ask(const std::set<Partition>& partitions);

    rd_kafka_t* handle_;
    std::string topic_;
    std::mutex mutex_;
    std::condition_variable changed_;
    std::set<Partition> wanted_;
    bool ending_ = false;
    std::thread thread_;
};

}  // namespace topkd
