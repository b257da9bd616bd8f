// Asks, on a thread of its own, whether a server accepts connections: the thread that asks never waits, and the connections that do the
// work are not needed for it. Says nothing about rights.
#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

namespace topkd {

class PgProbe {
  public:
    using Done = std::function<void(bool answers)>;

    explicit PgProbe(std::string conninfo);
    ~PgProbe();  ///< waits for a question under way; what was asked behind it is not answered
    PgProbe(const PgProbe&) = delete;
    PgProbe& operator=(const PgProbe&) = delete;

    /// One question at a time. Answers later, on the probe's thread, after a few seconds at most for each host.
    void ask(Done done);

  private:
    void loop();
    bool answers() const;

    const std::string conninfo_;
    std::mutex mutex_;
    std::condition_variable changed_;
    Done asked_;
    bool ending_ = false;
    std::thread thread_;
};

}  // namespace topkd
