// Shows how a catch-up goes: one line rewritten in place on a terminal, else a log line every ten seconds while there is
// something to report. Standard error, like the log.
#pragma once

#include <cstdint>
#include <string>

#include "clock.h"
#include "pipeline.h"

namespace topkd {

class ProgressLine {
  public:
    ProgressLine(bool terminal, const Clock& clock);
    ~ProgressLine();  ///< ends the line on a terminal
    ProgressLine(const ProgressLine&) = delete;
    ProgressLine& operator=(const ProgressLine&) = delete;

    /// Call often; writes once a second on a terminal, else every ten seconds.
    void update(const Pipeline& pipeline);

  private:
    const bool terminal_;
    const Clock& clock_;
    Instant shown_at_;
    std::uint64_t shown_records_ = 0;
    bool line_open_ = false;
    bool quiet_ = true;
};

/// "1.2M records, 310 late, 45.0k/s, 3.1M behind (1 min 9 s), last flush 35 ms".
std::string progress_text(const PipelineStats& stats, double rate, std::int64_t lag);

}  // namespace topkd
