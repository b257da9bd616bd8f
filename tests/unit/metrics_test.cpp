// What /metrics says, of both programs, against the table; and the pipeline's books in it against the database's, through failures whose
// outcome is unknown.
#include "metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <regex>
#include <set>
#include <sstream>
#include <thread>

#include "maintenance.h"
#include "metrics_table.h"
#include "pipeline.h"
#include "pipeline_fakes.h"

namespace topkd::test {
namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;
using testing::Not;

/// The sample's value; none if it is not there. `series` as it is written: name, or name{labels}.
std::optional<double> sample(const std::string& exposition, const std::string& series) {
    std::istringstream lines(exposition);
    for (std::string line; std::getline(lines, line);) {
        if (line.starts_with(series + " ")) return std::stod(line.substr(series.size() + 1));
    }
    return std::nullopt;
}

std::set<std::string> names_in(const std::string& exposition) {
    std::set<std::string> names;
    std::istringstream lines(exposition);
    for (std::string line; std::getline(lines, line);) {
        if (line.starts_with("# TYPE ")) names.insert(line.substr(7, line.find(' ', 7) - 7));
    }
    return names;
}

Batch batch_with_everything() {
    Batch batch;
    PartitionProgress& progress = batch.progress(Partition{0}, 1, Offset{0});
    progress.counted = 2, progress.late = 1, progress.dead = 2, progress.skipped = 5;
    progress.to = Offset{10};
    batch.count(Millis{kNoon}, "a", 1);
    batch.count(Millis{kNoon}, "b", 1);
    batch.note_time(Millis{kNoon}, Millis{kNoon + 100});
    batch.note_time(Millis{kNoon - 10'000}, Millis{kNoon + 100});
    batch.count_late(Millis{kNoon - kHourMs}, "a", 1);
    batch.bury(Record{.partition = Partition{0}, .offset = Offset{3}, .timestamp = {}, .key = {}, .value = {}}, {"not JSON: line 1"});
    batch.bury(Record{.partition = Partition{0}, .offset = Offset{4}, .timestamp = {}, .key = {}, .value = {}}, {"not JSON: line 2"});
    return batch;
}

void do_everything(Metrics& metrics, Metrics::Program program) {
    metrics.request_done("/metrics", 200, milliseconds(3));
    metrics.open_connections(3);
    metrics.open_streams(2);
    if (program == Metrics::Program::kServe) {
        metrics.cache_hit();
        metrics.cache_shared();
        metrics.cache_miss();
        metrics.query_done(milliseconds(2), true);
        metrics.query_done(milliseconds(2), false);
        return;
    }
    metrics.flushed(batch_with_everything(), milliseconds(20), Millis{kNoon + 300});
    metrics.flush_failed(SinkErrorKind::kFenced);
    metrics.call_failed(Metrics::Call::kClaim);
    metrics.rebalanced(Metrics::Rebalance::kLost);
    metrics.rewound();
    metrics.ingest_state({.records_read = 7,
                          .claimed = 1,
                          .topic_partitions = 4,
                          .lags = {{Partition{2}, 12}},
                          .watermark = Millis{kNoon},
                          .sealed_through = Millis{kNoon},
                          .database_up = true});
    metrics.maintained(MaintenancePart::kRollUp, milliseconds(4), true);
    metrics.maintained(MaintenancePart::kRollUp, milliseconds(4), false);
}

class Programs : public testing::TestWithParam<Metrics::Program> {};
INSTANTIATE_TEST_SUITE_P(Metrics, Programs, testing::Values(Metrics::Program::kIngest, Metrics::Program::kServe));

TEST_P(Programs, TellsTheMetricsOfTheTableAndNoOthers) {
    Metrics metrics(GetParam(), GetParam() == Metrics::Program::kIngest ? "c" : "");
    do_everything(metrics, GetParam());
    const std::string program = GetParam() == Metrics::Program::kIngest ? "ingest" : "serve";
    std::set<std::string> expected;
    for (const MetricRow& row : metric_table()) {
        if (std::string(row.programs).find(program) != std::string::npos) expected.insert(row.name);
    }
    const std::string text = metrics.exposition();
    EXPECT_EQ(names_in(text), expected);
    for (const MetricRow& row : metric_table()) {
        if (!expected.contains(row.name)) continue;
        EXPECT_THAT(text, HasSubstr(std::string("# HELP ") + row.name + " " + row.help));
    }
}

TEST_P(Programs, SamplesHaveTheLabelsOfTheTable) {
    Metrics metrics(GetParam(), GetParam() == Metrics::Program::kIngest ? "c" : "");
    do_everything(metrics, GetParam());
    const std::regex line_of(R"(([a-z_]+?)(?:_bucket|_sum|_count)?(?:\{(.*)\})? \S+)"), label_of(R"(([a-z]+)=")");
    std::istringstream lines(metrics.exposition());
    for (std::string line; std::getline(lines, line);) {
        std::smatch parts;
        if (line.starts_with('#') || !std::regex_match(line, parts, line_of)) continue;
        const MetricRow* row = find_metric(parts[1].str());
        ASSERT_NE(row, nullptr) << line;
        std::set<std::string> expected, found;
        std::istringstream names(row->labels);
        for (std::string name; std::getline(names, name, ',');) expected.insert(name);
        if (GetParam() == Metrics::Program::kIngest) expected.insert("counter");
        const std::string labels = parts[2].str();
        for (std::sregex_iterator label(labels.begin(), labels.end(), label_of), end; label != end; ++label)
            found.insert((*label)[1].str());
        found.erase("le");
        EXPECT_EQ(found, expected) << line;
    }
}

TEST(Metrics, CountsAFlushAsItsBooks) {
    Metrics metrics(Metrics::Program::kIngest, "c");
    metrics.flushed(batch_with_everything(), milliseconds(20), Millis{kNoon + 300});
    const std::string text = metrics.exposition();
    EXPECT_EQ(sample(text, R"(topkd_records_total{counter="c"})"), 5);
    EXPECT_EQ(sample(text, R"(topkd_events_total{counter="c"})"), 3);
    EXPECT_EQ(sample(text, R"(topkd_late_events_total{counter="c"})"), 1);
    EXPECT_EQ(sample(text, R"(topkd_skipped_records_total{counter="c"})"), 5);
    EXPECT_EQ(sample(text, R"(topkd_dead_records_total{counter="c",reason="not JSON"})"), 2);
    EXPECT_EQ(sample(text, R"(topkd_flush_rows_sum{counter="c"})"), 5);
    EXPECT_EQ(sample(text, R"(topkd_flush_seconds_sum{counter="c"})"), 0.02);
    EXPECT_EQ(sample(text, R"(topkd_flushes_total{counter="c",result="ok"})"), 1);
    EXPECT_EQ(sample(text, R"(topkd_event_visible_seconds_bucket{counter="c",le="0.25"})"), 0);
    EXPECT_EQ(sample(text, R"(topkd_event_visible_seconds_bucket{counter="c",le="0.5"})"), 1);
    EXPECT_EQ(sample(text, R"(topkd_event_visible_seconds_bucket{counter="c",le="10"})"), 1);
    EXPECT_EQ(sample(text, R"(topkd_event_visible_seconds_bucket{counter="c",le="30"})"), 2);
    EXPECT_NEAR(*sample(text, R"(topkd_event_visible_seconds_sum{counter="c"})"), 10.6, 0.032);
}

TEST(Metrics, AnIdleAdvanceIsNoFlush) {
    Metrics metrics(Metrics::Program::kIngest, "c");
    Batch batch;
    batch.advance_idle(Partition{0}, 1, Offset{3}, Millis{kNoon});
    metrics.flushed(batch, milliseconds(20), Millis{kNoon});
    EXPECT_EQ(sample(metrics.exposition(), R"(topkd_flushes_total{counter="c",result="ok"})"), 0);
    EXPECT_EQ(sample(metrics.exposition(), R"(topkd_flush_seconds_count{counter="c"})"), 0);
}

TEST(Metrics, WhatIsUnknownOrGoneIsMissing) {
    Metrics metrics(Metrics::Program::kIngest, "c");
    metrics.ingest_state({.lags = {{Partition{0}, 5}, {Partition{1}, 6}}, .watermark = Millis{kNoon}, .sealed_through = {}});
    std::string text = metrics.exposition();
    EXPECT_EQ(sample(text, R"(topkd_partition_lag_records{counter="c",partition="1"})"), 6);
    EXPECT_GT(sample(text, R"(topkd_watermark_age_seconds{counter="c"})"), 1e6);
    EXPECT_THAT(text, Not(HasSubstr("topkd_sealed_age_seconds{")));
    metrics.ingest_state({.lags = {{Partition{0}, 4}}, .watermark = {}, .sealed_through = {}});
    text = metrics.exposition();
    EXPECT_EQ(sample(text, R"(topkd_partition_lag_records{counter="c",partition="0"})"), 4);
    EXPECT_THAT(text, Not(HasSubstr(R"(partition="1")")));
    EXPECT_THAT(text, Not(HasSubstr("topkd_watermark_age_seconds{")));
}

TEST(Metrics, LabelsOfStrangersAreBounded) {
    Metrics metrics(Metrics::Program::kServe);
    metrics.request_done("/no/such/route", 404, milliseconds(1));
    metrics.request_done("other", 404, milliseconds(1));
    metrics.request_done("/", 9999, milliseconds(1));
    metrics.request_done("/views/top-k/stream", 200, std::chrono::hours(1));
    const std::string text = metrics.exposition();
    EXPECT_EQ(sample(text, R"(topkd_http_requests_total{route="other",status="404"})"), 2);
    EXPECT_EQ(sample(text, R"(topkd_http_requests_total{route="/views/top-k/stream",status="200"})"), 1);
    EXPECT_THAT(text, Not(HasSubstr(R"(status="9999")")));
    EXPECT_THAT(text, Not(HasSubstr(R"(topkd_http_request_seconds_count{route="/views/top-k/stream"})")));

    Metrics ingest(Metrics::Program::kIngest, "c");
    FlushBooks books;
    for (int i = 0; i < 1000; ++i) books.dead["reason " + std::to_string(i)] = 1;
    ingest.found_committed(books);
    EXPECT_THAT(ingest.exposition(), HasSubstr(R"(reason="other"} 936)"));
    EXPECT_EQ(sample(ingest.exposition(), R"(topkd_records_total{counter="c"})"), 1000);
}

TEST(Metrics, AreToldFromManyThreadsAtOnce) {
    Metrics metrics(Metrics::Program::kServe);
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) {
        threads.emplace_back([&metrics, i] {
            for (int n = 0; n < 2000; ++n) {
                metrics.request_done("/views/top-k", 200 + n % 7, milliseconds(1));
                metrics.cache_hit();
                if (n % 500 == i) metrics.exposition();
            }
        });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(sample(metrics.exposition(), "topkd_cache_hits_total"), 8000);
    EXPECT_EQ(sample(metrics.exposition(), R"(topkd_http_request_seconds_count{route="/views/top-k"})"), 8000);
}

TEST(Metrics, TheProcessIsLookedAt) {
    const std::string text = Metrics(Metrics::Program::kServe).exposition();
    EXPECT_GT(sample(text, "process_resident_memory_bytes"), 1e6);
    EXPECT_GT(sample(text, "process_open_fds"), 2);
    EXPECT_GE(sample(text, "process_max_fds"), sample(text, "process_open_fds"));
    EXPECT_GT(sample(text, "process_start_time_seconds"), 1.6e9);
    EXPECT_LE(sample(text, "process_start_time_seconds"), static_cast<double>(std::time(nullptr)) + 1);
}

/// TOPKD_WRITE_METRICS_PAGE=1 writes it.
TEST(Metrics, ThePageIsTheTable) {
    if (std::getenv("TOPKD_WRITE_METRICS_PAGE") != nullptr) std::ofstream(TOPKD_METRICS_PAGE) << metrics_page();
    std::ifstream file(TOPKD_METRICS_PAGE);
    std::ostringstream text;
    text << file.rdbuf();
    EXPECT_EQ(text.str(), metrics_page()) << "run: TOPKD_WRITE_METRICS_PAGE=1 topkd_unit --gtest_filter=Metrics.ThePageIsTheTable";
}

class PipelineMetricsTest : public testing::Test {
  protected:
    void run(int rounds) {
        for (int i = 0; i < rounds; ++i) {
            worker.run_pending();
            pipeline.step();
            clock.advance(50);
        }
        metrics.ingest_state(pipeline.state());
    }
    double value(const std::string& name, const std::string& more = "") {
        return sample(metrics.exposition(), name + R"({counter="c")" + more + "}").value_or(-1);
    }

    FakeLog log{2};
    Faults faults;
    FakeClock clock;
    FakeDatabase database{clock};
    FakeSink sink{database, faults, "me"};
    FakeSource source{log, faults, clock, 1};
    Metrics metrics{Metrics::Program::kIngest, "c"};
    SinkWorker worker{sink, SinkWorker::Mode::kManual};
    Pipeline pipeline{source, worker, clock,
                      PipelineConfig{.counter = "c", .topic = "t", .growing_bytes = 1 << 16, .ends = {}, .metrics = &metrics}};
};

/// Every call that the run makes fails once, before its effect and after it: what was committed is counted, and once.
TEST(PipelineMetrics, EqualTheDatabasesBooksWhicheverCallFails) {
    int unknown = 0;
    for (const auto kind : {Faults::Kind::kBefore, Faults::Kind::kAfter}) {
        for (int call = 1; call <= 25; ++call) {
            SCOPED_TRACE("call " + std::to_string(call) + (kind == Faults::Kind::kAfter ? " after" : " before"));
            FakeLog log{2};
            FakeClock clock;
            Faults faults;
            FakeDatabase database{clock};
            FakeSink sink{database, faults, "me"};
            FakeSource source{log, faults, clock, 1};
            Metrics metrics{Metrics::Program::kIngest, "c"};
            SinkWorker worker{sink, SinkWorker::Mode::kManual};
            Pipeline pipeline{source, worker, clock,
                              PipelineConfig{.counter = "c", .topic = "t", .growing_bytes = 1 << 16, .ends = {}, .metrics = &metrics}};
            source.push(Assigned{{Partition{0}, Partition{1}}});
            faults.fail_at(call, kind);
            for (int i = 0; i < 400; ++i) {
                if (i < 100) {
                    log.event(i % 2, "v" + std::to_string(i % 7), kNoon + i);
                    log.event(i % 2, "old", kNoon - 20 * kHourMs);
                    if (i % 3 == 0) log.junk(i % 2);
                    if (i % 5 == 0) log.marker(i % 2);
                }
                worker.run_pending();
                pipeline.step();
                clock.advance(50);
            }
            ASSERT_EQ(difference(log, database), "");
            metrics.ingest_state(pipeline.state());
            double counted = 0, late = 0, dead = 0, skipped = 0;
            for (const auto& [partition, row] : database.rows) {
                counted += static_cast<double>(row.counted);
                late += static_cast<double>(row.late);
                dead += static_cast<double>(row.dead);
                skipped += static_cast<double>(row.skipped);
            }
            EXPECT_GT(late, 0);
            const std::string text = metrics.exposition();
            EXPECT_EQ(sample(text, R"(topkd_records_total{counter="c"})"), counted + late + dead);
            EXPECT_EQ(sample(text, R"(topkd_events_total{counter="c"})"), counted + late);
            EXPECT_EQ(sample(text, R"(topkd_late_events_total{counter="c"})"), late);
            EXPECT_EQ(sample(text, R"(topkd_skipped_records_total{counter="c"})"), skipped);
            EXPECT_EQ(sample(text, R"(topkd_partition_lag_records{counter="c",partition="0"})"), 0);
            EXPECT_EQ(sample(text, R"(topkd_database_up{counter="c"})"), 1);
            // visible ones are those of flushes whose answer came
            const bool answered = sample(text, R"(topkd_event_visible_seconds_count{counter="c"})") == counted;
            unknown += answered ? 0 : 1;
        }
    }
    EXPECT_GT(unknown, 0) << "no flush was committed without its answer: the test is too weak";
}

TEST_F(PipelineMetricsTest, TellsWhatBecameOfPartitions) {
    EXPECT_THAT(pipeline.trouble(), HasSubstr("no member"));
    log.event(0, "a", kNoon);
    source.push(Assigned{{Partition{0}, Partition{1}}});
    pipeline.step();
    metrics.ingest_state(pipeline.state());
    EXPECT_EQ(value("topkd_partitions", R"(,state="waiting")"), 2);
    run(40);
    EXPECT_EQ(pipeline.trouble(), "");
    EXPECT_EQ(value("topkd_partitions", R"(,state="claimed")"), 2);
    EXPECT_EQ(value("topkd_topic_partitions"), 2);
    EXPECT_EQ(value("topkd_watermark_age_seconds"), -1) << "partition 1 has no event";
    log.event(1, "a", kNoon - 1000);
    run(40);
    EXPECT_NEAR(value("topkd_watermark_age_seconds"), static_cast<double>(std::time(nullptr)) - (kNoon - 1000) / 1000.0, 5);
    source.push(Revoked{{Partition{0}}, false});
    run(5);
    EXPECT_EQ(value("topkd_rebalances_total", R"(,kind="assigned")"), 1);
    EXPECT_EQ(value("topkd_rebalances_total", R"(,kind="revoked")"), 1);
    EXPECT_EQ(value("topkd_partition_lag_records", R"(,partition="0")"), -1);
    EXPECT_EQ(value("topkd_partition_lag_records", R"(,partition="1")"), 0);
}

TEST_F(PipelineMetricsTest, IsNotReadyWhileTheDatabaseFailsOrAPartitionIsRefused) {
    source.push(Assigned{{Partition{0}}});
    log.event(0, "a", kNoon);
    run(40);
    faults.fail_with(1.0, 1);
    log.event(0, "a", kNoon);
    run(40);
    EXPECT_THAT(pipeline.trouble(), HasSubstr("database"));
    EXPECT_EQ(value("topkd_database_up"), 0);
    EXPECT_EQ(value("topkd_partition_lag_records", R"(,partition="0")"), 1) << "what is not committed is behind";
    EXPECT_GT(value("topkd_retries_total", R"(,call="connect")"), 0);
    faults.fail_with(0.0, 1);
    run(200);
    EXPECT_EQ(pipeline.trouble(), "");
    EXPECT_EQ(value("topkd_database_up"), 1);
    log.at(Partition{0}).clear();  // the topic is made again
    log.event(0, "b", kNoon);
    source.push(PartitionTrouble{Partition{0}, "gone"});
    run(200);
    EXPECT_THAT(pipeline.trouble(), HasSubstr("t/0 is not read"));
    EXPECT_EQ(value("topkd_partitions", R"(,state="refused")"), 1);
}

TEST(MaintenanceMetrics, CountsStepsAndFailuresByPart) {
    class OneFails final : public Maintainer {
      public:
        tl::expected<bool, SinkError> step(MaintenancePart part) override {
            if (part == MaintenancePart::kPrepare) return tl::unexpected(SinkError{SinkErrorKind::kRefused, "42501", "denied"});
            return false;
        }
        void cancel() override {}
        void abort() override {}
    } maintainer;
    Metrics metrics(Metrics::Program::kIngest, "c");
    {
        Maintenance maintenance(maintainer, milliseconds(1), &metrics);
        const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(20);
        while (sample(metrics.exposition(), R"(topkd_maintenance_steps_total{counter="c",part="seal"})") < 3 &&
               std::chrono::steady_clock::now() < until) {
            std::this_thread::yield();
        }
    }
    const std::string text = metrics.exposition();
    EXPECT_GE(sample(text, R"(topkd_maintenance_steps_total{counter="c",part="seal"})"), 3);
    EXPECT_GE(sample(text, R"(topkd_maintenance_failures_total{counter="c",part="prepare"})"), 1);
    EXPECT_EQ(sample(text, R"(topkd_maintenance_steps_total{counter="c",part="prepare"})"), 0);
    EXPECT_EQ(sample(text, R"(topkd_maintenance_failures_total{counter="c",part="seal"})"), 0);
}

}  // namespace
}  // namespace topkd::test
