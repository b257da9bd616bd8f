// Reads ranges of a topic's offsets, once and in order, as a consumer would see them (read_committed): the verifier's own
// consumer loop, without a group's assignments or commits.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <tl/expected.hpp>
#include <vector>

#include "kafka_handle.h"
#include "verify_recount.h"

namespace topkd::verify {

/// Offsets [from, to).
struct OffsetRange {
    std::int64_t from = 0;
    std::int64_t to = 0;
};

using Ranges = std::map<int, OffsetRange>;  // by partition

class LogReader {
  public:
    static tl::expected<LogReader, std::string> open(const std::string& brokers, const std::string& topic,
                                                     const std::vector<std::string>& properties);

    /// The offsets that the log of a partition still has.
    tl::expected<OffsetRange, std::string> available(int partition) const;

    /// Empty if the brokers do not say.
    std::string cluster_id() const;

    /// Delivers every record of the ranges; the text of the first error, the callback's or the log's, or none. Fails where
    /// the log ends before a range does.
    using OnRecord = std::function<std::optional<std::string>(const LogRecord&)>;
    std::optional<std::string> read(const Ranges& ranges, const OnRecord& on_record);

  private:
    LogReader(KafkaHandle handle, std::string topic) : handle_(std::move(handle)), topic_(std::move(topic)) {}

    std::optional<std::string> assign(const Ranges& ranges);
    void finish(int partition);

    KafkaHandle handle_;
    std::string topic_;
    Ranges open_;  ///< what is still to be read
};

}  // namespace topkd::verify
