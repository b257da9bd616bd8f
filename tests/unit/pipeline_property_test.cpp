// Exactly once, whatever happens: the real pipeline and worker between a fake log and a fake database that fail at every
// call, before and after its effect, while partitions move between two members, windows are sealed and records are bad.
// Seeds are printed with a failure; TOPKD_SEED sets the first one, TOPKD_RUNS how many.
#include <gtest/gtest.h>
#include <spdlog/spdlog.h>

#include <cstdlib>
#include <memory>

#include "pipeline.h"
#include "pipeline_fakes.h"

namespace topkd::test {
namespace {

// The failures made up here would fill the test's output with warnings.
[[maybe_unused]] const bool quiet = [] {
    spdlog::set_level(spdlog::level::off);
    return true;
}();

int environment_number(const char* name, int otherwise) {
    const char* text = std::getenv(name);
    return text == nullptr ? otherwise : std::atoi(text);
}

struct Member {
    FakeSink sink;
    FakeSource source;
    SinkWorker worker;
    Pipeline pipeline;
    std::set<Partition> owned;

    Member(FakeLog& log, FakeDatabase& database, Faults& faults, const FakeClock& clock, SinkWorker::Mode mode, const std::string& name,
           unsigned seed)
        : sink(database, faults, name),
          source(log, faults, clock, seed),
          worker(sink, mode),
          pipeline(source, worker, clock, PipelineConfig{.counter = "c", .topic = "t", .growing_bytes = 1 << 14, .ends = {}}) {}
};

/// A world with a log of events, markers, junk and poison, a database, a clock, and members that share the partitions.
class World {
  public:
    World(unsigned seed, int members, SinkWorker::Mode mode) : random_(seed), mode_(mode) {
        for (int i = 0; i < members; ++i) {
            members_.push_back(
                std::make_unique<Member>(log, database, faults, clock_, mode, "m" + std::to_string(i), static_cast<unsigned>(random_())));
            members_.back()->source.redelivery = 0.01;
            members_.back()->source.overtaking = 0.5;
        }
    }

    void fill(int records) {
        for (int i = 0; i < records; ++i) {
            const int partition = pick(kPartitions);
            const int kind = pick(100);
            const std::int64_t time = kNoon - pick(5) * kHourMs + pick(static_cast<int>(kHourMs));
            if (kind < 4) {
                log.marker(partition);
            } else if (kind < 7) {
                log.junk(partition);
            } else if (kind < 8) {
                log.event(partition, "poison" + std::to_string(i), time);
            } else {
                log.event(partition, "v" + std::to_string(pick(20)), time, 1 + pick(9));
            }
        }
    }

    /// Event time goes on over several hours, in each partition at its own pace, with disorder in both clocks.
    void fill_in_time(int records) {
        const std::int64_t disorder = 3 * kHourMs / 2 + pick(static_cast<int>(2 * kHourMs));
        for (int i = 0; i < records; ++i) {
            const int partition = pick(kPartitions);
            const std::int64_t base = kNoon - 8 * kHourMs + i * (9 * kHourMs / records) - partition * kHourMs / 2;
            const std::int64_t time = base - pick(static_cast<int>(disorder));
            const int kind = pick(100);
            if (kind < 3) {
                log.marker(partition);
            } else if (kind < 5) {
                log.junk(partition);
            } else if (kind < 6) {
                log.event(partition, "poison" + std::to_string(i), base + kHourMs);  // must not drag the watermark
            } else if (kind < 8) {
                log.event_at(partition, "v" + std::to_string(pick(20)), base + kHourMs, base - kHourMs, 1 + pick(9));
            } else {
                log.event(partition, "v" + std::to_string(pick(20)), time, 1 + pick(9));
            }
        }
    }

    void assign_all() {
        for (int i = 0; i < kPartitions; ++i) give(Partition{i}, i % static_cast<int>(members_.size()));
    }

    /// One round: every member steps, its jobs run or not, time passes, and now and then something happens.
    void round(bool trouble) {
        for (auto& member : members_) {
            if (mode_ == SinkWorker::Mode::kManual && pick(3) > 0) member->worker.run_pending();
            ASSERT_NE(member->pipeline.step(), Pipeline::Status::kFailed) << member->pipeline.failure();
        }
        clock_.advance(pick(120));
        finish_moves();
        if (!trouble) return;
        if (pick(40) == 0) move(pick(2) == 0);
        if (pick(150) == 0) database.restart();
        if (forced_seals && pick(150) == 0) seal();
        if (!forced_seals && pick(10) == 0) database.seal(kPartitions);
        if (pick(60) == 0) log.leaderless = pick(2) == 0 ? std::set<Partition>{} : std::set{Partition{pick(kPartitions)}};
        if (damages && pick(60) == 0) {
            log.damaged.clear();
            if (pick(2) == 0) log.damaged = {{Partition{pick(kPartitions)}, Offset{pick(150)}}};
        }
        if (pick(100) == 0)
            members_[static_cast<std::size_t>(pick(static_cast<int>(members_.size())))]->source.push(
                PartitionTrouble{Partition{pick(kPartitions)}, "made up"});
    }

    bool complete() {
        const std::lock_guard lock(database.mutex);
        for (int i = 0; i < kPartitions; ++i) {
            const auto found = database.rows.find(Partition{i});
            if (found == database.rows.end() || found->second.next != Offset{log.end(Partition{i})}) return false;
        }
        return moves_.empty();
    }

    void run(int troubled_rounds) {
        for (int i = 0; i < troubled_rounds && !testing::Test::HasFatalFailure(); ++i) round(true);
        faults.fail_with(0, 0);
        log.leaderless.clear();
        log.damaged.clear();
        for (int i = 0; i < 20'000 && !complete() && !testing::Test::HasFatalFailure(); ++i) {
            round(false);
            for (auto& member : members_) {
                // The rounds are counted: on a busy machine they would be over before a worker's thread ran at all.
                if (!member->worker.idle()) member->worker.wait(std::chrono::milliseconds(20));
            }
        }
    }

    static constexpr int kPartitions = 4;
    FakeLog log{kPartitions};
    FakeClock clock_;
    FakeDatabase database{clock_};
    Faults faults;
    bool damages = false;      // records cannot be read for a while
    bool forced_seals = true;  // at any hour, as if by partitions of others; else as topk.seal does

  private:
    struct Move {
        Partition partition;
        std::size_t from;
        std::size_t to;
    };

    int pick(int below) { return std::uniform_int_distribution<int>(0, below - 1)(random_); }

    void give(Partition p, int member) {
        members_[static_cast<std::size_t>(member)]->owned.insert(p);
        members_[static_cast<std::size_t>(member)]->source.push(Assigned{{p}});
    }

    /// In order: the new owner gets the partition when the old one has answered. Lost: at once, and the old one learns it
    /// when it polls next.
    void move(bool lost) {
        if (members_.size() < 2 || !moves_.empty()) return;
        const auto from = static_cast<std::size_t>(pick(static_cast<int>(members_.size())));
        if (members_[from]->owned.empty()) return;
        const Partition p = *members_[from]->owned.begin();
        const std::size_t to = (from + 1) % members_.size();
        members_[from]->owned.erase(p);
        if (lost) {
            give(p, static_cast<int>(to));
            members_[from]->source.lost = true;
            members_[from]->source.push(Revoked{{p}, true});
        } else {
            members_[from]->source.await({p});
            members_[from]->source.push(Revoked{{p}, false});
            moves_.push_back({p, from, to});
        }
    }

    void finish_moves() {
        std::erase_if(moves_, [this](const Move& one) {
            if (!members_[one.from]->source.acknowledged(one.partition)) return false;
            give(one.partition, static_cast<int>(one.to));
            return true;
        });
    }

    void seal() {
        const std::lock_guard lock(database.mutex);
        const std::int64_t now = database.sealed ? raw(*database.sealed) : kNoon - 6 * kHourMs;
        database.sealed = Millis{std::min(now + kHourMs, kNoon - kHourMs)};
    }

    std::mt19937 random_;
    SinkWorker::Mode mode_;
    std::vector<std::unique_ptr<Member>> members_;
    std::vector<Move> moves_;
};

std::string run_random(unsigned seed, int members, SinkWorker::Mode mode, bool compare_and_set) {
    World world(seed, members, mode);
    world.database.compare_and_set = compare_and_set;
    world.damages = seed % 2 == 1;
    world.fill(600);
    world.assign_all();
    world.faults.fail_with(0.05, seed);
    world.run(400);
    const std::lock_guard lock(world.database.mutex);
    return difference(world.log, world.database);
}

TEST(PipelineProperty, OneMemberCountsEachRecordOnceThroughRandomFailures) {
    const int first = environment_number("TOPKD_SEED", 1);
    for (int seed = first; seed < first + environment_number("TOPKD_RUNS", 60); ++seed) {
        ASSERT_EQ(run_random(static_cast<unsigned>(seed), 1, SinkWorker::Mode::kManual, true), "") << "TOPKD_SEED=" << seed;
    }
}

TEST(PipelineProperty, TwoMembersCountEachRecordOnceWhilePartitionsMove) {
    const int first = environment_number("TOPKD_SEED", 1);
    for (int seed = first; seed < first + environment_number("TOPKD_RUNS", 100); ++seed) {
        ASSERT_EQ(run_random(static_cast<unsigned>(seed), 2, SinkWorker::Mode::kManual, true), "") << "TOPKD_SEED=" << seed;
    }
}

TEST(PipelineProperty, TheSameHoldsWithTheWorkersOwnThreads) {
    const int first = environment_number("TOPKD_SEED", 1);
    for (int seed = first; seed < first + 5; ++seed) {
        ASSERT_EQ(run_random(static_cast<unsigned>(seed), 2, SinkWorker::Mode::kThread, true), "") << "TOPKD_SEED=" << seed;
    }
}

/// Without idle advances the split into hours and late views is the same in every replay: what failures, rewinds, moves and
/// seals may happen does not change it.
std::string run_in_time(unsigned seed, int members, SinkWorker::Mode mode) {
    World world(seed, members, mode);
    std::mt19937 random(seed);
    world.database.lateness = std::chrono::milliseconds(random() % 4 == 0 ? 0 : random() % kHourMs);
    world.forced_seals = false;
    world.fill_in_time(600);
    world.assign_all();
    world.faults.fail_with(0.05, seed);
    world.run(400);
    const std::lock_guard lock(world.database.mutex);
    if (const std::string wrong = difference(world.log, world.database); !wrong.empty()) return wrong;
    const Split split = expected_split(world.log, world.database.lateness);
    if (split.late.empty() || split.hours.empty()) return "the split is trivial, the test shows nothing";
    if (world.database.hours != split.hours) return "the hours differ";
    return world.database.late == split.late ? "" : "the late views differ";
}

TEST(PipelineProperty, TheSplitIntoHoursAndLateViewsIsTheSameInEveryReplay) {
    const int first = environment_number("TOPKD_SEED", 1);
    for (int seed = first; seed < first + environment_number("TOPKD_RUNS", 60); ++seed) {
        ASSERT_EQ(run_in_time(static_cast<unsigned>(seed), 1 + seed % 2, SinkWorker::Mode::kManual), "") << "TOPKD_SEED=" << seed;
    }
}

TEST(PipelineProperty, TheSplitIsTheSameWithTheWorkersOwnThreads) {
    const int first = environment_number("TOPKD_SEED", 1);
    for (int seed = first; seed < first + 3; ++seed) {
        ASSERT_EQ(run_in_time(static_cast<unsigned>(seed), 2, SinkWorker::Mode::kThread), "") << "TOPKD_SEED=" << seed;
    }
}

/// With idle advances, at random points between bursts of records: every record is counted once, no sealed hour changes,
/// and the last hour seals when all has fallen silent, whatever failed before.
std::string run_idle(unsigned seed, int members) {
    World world(seed, members, SinkWorker::Mode::kManual);
    world.database.idle_timeout = std::chrono::seconds(3);
    world.database.lateness = std::chrono::seconds(60);
    world.forced_seals = false;
    world.assign_all();
    world.faults.fail_with(0.03, seed);
    for (int burst = 0; burst < 3; ++burst) {
        world.fill_in_time(150);
        for (int i = 0; i < 150; ++i) world.round(true);
    }
    world.run(50);
    const std::int64_t last_hour_end = kNoon + 2 * kHourMs;
    for (int i = 0; i < 400 && (!world.database.sealed || raw(*world.database.sealed) < last_hour_end); ++i) {
        for (int j = 0; j < 10; ++j) world.round(false);
        world.clock_.advance(60'000);
        world.database.seal(World::kPartitions);
    }
    if (!world.database.sealed || raw(*world.database.sealed) < last_hour_end) return "the last hour does not seal";
    if (world.database.idle_advances == 0) return "nothing was idle, the test shows nothing";
    return difference(world.log, world.database);
}

TEST(PipelineProperty, SilentPartitionsLetTheLastHourSealAndLoseNothing) {
    const int first = environment_number("TOPKD_SEED", 1);
    for (int seed = first; seed < first + environment_number("TOPKD_RUNS", 40); ++seed) {
        ASSERT_EQ(run_idle(static_cast<unsigned>(seed), 1 + seed % 2), "") << "TOPKD_SEED=" << seed;
    }
}

// The negative control: a property that cannot fail proves nothing.
TEST(PipelineProperty, WithoutTheCompareAndSetTheCountsAreWrong) {
    int wrong = 0;
    for (unsigned seed = 1; seed <= 400 && wrong == 0; ++seed) {
        wrong += run_random(seed, 2, SinkWorker::Mode::kManual, false).empty() ? 0 : 1;
    }
    EXPECT_GT(wrong, 0);
}

TEST(PipelineProperty, AnyOneCallMayFailBeforeOrAfterItsEffect) {
    const auto run = [](int call, Faults::Kind kind) {
        World world(7, 1, SinkWorker::Mode::kManual);
        world.fill(120);
        world.assign_all();
        world.faults.fail_at(call, kind);
        for (int i = 0; i < 5000 && !world.complete(); ++i) world.round(false);
        EXPECT_EQ(difference(world.log, world.database), "") << "call " << call << " kind " << static_cast<int>(kind);
        return world.faults.calls();
    };
    const int calls = run(0, Faults::Kind::kNone);
    ASSERT_GT(calls, 5);
    for (int call = 1; call <= calls; ++call) {
        run(call, Faults::Kind::kBefore);
        run(call, Faults::Kind::kAfter);
    }
}

}  // namespace
}  // namespace topkd::test
