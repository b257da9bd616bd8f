// How long to wait before the next attempt: doubling from 100 ms to 5 s, back to the beginning after a success.
#pragma once

#include <algorithm>
#include <chrono>

namespace topkd {

class Backoff {
  public:
    static constexpr std::chrono::milliseconds kFirst{100};
    static constexpr std::chrono::milliseconds kLongest{5000};

    /// The wait before the next attempt; longer at every call.
    std::chrono::milliseconds next() {
        const auto wait = wait_;
        wait_ = std::min(wait_ * 2, kLongest);
        return wait;
    }

    void reset() { wait_ = kFirst; }

  private:
    std::chrono::milliseconds wait_ = kFirst;
};

}  // namespace topkd
