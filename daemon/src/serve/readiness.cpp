#include "serve/readiness.h"

namespace topkd {

void Readiness::ask(Answer answer) {
    const Instant now = clock_.monotonic();
    std::optional<Problem> known;
    {
        const std::lock_guard lock(mutex_);
        if (!known_since_ || now - *known_since_ > kOldest) {
            waiting_.push_back(std::move(answer));
            if (std::exchange(is_checking_, true)) {
                return;
            }
            answer = nullptr;
        }
        known = problem_;
    }
    if (answer) {
        answer(known);
        return;
    }
    check_([this, now](const std::optional<Problem>& problem) { finish(now, problem); });
}

void Readiness::finish(Instant begun, const std::optional<Problem>& problem) {
    std::vector<Answer> waiting;
    {
        const std::lock_guard lock(mutex_);
        known_since_ = begun;
        problem_ = problem;
        is_checking_ = false;
        waiting.swap(waiting_);
    }
    for (const Answer& answer : waiting) {
        answer(problem);
    }
}

}  // namespace topkd
