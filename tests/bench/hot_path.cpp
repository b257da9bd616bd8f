// The consuming thread's work without Kafka and database: what an event costs from its bytes in memory to its sum, as a whole and step by
// step.
#include <benchmark/benchmark.h>
#include <spdlog/spdlog.h>

#include <string>
#include <vector>

#include "aggregate.h"
#include "decode.h"
#include "fingerprint.h"
#include "pipeline.h"
#include "pipeline_fakes.h"
#include "steady_source.h"
#include "synthetic.h"

namespace topkd {
namespace {

constexpr std::size_t kEvents = 1'000'000;
constexpr std::size_t kBatch = 200'000;
constexpr std::size_t kFetch = 500;

/// Events as `topkd produce` makes them, Zipf 1.0, within the hour of the fakes' clock.
std::vector<std::string> events(std::uint64_t videos) {
    SyntheticSequence sequence({.videos = videos, .start = Millis{test::kNoon + test::kHourMs}}, Millis{});
    SyntheticRecord record;
    std::vector<std::string> values;
    for (std::size_t i = 0; i < kEvents; ++i) {
        sequence.next(Millis{}, record);
        values.push_back(record.value);
    }
    return values;
}

Record record_of(const std::string& value) {
    return {Partition{0}, Offset{0}, Millis{test::kNoon}, "vid_00000001", value};
}

void per_event(benchmark::State& state) {
    state.SetItemsProcessed(state.iterations());
}

void decode(benchmark::State& state) {
    const auto values = events(100'000);
    Decoder decoder;
    std::size_t i = 0;
    for (auto _ : state) benchmark::DoNotOptimize(decoder.decode(record_of(values[i++ % kEvents])));
    per_event(state);
}
BENCHMARK(decode);

/// An escape is what the parser is needed for.
void decode_with_parser(benchmark::State& state) {
    const std::string value = R"({"video_id":"vid\u005f0000001","ts":1767225600000})";
    Decoder decoder;
    for (auto _ : state) benchmark::DoNotOptimize(decoder.decode(record_of(value)));
    per_event(state);
}
BENCHMARK(decode_with_parser);

void fingerprint_of_record(benchmark::State& state) {
    const auto values = events(100'000);
    std::size_t i = 0;
    for (auto _ : state) benchmark::DoNotOptimize(fingerprint(record_of(values[i++ % kEvents])));
    per_event(state);
}
BENCHMARK(fingerprint_of_record);

void aggregate(benchmark::State& state) {
    const auto videos = static_cast<std::uint64_t>(state.range(0));
    SyntheticSequence sequence({.videos = videos, .start = Millis{test::kNoon}}, Millis{});
    std::vector<std::string> ids(kEvents);
    SyntheticRecord record;
    for (std::string& id : ids) {
        sequence.next(Millis{}, record);
        id = record.key;
    }
    Aggregate sums;
    std::size_t i = 0;
    for (auto _ : state) {
        sums.add(Millis{test::kNoon}, ids[i++ % kEvents], 1);
        if (i % kBatch == 0) sums.clear();
    }
    per_event(state);
}
BENCHMARK(aggregate)->Arg(100'000)->Arg(10'000'000);

/// Sorting and encoding a batch, by its rows.
void encode(benchmark::State& state) {
    SyntheticSequence sequence({.videos = 10'000'000, .start = Millis{test::kNoon}}, Millis{});
    SyntheticRecord record;
    Aggregate sums;
    while (sums.size() < static_cast<std::size_t>(state.range(0))) {
        sequence.next(Millis{}, record);
        sums.add(Millis{test::kNoon}, record.key, 1);
    }
    for (auto _ : state) benchmark::DoNotOptimize(sums.encode());
    state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(encode)->Arg(50'000)->Arg(500'000);

/// From the delivery to the sums, flushes' room reused; the database takes no time.
void pipeline(benchmark::State& state) {
    const auto values = events(static_cast<std::uint64_t>(state.range(0)));
    test::Faults faults;
    test::FakeClock clock;
    test::FakeDatabase database{clock};
    test::FakeSink sink{database, faults, "me"};
    test::SteadySource source{values, Millis{test::kNoon + test::kHourMs}};
    SinkWorker worker{sink, SinkWorker::Mode::kManual};
    Pipeline tested{source, worker, clock, PipelineConfig{.counter = "c", .topic = "t", .ends = {}}};
    for (int i = 0; i < 10; ++i) {
        tested.step();
        worker.run_pending();
    }
    std::size_t batched = 0;
    for (auto _ : state) {
        source.offer(kFetch);
        while (source.left() > 0) tested.step();
        batched += kFetch;
        if (batched >= kBatch) {
            state.PauseTiming();
            clock.advance(1000);
            for (int i = 0; i < 3; ++i) {
                tested.step();
                worker.run_pending();
            }
            batched = 0;
            state.ResumeTiming();
        }
    }
    state.SetItemsProcessed(static_cast<std::int64_t>(tested.stats().records));
}
BENCHMARK(pipeline)->Arg(100'000)->Arg(10'000'000);

}  // namespace
}  // namespace topkd

int main(int argc, char** argv) {
    spdlog::set_level(spdlog::level::off);
    benchmark::Initialize(&argc, argv);
    benchmark::RunSpecifiedBenchmarks();
}
