// Whether the database answers, asked at most once a second however many want to know. Any thread.
#pragma once

#include <chrono>
#include <functional>
#include <mutex>
#include <optional>
#include <vector>

#include "clock.h"
#include "serve/problem.h"

namespace topkd {

class Readiness {
  public:
    using Answer = std::function<void(const std::optional<Problem>&)>;
    using Check = std::function<void(std::function<void(std::optional<Problem>)>)>;

    static constexpr std::chrono::milliseconds kOldest{1000};

    /// `check` asks the database, and answers once, at once or later.
    Readiness(Check check, const Clock& clock) : check_(std::move(check)), clock_(clock) {}

    /// None: ready.
    void ask(Answer answer);

  private:
    void finish(Instant begun, const std::optional<Problem>& problem);

    const Check check_;
    const Clock& clock_;
    std::mutex mutex_;
    std::optional<Instant> known_since_;
    std::optional<Problem> problem_;
    bool is_checking_ = false;
    std::vector<Answer> waiting_;
};

}  // namespace topkd
