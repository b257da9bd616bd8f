#include "exit_watch.h"

#include <spdlog/spdlog.h>
#include <unistd.h>

#include <condition_variable>
#include <mutex>
#include <thread>

namespace topkd {

struct ExitWatch::State {
    std::mutex mutex;
    std::condition_variable changed;
    bool left = false;
};

ExitWatch::ExitWatch(std::chrono::milliseconds limit, int exit_code, std::string warning) : state_(std::make_shared<State>()) {
    std::thread([state = state_, limit, exit_code, warning = std::move(warning)] {
        std::unique_lock lock(state->mutex);
        if (!state->changed.wait_for(lock, limit, [&] { return state->left; })) {
            spdlog::warn("{}", warning);
            spdlog::default_logger()->flush();
            ::_exit(exit_code);
        }
    }).detach();
}

ExitWatch::~ExitWatch() {
    const std::lock_guard lock(state_->mutex);
    state_->left = true;
    state_->changed.notify_all();
}

}  // namespace topkd
