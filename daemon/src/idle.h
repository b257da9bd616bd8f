// The clock that an idle partition's watermark follows. The database clamps what it is sent to its own clock; to know what
// it stored, the daemon must never send more. So it takes the wall clock, but not beyond the database's, as far as answers
// have told it: an answer was made before it was received, hence the estimate is behind the database's clock, never ahead.
#pragma once

#include <algorithm>
#include <chrono>
#include <optional>

#include "clock.h"
#include "types.h"

namespace topkd {

class DatabaseClock {
  public:
    /// The database's clock stood at `time` some time before `received`.
    void heard(std::optional<Millis> time, Instant received) {
        if (time) {
            anchor_ = Anchor{*time, received};
        }
    }

    /// The wall clock, held back to what the database's clock surely shows. None before the first answer.
    std::optional<Millis> bound(Millis wall, Instant now) const {
        if (!anchor_) {
            return std::nullopt;
        }
        const auto since = std::chrono::floor<std::chrono::milliseconds>(now - anchor_->received);
        return std::min(wall, Millis{raw(anchor_->time) + since.count()});
    }

  private:
    struct Anchor {
        Millis time{};
        Instant received;
    };
    std::optional<Anchor> anchor_;
};

}  // namespace topkd
