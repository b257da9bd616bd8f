#include "metrics_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace topkd {
namespace {

using enum MetricType;

constexpr const char* kIngest = "ingest";
constexpr const char* kServe = "serve";
constexpr const char* kBoth = "ingest, serve";

constexpr std::array kTable{
    MetricRow{"topkd_build_info", kGauge, "program,version,extension", kBoth, "1; the labels say what runs, and for which extension."},
    // The books
    MetricRow{"topkd_records_total", kCounter, "", kIngest, "Records consumed, as committed: events and dead letters."},
    MetricRow{"topkd_events_total", kCounter, "", kIngest, "Events counted, as committed; late ones are among them."},
    MetricRow{"topkd_late_events_total", kCounter, "", kIngest,
              "Events that came too late for their hour and were kept as late views, as committed."},
    MetricRow{"topkd_dead_records_total", kCounter, "reason", kIngest,
              "Records that became dead letters, as committed, by the part of the reason before its first colon."},
    MetricRow{"topkd_skipped_records_total", kCounter, "", kIngest,
              "Offsets passed that delivered no record (transaction markers, aborted, compacted), as committed."},
    MetricRow{"topkd_read_records_total", kCounter, "", kIngest, "Records read, those among them that a rewind let be read again."},
    // Flushes
    MetricRow{
        "topkd_flushes_total", kCounter, "result", kIngest,
        "Flushes by result: ok, fenced (another owner), sealed (an hour was sealed meanwhile), data (content refused), outage, refused."},
    MetricRow{"topkd_flush_seconds", kHistogram, "", kIngest,
              "How long a committed flush with records took, from its submission to its answer."},
    MetricRow{"topkd_flush_rows", kHistogram, "", kIngest,
              "Rows that a committed flush with records wrote: hours' videos, late views, dead letters."},
    MetricRow{"topkd_rewinds_total", kCounter, "", kIngest, "Times that everything unflushed was thrown away, to be read again."},
    MetricRow{"topkd_retries_total", kCounter, "call", kIngest,
              "Calls of the database that failed and are tried again: connect, claim (resuming is one), flush, hours."},
    MetricRow{"topkd_database_up", kGauge, "", kIngest, "1 if the last call of the database did not fail, else 0."},
    // Freshness
    MetricRow{"topkd_event_visible_seconds", kHistogram, "", kIngest,
              "From an event's time to the commit that made it visible, event by event; late events are left out."},
    MetricRow{"topkd_watermark_age_seconds", kGauge, "", kIngest,
              "How far the least committed watermark of the claimed partitions is behind the clock; missing while one has none."},
    MetricRow{"topkd_sealed_age_seconds", kGauge, "", kIngest,
              "How far the end of the last sealed hour is behind the clock, as last heard; missing while nothing is sealed."},
    MetricRow{"topkd_partition_lag_records", kGauge, "partition", kIngest,
              "Offsets between what is committed in PostgreSQL and the partition's end, of each claimed partition."},
    // The group
    MetricRow{
        "topkd_partitions", kGauge, "state", kIngest,
        "Assigned partitions: claimed, waiting (for a claim), refused (the stored offset is not plausible; the log names the remedy)."},
    MetricRow{"topkd_topic_partitions", kGauge, "", kIngest, "Partitions of the topic."},
    MetricRow{"topkd_rebalances_total", kCounter, "kind", kIngest, "Changes of the assignment: assigned, revoked, lost."},
    // Maintenance
    MetricRow{"topkd_maintenance_steps_total", kCounter, "part", kIngest, "Steps of maintenance that succeeded, with --maintain, by part."},
    MetricRow{"topkd_maintenance_failures_total", kCounter, "part", kIngest,
              "Steps of maintenance that failed and are tried again, by part."},
    MetricRow{"topkd_maintenance_step_seconds", kHistogram, "", kIngest, "How long a step of maintenance took."},
    // HTTP
    MetricRow{"topkd_http_requests_total", kCounter, "route,status", kBoth,
              "Requests answered, streams when they end; refused clients and what is no request, too."},
    MetricRow{"topkd_http_request_seconds", kHistogram, "route", kBoth,
              "From a request's last byte to its answer's end; streams are left out."},
    MetricRow{"topkd_http_connections", kGauge, "", kBoth, "Open connections of clients."},
    MetricRow{"topkd_http_streams", kGauge, "", kBoth, "Open streams of lists."},
    MetricRow{"topkd_cache_hits_total", kCounter, "", kServe, "Lists answered from the cache."},
    MetricRow{"topkd_cache_shared_total", kCounter, "", kServe, "Lists answered by a query that was under way for somebody else."},
    MetricRow{"topkd_cache_misses_total", kCounter, "", kServe, "Lists that needed a query of their own."},
    MetricRow{"topkd_queries_total", kCounter, "result", kServe, "Queries of lists: ok, failed."},
    MetricRow{"topkd_query_seconds", kHistogram, "", kServe, "How long a query of a list took that succeeded."},
    // The process
    MetricRow{"process_cpu_seconds_total", kCounter, "", kBoth, "Processor time used, user and system."},
    MetricRow{"process_resident_memory_bytes", kGauge, "", kBoth, "Memory resident."},
    MetricRow{"process_start_time_seconds", kGauge, "", kBoth, "When the process began, since 1970."},
    MetricRow{"process_open_fds", kGauge, "", kBoth, "Open file descriptors."},
    MetricRow{"process_max_fds", kGauge, "", kBoth, "The most file descriptors that may be open."},
};

const char* name_of(MetricType type) {
    constexpr std::array kNames{"counter", "gauge", "histogram"};
    return kNames[static_cast<std::size_t>(type)];
}

}  // namespace

std::span<const MetricRow> metric_table() {
    return kTable;
}

const MetricRow* find_metric(std::string_view name) {
    const auto* found = std::find_if(kTable.begin(), kTable.end(), [&](const MetricRow& row) { return row.name == name; });
    return found == kTable.end() ? nullptr : &*found;
}

std::string metrics_page() {
    std::string page =
        "# Metrics\n\n"
        "What `/metrics` tells, of `topkd serve` at each `--listen` address, of `topkd ingest` at `--metrics-listen`. Every metric of "
        "ingest has\n"
        "the label `counter`. The page is made from `src/metrics_table.cpp`; a test compares the two.\n\n"
        "| name | type | labels | of | |\n|---|---|---|---|---|\n";
    for (const MetricRow& row : kTable) {
        page += fmt::format("| `{}` | {} | {} | {} | {} |\n", row.name, name_of(row.type), row.labels, row.programs, row.help);
    }
    return page;
}

}  // namespace topkd
