#include "kafka_end_watch.h"

#include <simdjson.h>

#include <charconv>
#include <utility>

namespace topkd {

namespace {

namespace dom = simdjson::dom;

constexpr std::int64_t kFetchesAsProof = 3;

std::int64_t number(const dom::element& object, std::string_view name) {
    std::int64_t value = -1;
    return object[name].get(value) == simdjson::SUCCESS ? value : -1;
}

std::string_view word(const dom::element& object, std::string_view name) {
    std::string_view value;
    return object[name].get(value) == simdjson::SUCCESS ? value : std::string_view();
}

}  // namespace

std::optional<KafkaEndWatch::Seen> KafkaEndWatch::parse(std::string_view json) const {
    dom::parser parser;
    dom::element root;
    dom::object brokers;
    if (parser.parse(json.data(), json.size()).get(root) != simdjson::SUCCESS || root["brokers"].get(brokers) != simdjson::SUCCESS) {
        return std::nullopt;
    }
    Seen seen;
    seen.when = Instant(std::chrono::microseconds(number(root, "ts")));
    for (const auto& [name, broker] : brokers) {
        const std::int64_t id = number(broker, "nodeid");
        dom::element requests;
        // The group's coordinator is listed a second time, by the same id: a connection of its own that fetches nothing.
        if (id >= 0 && word(broker, "source") != "logical" && word(broker, "state") == "UP" &&
            broker["req"].get(requests) == simdjson::SUCCESS) {
            seen.brokers[id] = {id, number(broker, "connects"), number(requests, "Fetch")};
        }
    }
    dom::object partitions;
    if (root["topics"][topic_]["partitions"].get(partitions) != simdjson::SUCCESS) {
        return seen;
    }
    for (const auto& [name, partition] : partitions) {
        const std::int64_t high = number(partition, "hi_offset");
        if (high >= 0 && word(partition, "fetch_state") == "active") {
            const auto id = static_cast<std::int32_t>(number(partition, "partition"));
            // Below the last stable offset all transactions have ended: where it is the end, none is open.
            seen.ends[Partition{id}] = {number(partition, "broker"), Offset{high}, number(partition, "ls_offset") != high};
        }
    }
    return seen;
}

bool KafkaEndWatch::on_statistics(std::string_view json) {
    const std::optional<Seen> seen = parse(json);
    if (!seen) {
        return false;
    }
    for (const auto& [partition, end] : seen->ends) {
        watched_.try_emplace(partition);
    }
    for (auto& [partition, watched] : watched_) {
        const auto end = seen->ends.find(partition);
        const auto broker = end == seen->ends.end() ? seen->brokers.end() : seen->brokers.find(end->second.broker);
        const Fetches* now = broker == seen->brokers.end() ? nullptr : &broker->second;
        if (const auto since = watched.answer.look(now, seen->when)) {
            watched.answered = since;
        }
        if (const auto since = watched.end.look(now != nullptr && !end->second.is_open ? now : nullptr, seen->when)) {
            watched.confirmed = ConfirmedEnd{end->second.offset, *since};
        }
    }
    return true;
}

std::optional<Instant> KafkaEndWatch::Proof::look(const Fetches* now, Instant when) {
    if (now == nullptr) {
        since_.reset();
        return std::nullopt;
    }
    const bool goes_on = since_ && since_->broker == now->broker && since_->connects == now->connects;
    if (goes_on && now->sent < since_->sent + kFetchesAsProof) {
        return std::nullopt;
    }
    since_ = *now;
    const Instant before = std::exchange(since_when_, when);
    return goes_on ? std::optional(before) : std::nullopt;
}

std::optional<ConfirmedEnd> KafkaEndWatch::confirmed_end(Partition partition) const {
    const auto found = watched_.find(partition);
    return found == watched_.end() ? std::nullopt : found->second.confirmed;
}

std::optional<Instant> KafkaEndWatch::answered_since(Partition partition) const {
    const auto found = watched_.find(partition);
    return found == watched_.end() ? std::nullopt : found->second.answered;
}

void KafkaEndWatch::forget(const std::vector<Partition>& partitions) {
    for (const Partition partition : partitions) {
        watched_.erase(partition);
    }
}

}  // namespace topkd
