// The maintenance thread: its parts take turns, it goes on after errors, tells them once, stops at once.
#include "maintenance.h"

#include <gtest/gtest.h>
#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <map>
#include <set>
#include <sstream>
#include <vector>

namespace topkd {
namespace {

using std::chrono::milliseconds;

constexpr auto kParts = kMaintenanceParts.size();

class FakeMaintainer final : public Maintainer {
  public:
    tl::expected<bool, SinkError> step(MaintenancePart part) override {
        std::unique_lock lock(mutex_);
        calls_.push_back(part);
        changed_.notify_all();
        if (hangs) {
            changed_.wait(lock, [this] { return aborted || (cancelled && heeds_cancel); });
            return tl::unexpected(SinkError{SinkErrorKind::kOutage, "57014", "cancelled"});
        }
        if (failing.contains(part) && std::ranges::count(calls_, part) <= failures) {
            return tl::unexpected(SinkError{SinkErrorKind::kRefused, "42501", "not allowed"});
        }
        const auto left = more.find(part);
        return left != more.end() && left->second-- > 0;
    }
    void cancel() override { set(cancelled); }
    void abort() override { set(aborted); }

    /// Until a part was called so often.
    void wait_for(MaintenancePart part, int count) {
        std::unique_lock lock(mutex_);
        ASSERT_TRUE(changed_.wait_for(lock, std::chrono::seconds(30), [&] { return std::ranges::count(calls_, part) >= count; }));
    }
    std::vector<MaintenancePart> calls() {
        const std::lock_guard lock(mutex_);
        return calls_;
    }

    std::set<MaintenancePart> failing{kMaintenanceParts.begin(), kMaintenanceParts.end()};
    int failures = 0;                     ///< of each failing part, at first
    std::map<MaintenancePart, int> more;  ///< how often a part says that it did something
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
    std::vector<MaintenancePart> calls_;
};

/// What is logged while it lives.
class Log {
  public:
    Log() : before_(spdlog::default_logger()) {
        const auto logger = std::make_shared<spdlog::logger>("test", std::make_shared<spdlog::sinks::ostream_sink_mt>(text_));
        logger->set_level(spdlog::level::info);
        spdlog::set_default_logger(logger);
    }
    ~Log() { spdlog::set_default_logger(before_); }
    Log(const Log&) = delete;
    Log& operator=(const Log&) = delete;

    /// Once nothing logs any more.
    std::string text() const { return text_.str(); }

  private:
    std::ostringstream text_;
    std::shared_ptr<spdlog::logger> before_;
};

std::ptrdiff_t count_of(const std::string& text, const std::string& what) {
    std::ptrdiff_t count = 0;
    for (auto at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) {
        ++count;
    }
    return count;
}

TEST(Maintenance, DoesAllPartsInOrderAgainAndAgain) {
    FakeMaintainer maintainer;
    Maintenance maintenance(maintainer, milliseconds(1));
    maintainer.wait_for(kMaintenanceParts.back(), 3);
    const auto calls = maintainer.calls();
    EXPECT_TRUE(std::equal(kMaintenanceParts.begin(), kMaintenanceParts.end(), calls.begin()));
}

TEST(Maintenance, SealsMoreOftenThanTheRest) {
    FakeMaintainer maintainer;
    Maintenance maintenance(maintainer, milliseconds(20));
    maintainer.wait_for(MaintenancePart::kRollUp, 3);
    const auto calls = maintainer.calls();
    EXPECT_GE(std::ranges::count(calls, MaintenancePart::kSeal), 2 * std::ranges::count(calls, MaintenancePart::kRollUp));
}

TEST(Maintenance, ALongPartTakesTurnsWithTheOthers) {
    FakeMaintainer maintainer;
    maintainer.more[MaintenancePart::kRollUp] = 1'000'000;
    maintainer.more[MaintenancePart::kRefresh] = 1'000'000;
    Maintenance maintenance(maintainer, milliseconds(1));
    maintainer.wait_for(MaintenancePart::kRollUp, 100);
    maintainer.wait_for(MaintenancePart::kSeal, 3);
    maintainer.wait_for(kMaintenanceParts.back(), 3);
    const auto calls = maintainer.calls();
    EXPECT_NEAR(static_cast<double>(std::ranges::count(calls, MaintenancePart::kRollUp)),
                static_cast<double>(std::ranges::count(calls, MaintenancePart::kRefresh)), 1);
}

TEST(Maintenance, AnHourSealedIsRolledUpAtOnce) {
    FakeMaintainer maintainer;
    maintainer.more[MaintenancePart::kSeal] = 1;
    {
        Maintenance maintenance(maintainer, std::chrono::hours(1));
        maintainer.wait_for(kMaintenanceParts.back(), 1);
    }
    const auto first = maintainer.calls();
    FakeMaintainer later;
    later.more[MaintenancePart::kSeal] = 1'000'000;
    // The rest would come after a second.
    Maintenance maintenance(later, milliseconds(100));
    later.wait_for(MaintenancePart::kSeal, 5);
    EXPECT_EQ(first.size(), kParts);
    EXPECT_GE(std::ranges::count(later.calls(), MaintenancePart::kRollUp), 4);
}

TEST(Maintenance, ErrorsAreToldOnceAndDoNotEndIt) {
    const Log log;
    FakeMaintainer maintainer;
    maintainer.failures = 3;
    {
        Maintenance maintenance(maintainer, milliseconds(1));
        for (const MaintenancePart part : kMaintenanceParts) {
            maintainer.wait_for(part, 5);
        }
    }
    // The same of all parts, as when the server is away
    EXPECT_EQ(count_of(log.text(), "trying again: not allowed"), 1);
    EXPECT_EQ(count_of(log.text(), "works again"), 1);
}

TEST(Maintenance, APartThatFailsKeepsNoOtherFromItsTurn) {
    const Log log;
    FakeMaintainer maintainer;
    maintainer.failing = {MaintenancePart::kRollUp};
    maintainer.failures = 1'000'000;
    maintainer.more[MaintenancePart::kSeal] = 1'000'000;
    {
        Maintenance maintenance(maintainer, milliseconds(1));
        maintainer.wait_for(MaintenancePart::kSeal, 100);
        maintainer.wait_for(MaintenancePart::kExpire, 20);
        maintainer.wait_for(MaintenancePart::kRollUp, 2);
    }
    EXPECT_LT(std::ranges::count(maintainer.calls(), MaintenancePart::kRollUp), 20);
    EXPECT_EQ(count_of(log.text(), "nothing is rolled up"), 1);
    EXPECT_EQ(count_of(log.text(), "works again"), 0);
}

TEST(Maintenance, StopsInTheMiddleOfTheInterval) {
    FakeMaintainer maintainer;
    {
        Maintenance maintenance(maintainer, std::chrono::hours(1));
        maintainer.wait_for(kMaintenanceParts.back(), 1);
    }
    EXPECT_EQ(maintainer.calls().size(), kParts);
}

TEST(Maintenance, StoppingCancelsTheCallUnderWay) {
    FakeMaintainer maintainer;
    maintainer.hangs = true;
    {
        Maintenance maintenance(maintainer, milliseconds(1));
        maintainer.wait_for(MaintenancePart::kSeal, 1);
    }
    EXPECT_TRUE(maintainer.cancelled);
    EXPECT_FALSE(maintainer.aborted);
}

TEST(Maintenance, ACallThatHeedsNoCancelIsBroken) {
    FakeMaintainer maintainer;
    maintainer.hangs = true;
    maintainer.heeds_cancel = false;
    Maintenance maintenance(maintainer, milliseconds(1));
    maintainer.wait_for(MaintenancePart::kSeal, 1);
    maintenance.stop();
    EXPECT_TRUE(maintainer.aborted);
}

}  // namespace
}  // namespace topkd
