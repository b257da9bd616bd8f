// Time as the pipeline sees it, passed in so that tests own it: the wall clock decides about events, the monotonic clock
// about waiting.
#pragma once

#include <chrono>

#include "types.h"

namespace topkd {

using Instant = std::chrono::steady_clock::time_point;

class Clock {
  public:
    virtual ~Clock() = default;
    virtual Millis wall() const = 0;
    virtual Instant monotonic() const = 0;
};

class SystemClock final : public Clock {
  public:
    Millis wall() const override {
        const auto since_epoch = std::chrono::system_clock::now().time_since_epoch();
        return Millis{std::chrono::duration_cast<std::chrono::milliseconds>(since_epoch).count()};
    }
    Instant monotonic() const override { return std::chrono::steady_clock::now(); }
};

}  // namespace topkd
