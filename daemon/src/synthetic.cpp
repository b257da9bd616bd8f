#include "synthetic.h"

#include <fmt/compile.h>
#include <fmt/format.h>

#include <numeric>

namespace topkd {

SyntheticSequence::SyntheticSequence(const SyntheticSettings& settings, Millis begun)
    : settings_(settings), begun_(begun), random_(settings.seed), zipf_(settings.videos, settings.zipf) {}

void SyntheticSequence::next(Millis now, SyntheticRecord& record) {
    const std::uint64_t video = video_number(zipf_(random_), settings_.videos);
    record.timestamp = scheduled(now);
    std::int64_t time = raw(record.timestamp);
    if (settings_.disorder.count() > 0) {
        time -= static_cast<std::int64_t>(uniform(random_) * static_cast<double>(settings_.disorder.count() + 1));
    }
    record.key.clear();
    fmt::format_to(std::back_inserter(record.key), FMT_COMPILE("vid_{}"), video);
    record.value.clear();
    fmt::format_to(std::back_inserter(record.value), FMT_COMPILE(R"({{"video_id":"{}","ts":{}}})"), record.key, time);
    ++index_;
}

std::uint64_t SyntheticSequence::video_number(std::uint64_t rank, std::uint64_t videos) {
    if (videos > (std::uint64_t{1} << 31)) {  // the product below would overflow; such a catalogue keeps its order
        return rank;
    }
    // A step near the golden ratio of the catalogue, made coprime to it, visits every number once.
    std::uint64_t step = static_cast<std::uint64_t>(static_cast<double>(videos) * 0.6180339887) | 1;
    while (std::gcd(step, videos) != 1) {
        step += 2;
    }
    return rank * step % videos + 1;
}

Millis SyntheticSequence::scheduled(Millis now) const {
    if (!settings_.start) {
        const auto elapsed = static_cast<double>(raw(now) - raw(begun_));
        return Millis{raw(begun_) + static_cast<std::int64_t>(elapsed * settings_.time_scale)};
    }
    const double rate = settings_.rate > 0 ? settings_.rate : kNominalRate;
    const double elapsed = static_cast<double>(index_) * 1000.0 / rate * settings_.time_scale;
    return Millis{raw(*settings_.start) + static_cast<std::int64_t>(elapsed)};
}

}  // namespace topkd
