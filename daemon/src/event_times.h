// The times of a batch's events, counted in bins, so that it can be told later, when the batch is committed and at no cost for an event
// but an increment, how long each of them took to be seen. Bins are 16 ms wide around the clock of the first event (from half a minute
// before it to a hundred seconds after), and an eighth of the age before that. A bin stands for its oldest time: ages are never too small.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "types.h"

namespace topkd {

class EventTimes {
  public:
    void add(Millis time, Millis wall) {
        if (fine_.empty()) {
            begin(wall);
        }
        const std::int64_t offset = raw(time) - raw(first_);
        if (offset >= 0) {
            ++fine_[std::min(static_cast<std::size_t>(offset >> kFineBits), kFine - 1)];
        } else {
            ++coarse_[bin_of(static_cast<std::uint64_t>(-offset))];
        }
    }

    /// Calls visit(time, count) for every bin that is not empty.
    template <typename Visit>
    void each(Visit visit) const {
        for (std::size_t i = 0; i < fine_.size(); ++i) {
            if (fine_[i] > 0) {
                visit(Millis{raw(first_) + (static_cast<std::int64_t>(i) << kFineBits)}, fine_[i]);
            }
        }
        for (std::size_t i = 0; i < coarse_.size(); ++i) {
            if (coarse_[i] > 0) {
                visit(Millis{raw(first_) - static_cast<std::int64_t>(greatest_of(i))}, coarse_[i]);
            }
        }
    }

    void clear() {
        fine_.clear();
        coarse_.clear();
    }

  private:
    static constexpr unsigned kFineBits = 4;
    static constexpr std::size_t kFine = 8192;
    static constexpr std::int64_t kBefore = 30'000;
    static constexpr unsigned kStepBits = 3;  // steps of a power of two
    static constexpr std::size_t kCoarse = (64 - kStepBits) << kStepBits;

    void begin(Millis wall) {
        first_ = Millis{raw(wall) - kBefore};
        fine_.assign(kFine, 0);
        coarse_.assign(kCoarse, 0);
    }

    static std::size_t bin_of(std::uint64_t age) {
        if (age < (1u << kStepBits)) {
            return age;
        }
        const auto shift = static_cast<unsigned>(std::bit_width(age)) - 1 - kStepBits;
        return ((shift + 1) << kStepBits) + ((age >> shift) & ((1u << kStepBits) - 1));
    }

    static std::uint64_t greatest_of(std::size_t bin) {
        if (bin < (1u << kStepBits)) {
            return bin;
        }
        const std::size_t shift = (bin >> kStepBits) - 1;
        const std::uint64_t least = ((1u << kStepBits) + (bin & ((1u << kStepBits) - 1))) << shift;
        return least + (std::uint64_t{1} << shift) - 1;
    }

    Millis first_{};  // of the fine bins
    std::vector<std::uint32_t> fine_, coarse_;
};

}  // namespace topkd
