// The end of the process does not wait for ever for a library that hangs while it leaves: a broker or a server that went silent.
#pragma once

#include <chrono>
#include <memory>
#include <string>

namespace topkd {

class ExitWatch {
  public:
    /// Ends the process with the code, and the warning in the log, unless this object ends within the limit.
    ExitWatch(std::chrono::milliseconds limit, int exit_code, std::string warning);
    ~ExitWatch();
    ExitWatch(const ExitWatch&) = delete;
    ExitWatch& operator=(const ExitWatch&) = delete;

  private:
    struct State;
    std::shared_ptr<State> state_;  // the thread's too, which may outlive this by a moment
};

}  // namespace topkd
