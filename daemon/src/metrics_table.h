// Every metric of topkd, in one table: its name, type, labels, the programs that have it, and what it says. Registration, METRICS.md and
// the tests of dashboard and alert rules take it from here.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace topkd {

enum class MetricType { kCounter, kGauge, kHistogram };

struct MetricRow {
    const char* name;
    MetricType type;
    const char* labels;  ///< separated by commas, without the label `counter` that all of ingest's have
    const char* programs;
    const char* help;
};

std::span<const MetricRow> metric_table();

/// The row's; null if there is none.
const MetricRow* find_metric(std::string_view name);

/// METRICS.md.
std::string metrics_page();

}  // namespace topkd
