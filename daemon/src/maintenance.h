// Upkeep of the counter beside the ingest: seals hours, again and again, on a thread and a connection of its own, so that
// neither waits for the other but in the database. Whatever fails is told once and tried again; it never ends the ingest.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>
#include <tl/expected.hpp>

#include "backoff.h"
#include "sink_error.h"

namespace topkd {

/// The seam to the database.
class Maintainer {
  public:
    virtual ~Maintainer() = default;

    /// Seals what can be sealed; connects first if need be.
    virtual tl::expected<void, SinkError> seal() = 0;

    /// Asks the server to give up the call in progress. Any thread.
    virtual void cancel() = 0;

    /// Breaks the connection, so that a call in progress fails soon. Any thread.
    virtual void abort() = 0;
};

class Maintenance {
  public:
    /// Begins at once. The maintainer outlives this.
    Maintenance(Maintainer& maintainer, std::chrono::milliseconds interval);
    ~Maintenance();  ///< stops, and waits for the thread to end
    Maintenance(const Maintenance&) = delete;
    Maintenance& operator=(const Maintenance&) = delete;

    /// Nothing new is begun, and what is under way is cancelled, in half a second at most; then its connection is broken.
    void stop();

  private:
    void loop();
    std::chrono::milliseconds wait_after(const tl::expected<void, SinkError>& result);

    Maintainer& maintainer_;
    const std::chrono::milliseconds interval_;
    Backoff backoff_;
    std::string trouble_;  // told last, so that it is told once
    std::mutex mutex_;
    std::condition_variable changed_;
    bool stopping_ = false;
    bool ended_ = false;
    std::thread thread_;
};

}  // namespace topkd
