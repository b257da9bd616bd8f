#include "pg_sink.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>

#include "pg_literal.h"

namespace topkd {
namespace {

tl::unexpected<SinkError> failed(SinkError error) {
    if (error.sqlstate == "42501" && error.message.find("; hint: ") == std::string::npos) {
        error.message += "; hint: grant the right with topk.grant_access(role, 'ingest', counter)";
    }
    return tl::unexpected(std::move(error));
}

constexpr const char* kClaim =
    "SELECT partition, status, epoch, next_offset, last_offset, last_timestamp_ms, last_crc,"
    " CASE WHEN isfinite(watermark) THEN floor(extract(epoch FROM watermark) * 1000)::bigint END,"
    " CASE WHEN isfinite(sealed_through) THEN floor(extract(epoch FROM sealed_through) * 1000)::bigint END,"
    " floor(extract(epoch FROM max_age) * 1000)::bigint, floor(extract(epoch FROM max_clock_skew) * 1000)::bigint,"
    " floor(extract(epoch FROM lateness) * 1000)::bigint, floor(extract(epoch FROM idle_timeout) * 1000)::bigint,"
    " floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint"
    " FROM topk.claim($1, $2, $3, $4, $5, $6::int, $7::int[], $8::bigint[], $9::bigint[], $10::bigint[], $11::boolean)";

constexpr const char* kFlush =
    "SELECT CASE WHEN isfinite(f) THEN floor(extract(epoch FROM f) * 1000)::bigint END,"
    " floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint"
    " FROM topk.flush($1, $2, $3, $4::topk.flush_late[], $5::topk.flush_dead[], $6::topk.flush_progress[]) AS f";

constexpr const char* kHours =
    "SELECT (extract(epoch FROM hour_start) * 1000)::bigint, (extract(epoch FROM hour_end) * 1000)::bigint,"
    " (extract(epoch FROM day_start) * 1000)::bigint, (extract(epoch FROM month_start) * 1000)::bigint"
    " FROM topk.hours($1, $2::timestamptz, $3::timestamptz)";

std::optional<std::int64_t> number(const PGresult* result, int row, int column) {
    if (PQgetisnull(result, row, column) != 0) {
        return std::nullopt;
    }
    const char* text = PQgetvalue(result, row, column);
    std::int64_t value = 0;
    std::from_chars(text, text + std::strlen(text), value);
    return value;
}

std::optional<Millis> instant(const PGresult* result, int row, int column) {
    const auto value = number(result, row, column);
    return value ? std::optional(Millis{*value}) : std::nullopt;
}

std::optional<ClaimStatus> status_of(std::string_view text) {
    using enum ClaimStatus;
    constexpr std::array<std::pair<std::string_view, ClaimStatus>, 4> kNames{
        {{"ok", kOk}, {"fenced", kFenced}, {"below_start", kBelowStart}, {"beyond_end", kBeyondEnd}}};
    const auto* found = std::find_if(kNames.begin(), kNames.end(), [&](const auto& name) { return name.first == text; });
    return found == kNames.end() ? std::nullopt : std::optional(found->second);
}

template <typename T>
std::string numbers(const std::vector<T>& values) {
    std::vector<std::int64_t> plain;
    for (const T value : values) {
        plain.push_back(static_cast<std::int64_t>(value));
    }
    return array_literal(plain);
}

std::string late_literal(const Aggregate& late) {
    CompositeArray rows;
    for (const Cell& cell : late.cells()) {
        rows.begin_row().field(std::string_view(timestamp_literal(cell.hour_start))).field(cell.video_id);
        rows.field(cell.views).field(cell.records).end_row();
    }
    return rows.text();
}

std::string dead_literal(const std::vector<DeadLetter>& letters) {
    CompositeArray rows;
    const auto bytea = [](const std::optional<std::string>& bytes) { return bytes ? std::optional(bytea_literal(*bytes)) : std::nullopt; };
    for (const DeadLetter& letter : letters) {
        rows.begin_row().field(raw(letter.partition)).field(raw(letter.offset));
        letter.timestamp ? rows.field(raw(*letter.timestamp)) : rows.null();
        rows.field(std::string_view(letter.reason)).field(bytea(letter.key)).field(bytea(letter.payload)).end_row();
    }
    return rows.text();
}

std::string progress_literal(const std::map<Partition, PartitionProgress>& partitions) {
    CompositeArray rows;
    for (const auto& [partition, progress] : partitions) {
        rows.begin_row().field(raw(partition)).field(progress.epoch).field(raw(progress.from)).field(raw(progress.to));
        if (progress.last) {
            rows.field(raw(progress.last->offset)).field(progress.last->timestamp_ms).field(std::int64_t{progress.last->crc});
        } else {
            rows.null().null().null();
        }
        progress.watermark ? rows.field(std::string_view(timestamp_literal(*progress.watermark))) : rows.null();
        rows.field(progress.counted).field(progress.late).field(progress.dead).field(progress.skipped).end_row();
    }
    return rows.text();
}

SinkError refused(std::string message) {
    return {SinkErrorKind::kRefused, "", std::move(message)};
}

}  // namespace

tl::expected<void, SinkError> PgSink::connect() {
    auto ready = connection_.open();
    if (ready) {
        ready = check_extension();
    }
    if (!ready) {
        connection_.close();
    }
    return ready;
}

tl::expected<void, SinkError> PgSink::check_extension() {
    const auto installed = connection_.query("SELECT extversion, pg_is_in_recovery() FROM pg_extension WHERE extname = 'topk'", {});
    if (!installed) {
        return failed(installed.error());
    }
    if (PQntuples(installed->get()) == 0) {
        return tl::unexpected(
            refused(fmt::format("the extension topk is not installed in database {}; run CREATE EXTENSION "
                                "topk;",
                                database())));
    }
    const std::string version = PQgetvalue(installed->get(), 0, 0);
    if (version != TOPKD_EXTENSION_VERSION) {
        return tl::unexpected(
            refused(fmt::format("the extension topk has version {}, this topkd needs {}; run ALTER "
                                "EXTENSION topk UPDATE; or install the topkd that fits",
                                version, TOPKD_EXTENSION_VERSION)));
    }
    if (std::string_view(PQgetvalue(installed->get(), 0, 1)) == "t") {
        return tl::unexpected(SinkError{SinkErrorKind::kOutage, "25006", "the server is a standby and cannot be written"});
    }
    const auto library = connection_.query("SELECT topk.version()", {});
    if (!library) {
        return failed(library.error());
    }
    const std::string loaded = PQgetvalue(library->get(), 0, 0);
    if (loaded != TOPKD_EXTENSION_VERSION && !loaded.starts_with(TOPKD_EXTENSION_VERSION ".")) {
        return tl::unexpected(
            refused(fmt::format("the server's topk library has version {}, this topkd needs {}; restart "
                                "the server's sessions after an update",
                                loaded, TOPKD_EXTENSION_VERSION)));
    }
    return {};
}

tl::expected<void, SinkError> PgSink::ensure_counter() {
    // An empty range: asks for nothing but the counter and our right on it.
    const std::vector<PgConnection::Parameter> nothing{{config_.counter}, {"2000-01-01 00:00:00+00"}, {"2000-01-01 00:00:00+00"}};
    auto known = connection_.query(kHours, nothing);
    if (known) {
        return {};
    }
    if (known.error().kind != SinkErrorKind::kNoCounter) {
        return failed(known.error());
    }
    const auto created = connection_.query("SELECT topk.create_counter($1)", {{config_.counter}});
    if (created) {
        spdlog::info("created the counter {}", config_.counter);
    } else if (created.error().sqlstate != "42710") {  // somebody else was quicker
        return tl::unexpected(SinkError{created.error().kind, created.error().sqlstate,
                                        fmt::format("the counter {} does not exist and cannot be created: {}", config_.counter,
                                                    failed(created.error()).value().message)});
    }
    known = connection_.query(kHours, nothing);
    return known ? tl::expected<void, SinkError>() : failed(known.error());
}

tl::expected<ClaimResult, SinkError> PgSink::claim(const ClaimRequest& request) {
    const auto rows = connection_.query(kClaim, {{config_.counter},
                                                 {config_.topic},
                                                 {request.topic.cluster_id},
                                                 {group_},
                                                 {config_.member},
                                                 {std::to_string(request.topic.partition_count)},
                                                 {numbers(request.partitions)},
                                                 {numbers(request.topic.log_starts)},
                                                 {numbers(request.topic.log_ends)},
                                                 {request.resumes() ? std::optional(numbers(request.epochs)) : std::nullopt},
                                                 {config_.take_over ? "true" : "false"}});
    if (!rows) {
        return failed(rows.error());
    }
    const PGresult* result = rows->get();
    ClaimResult claimed;
    for (int row = 0; row < PQntuples(result); ++row) {
        const auto status = status_of(PQgetvalue(result, row, 1));
        if (!status) {
            return tl::unexpected(refused(fmt::format("topk.claim returned the status {}", PQgetvalue(result, row, 1))));
        }
        ClaimedPartition one{.partition = Partition{static_cast<std::int32_t>(number(result, row, 0).value_or(-1))},
                             .status = *status,
                             .epoch = number(result, row, 2).value_or(0),
                             .next_offset = Offset{number(result, row, 3).value_or(0)},
                             .last = std::nullopt,
                             .watermark = instant(result, row, 7)};
        if (const auto last = number(result, row, 4)) {
            one.last = Fingerprint{Offset{*last}, number(result, row, 5).value_or(-1),
                                   static_cast<std::uint32_t>(number(result, row, 6).value_or(0))};
        }
        claimed.partitions.push_back(one);
        claimed.sealed_through = instant(result, row, 8);
        claimed.limits.max_age = std::chrono::milliseconds(number(result, row, 9).value_or(0));
        claimed.limits.max_clock_skew = std::chrono::milliseconds(number(result, row, 10).value_or(0));
        claimed.limits.lateness = std::chrono::milliseconds(number(result, row, 11).value_or(0));
        claimed.limits.idle_timeout = std::chrono::milliseconds(number(result, row, 12).value_or(0));
        claimed.clock = instant(result, row, 13);
    }
    return claimed;
}

tl::expected<FlushResult, SinkError> PgSink::flush(const Batch& batch) {
    const auto rows = connection_.query(kFlush, {{config_.counter},
                                                 {config_.topic},
                                                 {batch.deltas().encode(), true},
                                                 {late_literal(batch.late())},
                                                 {dead_literal(batch.dead())},
                                                 {progress_literal(batch.partitions())}});
    if (!rows) {
        return failed(rows.error());
    }
    return FlushResult{instant(rows->get(), 0, 0), instant(rows->get(), 0, 1)};
}

tl::expected<std::vector<Hour>, SinkError> PgSink::hours(Millis since, Millis until) {
    const auto rows = connection_.query(kHours, {{config_.counter}, {timestamp_literal(since)}, {timestamp_literal(until)}});
    if (!rows) {
        return failed(rows.error());
    }
    std::vector<Hour> hours;
    for (int row = 0; row < PQntuples(rows->get()); ++row) {
        const auto at = [&](int column) { return instant(rows->get(), row, column).value_or(Millis{0}); };
        hours.push_back({.start = at(0), .end = at(1), .day_start = at(2), .month_start = at(3)});
    }
    return hours;
}

}  // namespace topkd
