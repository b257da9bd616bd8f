// The maintenance thread: goes on after errors, tells them once, stops at once.
#include "maintenance.h"

#include <gtest/gtest.h>
#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>

#include <sstream>

namespace topkd {
namespace {

using std::chrono::milliseconds;

class FakeMaintainer final : public Maintainer {
  public:
    tl::expected<void, SinkError> seal() override {
        std::unique_lock lock(mutex_);
        ++calls_;
        changed_.notify_all();
        if (hangs) {
            changed_.wait(lock, [this] { return aborted || (cancelled && heeds_cancel); });
            return tl::unexpected(SinkError{SinkErrorKind::kOutage, "57014", "cancelled"});
        }
        if (calls_ <= failures) {
            return tl::unexpected(SinkError{SinkErrorKind::kRefused, "42501", "not allowed"});
        }
        return {};
    }
    void cancel() override { set(cancelled); }
    void abort() override { set(aborted); }

    void wait_for_calls(int count) {
        std::unique_lock lock(mutex_);
        ASSERT_TRUE(changed_.wait_for(lock, std::chrono::seconds(30), [&] { return calls_ >= count; }));
    }
    int calls() {
        const std::lock_guard lock(mutex_);
        return calls_;
    }

    int failures = 0;
    bool hangs = false;
    bool heeds_cancel = true;
    bool cancelled = false;
    bool aborted = false;

  private:
    void set(bool& flag) {
        const std::lock_guard lock(mutex_);
        flag = true;
        changed_.notify_all();
    }

    std::mutex mutex_;
    std::condition_variable changed_;
    int calls_ = 0;
};

TEST(Maintenance, SealsAgainAndAgain) {
    FakeMaintainer maintainer;
    Maintenance maintenance(maintainer, milliseconds(1));
    maintainer.wait_for_calls(3);
}

TEST(Maintenance, ErrorsAreToldOnceAndDoNotEndIt) {
    std::ostringstream text;
    const auto before = spdlog::default_logger();
    const auto logger = std::make_shared<spdlog::logger>("test", std::make_shared<spdlog::sinks::ostream_sink_mt>(text));
    spdlog::set_default_logger(logger);
    logger->set_level(spdlog::level::info);
    FakeMaintainer maintainer;
    maintainer.failures = 3;
    {
        Maintenance maintenance(maintainer, milliseconds(1));
        maintainer.wait_for_calls(5);
    }
    spdlog::set_default_logger(before);
    const std::string said = text.str();
    EXPECT_NE(said.find("not allowed"), std::string::npos);
    EXPECT_EQ(said.find("not allowed"), said.rfind("not allowed"));
    EXPECT_NE(said.find("works again"), std::string::npos);
}

TEST(Maintenance, StopsInTheMiddleOfTheInterval) {
    FakeMaintainer maintainer;
    {
        Maintenance maintenance(maintainer, std::chrono::hours(1));
        maintainer.wait_for_calls(1);
    }
    EXPECT_EQ(maintainer.calls(), 1);
}

TEST(Maintenance, StoppingCancelsTheCallUnderWay) {
    FakeMaintainer maintainer;
    maintainer.hangs = true;
    {
        Maintenance maintenance(maintainer, milliseconds(1));
        maintainer.wait_for_calls(1);
    }
    EXPECT_TRUE(maintainer.cancelled);
    EXPECT_FALSE(maintainer.aborted);
}

TEST(Maintenance, ACallThatHeedsNoCancelIsBroken) {
    FakeMaintainer maintainer;
    maintainer.hangs = true;
    maintainer.heeds_cancel = false;
    Maintenance maintenance(maintainer, milliseconds(1));
    maintainer.wait_for_calls(1);
    maintenance.stop();
    EXPECT_TRUE(maintainer.aborted);
}

}  // namespace
}  // namespace topkd
