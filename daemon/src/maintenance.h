// Upkeep of the counter beside the ingest: seals hours, rolls them up, makes lists and partitions, and takes away what expired; on a thread
// and a connection of its own, so that neither waits for the other but in the database. Every part goes in bounded steps that take turns,
// so that a long one does not hold up sealing. Whatever fails is told once and tried again; it ends neither the other parts nor the ingest.
#pragma once

#include <array>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>
#include <tl/expected.hpp>

#include "backoff.h"
#include "metrics.h"
#include "sink_error.h"

namespace topkd {

enum class MaintenancePart { kSeal, kRollUp, kRefresh, kPrepare, kExpire, kPartitions };
inline constexpr std::array kMaintenanceParts{MaintenancePart::kSeal,    MaintenancePart::kRollUp, MaintenancePart::kRefresh,
                                              MaintenancePart::kPrepare, MaintenancePart::kExpire, MaintenancePart::kPartitions};
/// As topk.maintain_step and the metrics call them.
inline constexpr std::array<const char*, kMaintenanceParts.size()> kMaintenancePartNames{"seal",    "roll_up", "refresh",
                                                                                         "prepare", "expire",  "partitions"};

/// The seam to the database.
class Maintainer {
  public:
    virtual ~Maintainer() = default;

    /// One bounded step of a part; connects first if need be. True if it did something, so that there may be more to do.
    virtual tl::expected<bool, SinkError> step(MaintenancePart part) = 0;

    /// Asks the server to give up the call in progress. Any thread.
    virtual void cancel() = 0;

    /// Breaks the connection, so that a call in progress fails soon. Any thread.
    virtual void abort() = 0;
};

class Maintenance {
  public:
    /// How many intervals the other parts rest, unless the frontier moved or they have more to do.
    static constexpr int kRest = 10;

    /// Begins at once. Seals every interval. The maintainer and the metrics, which may be null, outlive this.
    Maintenance(Maintainer& maintainer, std::chrono::milliseconds interval, Metrics* metrics = nullptr);
    ~Maintenance();  ///< stops, and waits for the thread to end
    Maintenance(const Maintenance&) = delete;
    Maintenance& operator=(const Maintenance&) = delete;

    /// Nothing new is begun, and what is under way is cancelled, in half a second at most; then its connection is broken.
    void stop();

  private:
    using Instant = std::chrono::steady_clock::time_point;

    struct Turn {
        MaintenancePart part{};
        Instant due{};  // the earliest is next
        Backoff backoff{};
        std::string trouble{};  // told last, so that it is told once
    };

    void loop();
    void plan_next(Turn& turn, const tl::expected<bool, SinkError>& result, Instant now);
    void tell_trouble(Turn& turn, const std::string& trouble);
    void tell_end_of_trouble(Turn& turn);
    bool others_have(const Turn& turn, const std::string& trouble) const;

    Maintainer& maintainer_;
    const std::chrono::milliseconds interval_;
    Metrics* const metrics_;
    std::array<Turn, kMaintenanceParts.size()> turns_;
    std::mutex mutex_;
    std::condition_variable changed_;
    bool stopping_ = false;
    bool ended_ = false;
    std::thread thread_;
};

}  // namespace topkd
