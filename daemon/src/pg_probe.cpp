#include "pg_probe.h"

#include <libpq-fe.h>

#include <array>
#include <utility>

namespace topkd {

PgProbe::PgProbe(std::string conninfo) : conninfo_(std::move(conninfo)), thread_([this] { loop(); }) {}

PgProbe::~PgProbe() {
    {
        const std::lock_guard lock(mutex_);
        ending_ = true;
    }
    changed_.notify_all();
    thread_.join();
}

void PgProbe::ask(Done done) {
    {
        const std::lock_guard lock(mutex_);
        asked_ = std::move(done);
    }
    changed_.notify_all();
}

void PgProbe::loop() {
    for (;;) {
        Done done;
        {
            std::unique_lock lock(mutex_);
            changed_.wait(lock, [this] { return ending_ || asked_; });
            if (ending_) {
                return;
            }
            done = std::exchange(asked_, nullptr);
        }
        done(answers());
    }
}

bool PgProbe::answers() const {
    // In this order: what comes later wins, and a name in the connection string over ours
    constexpr std::array<const char*, 4> kNames{"fallback_application_name", "dbname", "connect_timeout", nullptr};
    const std::array<const char*, 4> values{"topkd probe", conninfo_.c_str(), "2", nullptr};
    return PQpingParams(kNames.data(), values.data(), /*expand_dbname=*/1) == PQPING_OK;
}

}  // namespace topkd
