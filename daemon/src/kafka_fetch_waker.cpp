#include "kafka_fetch_waker.h"

#include <pthread.h>

#include <memory>
#include <utility>

#include "kafka_handle.h"

namespace topkd {

namespace {

constexpr int kAskTimeoutMs = 50;  // the request goes out at once; a broker that is away must not keep the others asleep

}  // namespace

FetchWaker::FetchWaker(rd_kafka_t* handle, std::string topic) : handle_(handle), topic_(std::move(topic)), thread_([this] { run(); }) {}

FetchWaker::~FetchWaker() {
    {
        const std::lock_guard lock(mutex_);
        ending_ = true;
    }
    changed_.notify_one();
    thread_.join();
}

void FetchWaker::wake(const std::set<Partition>& partitions) {
    {
        const std::lock_guard lock(mutex_);
        wanted_ = partitions;
    }
    changed_.notify_one();
}

void FetchWaker::run() {
    ::pthread_setname_np(::pthread_self(), "fetch-waker");  // as top -H and /proc show it
    std::unique_lock lock(mutex_);
    while (true) {
        changed_.wait(lock, [this] { return ending_ || !wanted_.empty(); });
        if (ending_) {
            return;
        }
        const std::set<Partition> partitions = std::exchange(wanted_, {});
        lock.unlock();
        ask(partitions);
        lock.lock();
    }
}

void FetchWaker::ask(const std::set<Partition>& partitions) {
    const KafkaPartitionList list(rd_kafka_topic_partition_list_new(static_cast<int>(partitions.size())));
    for (const Partition partition : partitions) {
        rd_kafka_topic_partition_list_add(list.get(), topic_.c_str(), raw(partition))->offset = RD_KAFKA_OFFSET_END;
    }
    // What it answers, or that it fails, is of no interest: the request was sent, or its broker is away and fetches nothing.
    rd_kafka_offsets_for_times(handle_, list.get(), kAskTimeoutMs);
}

}  // namespace topkd
