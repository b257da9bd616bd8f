#include "metrics.h"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cassert>
#include <mutex>

#include "batch.h"
#include "maintenance.h"
#include "metrics_table.h"
#include "process_numbers.h"
#include "sink_error.h"

namespace topkd {
namespace {

using prometheus::Counter;
using prometheus::Family;
using prometheus::Gauge;
using prometheus::Histogram;
using Buckets = Histogram::BucketBoundaries;

const Buckets kRequestSeconds{0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10};
const Buckets kFlushSeconds{0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30};
const Buckets kFlushRows{1, 10, 100, 1000, 2500, 5000, 10'000, 25'000, 50'000, 100'000, 250'000, 1'000'000};
const Buckets kVisibleSeconds{0.1, 0.25, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 30, 60, 300, 1800, 3600};
const Buckets kStepSeconds{0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 2.5, 5, 10, 30};

constexpr const char* kStreamRoute = "/views/top-k/stream";  // lasts as long as its client likes
constexpr std::array kRoutes{"/views/top-k", kStreamRoute, "/healthz", "/readyz", "/metrics", "/", "/assets", "other"};
constexpr int kLeastStatus = 100;
constexpr int kStatusEnd = 600;

/// Reasons are fixed texts of our own; this is what is kept of more, should one ever be made of a record's bytes.
constexpr std::size_t kReasonsKept = 64;

double seconds(std::chrono::nanoseconds duration) {
    return std::chrono::duration<double>(duration).count();
}

double age_of(Millis instant) {
    const auto now = std::chrono::system_clock::now().time_since_epoch();
    const auto age = std::chrono::duration_cast<std::chrono::milliseconds>(now).count() - raw(instant);
    return static_cast<double>(std::max<std::int64_t>(age, 0)) / 1000;
}

const char* result_of(SinkErrorKind kind) {
    switch (kind) {
        case SinkErrorKind::kFenced:
            return "fenced";
        case SinkErrorKind::kSealed:
            return "sealed";
        case SinkErrorKind::kData:
            return "data";
        case SinkErrorKind::kOutage:
            return "outage";
        default:
            return "refused";
    }
}
constexpr std::array kFlushResults{"ok", "fenced", "sealed", "data", "outage", "refused"};

constexpr std::array kCalls{"connect", "claim", "flush", "hours"};
constexpr std::array kRebalances{"assigned", "revoked", "lost"};
constexpr std::array kQueryResults{"failed", "ok"};
constexpr std::array kPartitionStates{"claimed", "waiting", "refused"};

template <typename Enum>
std::size_t index_of(Enum value) {
    return static_cast<std::size_t>(value);
}

/// A label's values that are known beforehand: their series begin at 0, so that the first increase is seen.
template <typename Metric, std::size_t N>
std::array<Metric*, N> all_of(Family<Metric>& family, const char* label, const std::array<const char*, N>& values) {
    std::array<Metric*, N> made{};
    std::transform(values.begin(), values.end(), made.begin(), [&](const char* value) { return &family.Add({{label, value}}); });
    return made;
}

/// A gauge that can be unknown: then it is missing.
class OptionalGauge {
  public:
    explicit OptionalGauge(Family<Gauge>& family) : family_(family) {}

    void set(std::optional<double> value) {
        if (value && gauge_ == nullptr) {
            gauge_ = &family_.Add({});
        } else if (!value && gauge_ != nullptr) {
            family_.Remove(std::exchange(gauge_, nullptr));
        }
        if (value) {
            gauge_->Set(*value);
        }
    }

  private:
    Family<Gauge>& family_;
    Gauge* gauge_ = nullptr;
};

/// The families of the table, registered as it says.
class Families {
  public:
    explicit Families(prometheus::Labels constant) : constant_(std::move(constant)) {}

    Family<Counter>& counters(const char* name) { return add<Counter>(prometheus::BuildCounter(), name, MetricType::kCounter); }
    Family<Gauge>& gauges(const char* name) { return add<Gauge>(prometheus::BuildGauge(), name, MetricType::kGauge); }
    Family<Histogram>& histograms(const char* name) { return add<Histogram>(prometheus::BuildHistogram(), name, MetricType::kHistogram); }

    Counter& counter(const char* name) { return counters(name).Add({}); }
    Gauge& gauge(const char* name) { return gauges(name).Add({}); }
    Histogram& histogram(const char* name, const Buckets& buckets) { return histograms(name).Add({}, buckets); }

    std::string text() const { return prometheus::TextSerializer().Serialize(registry_.Collect()); }

  private:
    template <typename Metric, typename Builder>
    Family<Metric>& add(Builder builder, const char* name, [[maybe_unused]] MetricType type) {
        const MetricRow* row = find_metric(name);
        assert(row != nullptr && row->type == type);
        return builder.Name(row->name).Help(row->help).Labels(constant_).Register(registry_);
    }

    prometheus::Labels constant_;
    prometheus::Registry registry_;
};

/// The server's part, in both programs. A request finds its counters without a lock or a map.
class HttpNumbers {
  public:
    explicit HttpNumbers(Families& families) : families_(families) {
        auto& histograms = families.histograms("topkd_http_request_seconds");
        for (std::size_t i = 0; i < kRoutes.size(); ++i) {
            if (kRoutes[i] != kStreamRoute) {
                seconds_[i] = &histograms.Add({{"route", kRoutes[i]}}, kRequestSeconds);
            }
        }
    }

    void done(std::string_view route, int status, std::chrono::nanoseconds took) {
        const auto known = std::find(kRoutes.begin(), kRoutes.end() - 1, route);
        const auto index = static_cast<std::size_t>(known - kRoutes.begin());
        if (status >= kLeastStatus && status < kStatusEnd) {
            std::atomic<Counter*>& counter = counters_[index][static_cast<std::size_t>(status - kLeastStatus)];
            if (counter.load(std::memory_order_acquire) == nullptr) {
                counter.store(&requests_.Add({{"route", kRoutes[index]}, {"status", std::to_string(status)}}), std::memory_order_release);
            }
            counter.load(std::memory_order_acquire)->Increment();
        }
        if (seconds_[index] != nullptr) {
            seconds_[index]->Observe(seconds(took));
        }
    }
    void connections(std::int64_t count) { connections_.Set(static_cast<double>(count)); }
    void streams(std::int64_t count) { streams_.Set(static_cast<double>(count)); }

  private:
    Families& families_;
    Family<Counter>& requests_ = families_.counters("topkd_http_requests_total");
    Gauge& connections_ = families_.gauge("topkd_http_connections");
    Gauge& streams_ = families_.gauge("topkd_http_streams");
    std::array<Histogram*, kRoutes.size()> seconds_{};
    std::array<std::array<std::atomic<Counter*>, kStatusEnd - kLeastStatus>, kRoutes.size()> counters_{};
};

struct ServeNumbers {
    Families& families;
    Counter& hits = families.counter("topkd_cache_hits_total");
    Counter& shared = families.counter("topkd_cache_shared_total");
    Counter& misses = families.counter("topkd_cache_misses_total");
    std::array<Counter*, kQueryResults.size()> queries = all_of(families.counters("topkd_queries_total"), "result", kQueryResults);
    Histogram& query_seconds = families.histogram("topkd_query_seconds", kRequestSeconds);
};

class IngestNumbers {
  public:
    explicit IngestNumbers(Families& families) : families_(families) {}

    void add(const FlushBooks& books) {
        std::int64_t dead = 0;
        for (const auto& [reason, count] : books.dead) {
            dead += count;
            counter_of(reason).Increment(static_cast<double>(count));
        }
        records_.Increment(static_cast<double>(books.counted + books.late + dead));
        events_.Increment(static_cast<double>(books.counted + books.late));
        late_.Increment(static_cast<double>(books.late));
        skipped_.Increment(static_cast<double>(books.skipped));
    }

    void flushed(const Batch& batch, std::chrono::nanoseconds took, Millis visible) {
        add(books_of(batch));
        if (!batch.consumes()) {
            return;  // what is said about flushes is about those with records
        }
        flushes_[0]->Increment();
        flush_seconds_.Observe(seconds(took));
        flush_rows_.Observe(static_cast<double>(batch.deltas().size() + batch.late().size() + batch.dead().size()));
        std::vector<double> counts(kVisibleSeconds.size() + 1);
        double sum = 0;
        batch.event_times().each([&](Millis time, std::uint32_t count) {
            const double age = static_cast<double>(std::max<std::int64_t>(raw(visible) - raw(time), 0)) / 1000;
            const auto bucket = std::lower_bound(kVisibleSeconds.begin(), kVisibleSeconds.end(), age) - kVisibleSeconds.begin();
            counts[static_cast<std::size_t>(bucket)] += count;
            sum += age * count;
        });
        visible_seconds_.ObserveMultiple(counts, sum);
    }

    void flush_failed(SinkErrorKind kind) {
        const std::string_view result = result_of(kind);
        const auto* found = std::find(kFlushResults.begin(), kFlushResults.end(), result);
        flushes_[static_cast<std::size_t>(found - kFlushResults.begin())]->Increment();
    }

    void retried(std::size_t call) { retries_[call]->Increment(); }
    void rebalanced(std::size_t kind) { rebalances_[kind]->Increment(); }
    void rewound() { rewinds_.Increment(); }

    void maintained(std::size_t part, std::chrono::nanoseconds took, bool ok) {
        (ok ? steps_ : step_failures_)[part]->Increment();
        step_seconds_.Observe(seconds(took));
    }

    void state(const IngestState& state) {
        const std::lock_guard lock(mutex_);
        read_.Increment(static_cast<double>(state.records_read) - read_.Value());
        const std::array counts{state.claimed, state.waiting, state.refused};
        for (std::size_t i = 0; i < counts.size(); ++i) {
            partitions_[i]->Set(static_cast<double>(counts[i]));
        }
        topic_partitions_.Set(state.topic_partitions);
        database_up_.Set(state.database_up ? 1 : 0);
        watermark_ = state.watermark;
        sealed_through_ = state.sealed_through;
        set_lags(state.lags);
    }

    /// Ages go on while the consumer thread hangs.
    void refresh_ages() {
        const std::lock_guard lock(mutex_);
        watermark_age_.set(watermark_ ? std::optional(age_of(*watermark_)) : std::nullopt);
        sealed_age_.set(sealed_through_ ? std::optional(age_of(*sealed_through_)) : std::nullopt);
    }

  private:
    Counter& counter_of(const std::string& reason) {
        const std::lock_guard lock(mutex_);
        const auto found = by_reason_.find(reason);
        if (found != by_reason_.end()) {
            return *found->second;
        }
        const std::string label = by_reason_.size() < kReasonsKept ? reason : "other";
        return *by_reason_.emplace(label, &dead_.Add({{"reason", label}})).first->second;
    }

    void set_lags(const std::vector<IngestState::Lag>& lags) {
        std::map<Partition, Gauge*> kept;
        for (const auto& [partition, records] : lags) {
            const auto known = by_partition_.find(partition);
            Gauge* gauge = known != by_partition_.end() ? known->second : &lags_.Add({{"partition", std::to_string(raw(partition))}});
            gauge->Set(static_cast<double>(records));
            kept.emplace(partition, gauge);
        }
        for (const auto& [partition, gauge] : by_partition_) {
            if (!kept.contains(partition)) {
                lags_.Remove(gauge);
            }
        }
        by_partition_.swap(kept);
    }

    Families& families_;
    Counter& records_ = families_.counter("topkd_records_total");
    Counter& events_ = families_.counter("topkd_events_total");
    Counter& late_ = families_.counter("topkd_late_events_total");
    Counter& skipped_ = families_.counter("topkd_skipped_records_total");
    Family<Counter>& dead_ = families_.counters("topkd_dead_records_total");
    Counter& read_ = families_.counter("topkd_read_records_total");
    Histogram& flush_seconds_ = families_.histogram("topkd_flush_seconds", kFlushSeconds);
    Histogram& flush_rows_ = families_.histogram("topkd_flush_rows", kFlushRows);
    Histogram& visible_seconds_ = families_.histogram("topkd_event_visible_seconds", kVisibleSeconds);
    std::array<Counter*, kFlushResults.size()> flushes_ = all_of(families_.counters("topkd_flushes_total"), "result", kFlushResults);
    Counter& rewinds_ = families_.counter("topkd_rewinds_total");
    std::array<Counter*, kCalls.size()> retries_ = all_of(families_.counters("topkd_retries_total"), "call", kCalls);
    Gauge& database_up_ = families_.gauge("topkd_database_up");
    Family<Gauge>& lags_ = families_.gauges("topkd_partition_lag_records");
    Gauge& topic_partitions_ = families_.gauge("topkd_topic_partitions");
    std::array<Counter*, kRebalances.size()> rebalances_ = all_of(families_.counters("topkd_rebalances_total"), "kind", kRebalances);
    OptionalGauge watermark_age_{families_.gauges("topkd_watermark_age_seconds")};
    OptionalGauge sealed_age_{families_.gauges("topkd_sealed_age_seconds")};
    std::array<Counter*, kMaintenanceParts.size()> steps_ =
        all_of(families_.counters("topkd_maintenance_steps_total"), "part", kMaintenancePartNames);
    std::array<Counter*, kMaintenanceParts.size()> step_failures_ =
        all_of(families_.counters("topkd_maintenance_failures_total"), "part", kMaintenancePartNames);
    Histogram& step_seconds_ = families_.histogram("topkd_maintenance_step_seconds", kStepSeconds);
    std::array<Gauge*, kPartitionStates.size()> partitions_ = all_of(families_.gauges("topkd_partitions"), "state", kPartitionStates);

    std::mutex mutex_;  // guards what follows
    std::map<std::string, Counter*, std::less<>> by_reason_;
    std::map<Partition, Gauge*> by_partition_;
    std::optional<Millis> watermark_;
    std::optional<Millis> sealed_through_;
};

/// Read when they are asked for.
class ProcessGauges {
  public:
    explicit ProcessGauges(Families& families) : families_(families) {}

    void refresh() {
        const std::lock_guard lock(mutex_);
        const ProcessNumbers now = process_numbers();
        cpu_.Increment(now.cpu_seconds - cpu_.Value());
        memory_.Set(now.resident_bytes);
        started_.Set(now.started);
        open_fds_.Set(now.open_fds);
        max_fds_.Set(now.max_fds);
    }

  private:
    Families& families_;
    std::mutex mutex_;
    Counter& cpu_ = families_.counter("process_cpu_seconds_total");
    Gauge& memory_ = families_.gauge("process_resident_memory_bytes");
    Gauge& started_ = families_.gauge("process_start_time_seconds");
    Gauge& open_fds_ = families_.gauge("process_open_fds");
    Gauge& max_fds_ = families_.gauge("process_max_fds");
};

prometheus::Labels labels_of(const std::string& counter) {
    return counter.empty() ? prometheus::Labels{} : prometheus::Labels{{"counter", counter}};
}

}  // namespace

struct Metrics::Impl {
    Impl(Program program, const std::string& counter) : families(labels_of(counter)), process(families), http(families) {
        families.gauges("topkd_build_info")
            .Add({{"program", program == Program::kIngest ? "ingest" : "serve"},
                  {"version", TOPKD_VERSION},
                  {"extension", TOPKD_EXTENSION_VERSION}})
            .Set(1);
        if (program == Program::kIngest) {
            ingest.emplace(families);
        } else {
            serve.emplace(ServeNumbers{families});
        }
    }

    Families families;
    ProcessGauges process;
    HttpNumbers http;
    std::optional<IngestNumbers> ingest;
    std::optional<ServeNumbers> serve;
};

FlushBooks books_of(const Batch& batch) {
    FlushBooks books;
    for (const auto& [partition, progress] : batch.partitions()) {
        books.counted += progress.counted;
        books.late += progress.late;
        books.skipped += progress.skipped;
    }
    for (const DeadLetter& letter : batch.dead()) {
        const std::string_view reason = std::string_view(letter.reason).substr(0, letter.reason.find(':'));
        const auto found = books.dead.find(reason);
        ++(found != books.dead.end() ? found->second : books.dead[std::string(reason)]);
    }
    return books;
}

Metrics::Metrics(Program program, const std::string& counter) : impl_(std::make_unique<Impl>(program, counter)) {}
Metrics::~Metrics() = default;

std::string Metrics::exposition() {
    impl_->process.refresh();
    if (impl_->ingest) {
        impl_->ingest->refresh_ages();
    }
    return impl_->families.text();
}

void Metrics::request_done(const char* route, int status, std::chrono::nanoseconds took) {
    impl_->http.done(route, status, took);
}
void Metrics::open_connections(std::int64_t count) {
    impl_->http.connections(count);
}
void Metrics::open_streams(std::int64_t count) {
    impl_->http.streams(count);
}

void Metrics::cache_hit() {
    impl_->serve->hits.Increment();
}
void Metrics::cache_shared() {
    impl_->serve->shared.Increment();
}
void Metrics::cache_miss() {
    impl_->serve->misses.Increment();
}
void Metrics::query_done(std::chrono::nanoseconds took, bool ok) {
    impl_->serve->queries[ok ? 1 : 0]->Increment();
    if (ok) {
        impl_->serve->query_seconds.Observe(seconds(took));
    }
}

void Metrics::flushed(const Batch& batch, std::chrono::nanoseconds took, Millis visible) {
    impl_->ingest->flushed(batch, took, visible);
}
void Metrics::flush_failed(SinkErrorKind kind) {
    impl_->ingest->flush_failed(kind);
}
void Metrics::found_committed(const FlushBooks& books) {
    impl_->ingest->add(books);
}
void Metrics::call_failed(Call call) {
    impl_->ingest->retried(index_of(call));
}
void Metrics::rebalanced(Rebalance kind) {
    impl_->ingest->rebalanced(index_of(kind));
}
void Metrics::rewound() {
    impl_->ingest->rewound();
}
void Metrics::ingest_state(const IngestState& state) {
    impl_->ingest->state(state);
}
void Metrics::maintained(MaintenancePart part, std::chrono::nanoseconds took, bool ok) {
    impl_->ingest->maintained(index_of(part), took, ok);
}

}  // namespace topkd
