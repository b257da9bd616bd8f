// A source without Kafka that costs next to nothing: one partition, whose records are there from the beginning and are delivered again and
// again under ever new offsets. For what counts or times the pipeline itself.
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "source.h"

namespace topkd::test {

class SteadySource final : public Source {
  public:
    SteadySource(const std::vector<std::string>& values, Millis timestamp) {
        for (const std::string& value : values) records_.push_back(Record{Partition{0}, Offset{0}, timestamp, "key", value});
    }

    /// So many more records are there to be read.
    void offer(std::size_t count) { offered_ += count; }
    std::size_t left() const { return offered_; }

    Delivery poll(std::chrono::milliseconds, std::size_t at_most) override {
        if (!std::exchange(told_, true)) return {{}, Assigned{{Partition{0}}}};
        if (!started_) return {{}, Nothing{}};
        const std::size_t count = std::min({at_most, offered_, records_.size() - at_});
        const std::span<Record> delivered(records_.data() + at_, count);
        for (Record& record : delivered) record.offset = std::exchange(next_, next(next_));
        offered_ -= count;
        at_ = (at_ + count) % records_.size();
        return {delivered, Nothing{}};
    }
    void acknowledge_assigned() override {}
    void acknowledge_revoked(const std::vector<Partition>&) override {}
    bool assignment_lost() const override { return false; }
    bool start(const std::vector<StartAt>& partitions) override {
        next_ = partitions.front().offset;
        return started_ = true;
    }
    void stop(const std::vector<Partition>&) override { started_ = false; }
    tl::expected<TopicState, std::string> describe(const std::vector<Partition>&) override {
        return TopicState{"cluster", 1, {Partition{0}}, {Offset{0}}, {Offset{std::int64_t{1} << 40}}, {}};
    }
    void commit_hint(const std::vector<StartAt>&) override {}
    std::optional<Offset> known_end(Partition) const override { return std::nullopt; }
    std::optional<ConfirmedEnd> confirmed_end(Partition) const override { return std::nullopt; }
    std::optional<Instant> answered_since(Partition) const override { return std::nullopt; }

  private:
    std::vector<Record> records_;
    std::size_t at_ = 0, offered_ = 0;
    Offset next_{};
    bool told_ = false, started_ = false;
};

}  // namespace topkd::test
