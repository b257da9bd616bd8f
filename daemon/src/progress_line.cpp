#include "progress_line.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cstdio>

namespace topkd {
namespace {

constexpr std::chrono::milliseconds kTerminalInterval{1000};
constexpr std::chrono::milliseconds kLogInterval{10'000};

std::string short_number(double value) {
    if (value >= 1e6) {
        return fmt::format("{:.1f}M", value / 1e6);
    }
    if (value >= 1e4) {
        return fmt::format("{:.1f}k", value / 1e3);
    }
    return fmt::format("{:.0f}", value);
}

std::string short_time(double seconds) {
    const auto whole = static_cast<std::int64_t>(seconds);
    if (whole >= 3600) {
        return fmt::format("{} h {} min", whole / 3600, whole / 60 % 60);
    }
    if (whole >= 60) {
        return fmt::format("{} min {} s", whole / 60, whole % 60);
    }
    return fmt::format("{} s", whole);
}

}  // namespace

std::string progress_text(const PipelineStats& stats, double rate, std::int64_t lag) {
    std::string text = fmt::format("{} records", short_number(static_cast<double>(stats.records)));
    if (stats.late > 0) {
        text += fmt::format(", {} late", short_number(static_cast<double>(stats.late)));
    }
    text += fmt::format(", {}/s", short_number(rate));
    if (lag > 0) {
        text += fmt::format(", {} behind", short_number(static_cast<double>(lag)));
        if (rate >= 1) {
            text += fmt::format(" ({})", short_time(static_cast<double>(lag) / rate));
        }
    }
    return text + fmt::format(", last flush {} ms", stats.last_flush.count());
}

ProgressLine::ProgressLine(bool terminal, const Clock& clock) : terminal_(terminal), clock_(clock), shown_at_(clock.monotonic()) {}

ProgressLine::~ProgressLine() {
    if (line_open_) {
        std::fputc('\n', stderr);
    }
}

void ProgressLine::update(const Pipeline& pipeline) {
    const Instant now = clock_.monotonic();
    if (now - shown_at_ < (terminal_ ? kTerminalInterval : kLogInterval)) {
        return;
    }
    const std::uint64_t records = pipeline.stats().records;
    const double seconds = std::chrono::duration<double>(now - shown_at_).count();
    const double rate = static_cast<double>(records - shown_records_) / seconds;
    const bool quiet = records == shown_records_;
    const std::string text = progress_text(pipeline.stats(), rate, pipeline.lag());
    if (terminal_) {
        fmt::print(stderr, "\r{:<78}", text);
        std::fflush(stderr);
        line_open_ = true;
    } else if (!quiet || !quiet_) {  // one line after the last record, then silence
        spdlog::info("{}", text);
    }
    quiet_ = quiet;
    shown_at_ = now;
    shown_records_ = records;
}

}  // namespace topkd
