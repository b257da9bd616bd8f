#include "upsert_sink.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <limits>
#include <tuple>

#include "big_endian.h"

namespace topkd::bench {
namespace {

constexpr std::array<const char*, 4> kSpans{"hour", "day", "month", "all_time"};
constexpr std::int64_t kPostgresEpochMs = 946'684'800'000;  // 2000-01-01
constexpr Millis kMinusInfinity{std::numeric_limits<std::int64_t>::min()};
constexpr std::int32_t kInt8Oid = 20;
constexpr std::int32_t kTextOid = 25;
constexpr std::int32_t kTimestamptzOid = 1184;

std::int64_t timestamp_of(Millis instant) {
    return instant == kMinusInfinity ? raw(kMinusInfinity) : (raw(instant) - kPostgresEpochMs) * 1000;
}

/// An array as the server sends and receives it: dimensions, has nulls, the elements' type, their number, the first index.
std::string array_head(std::int32_t type, std::size_t size) {
    std::string out;
    for (const std::int32_t word : {std::int32_t{1}, std::int32_t{0}, type, static_cast<std::int32_t>(size), std::int32_t{1}}) {
        append_big_endian(out, word);
    }
    return out;
}

void append_element(std::string& out, std::int64_t value) {
    append_big_endian(out, std::int32_t{8});
    append_big_endian(out, value);
}

std::string big_endian_text(std::int64_t value) {
    std::string out;
    append_big_endian(out, value);
    return out;
}

std::string big_endian_text(std::int32_t value) {
    std::string out;
    append_big_endian(out, value);
    return out;
}

/// The cells of a coarser window, in key order: sums over its hours. `window` gives an hour's window.
template <typename Window>
std::vector<Cell> sums(const std::vector<Cell>& hours, Window window) {
    std::vector<Cell> found;
    found.reserve(hours.size());
    bool sorted = true;
    for (Cell cell : hours) {
        cell.hour_start = window(cell.hour_start);
        sorted = sorted &&
                 (found.empty() || std::tie(found.back().hour_start, found.back().video_id) < std::tie(cell.hour_start, cell.video_id));
        found.push_back(cell);
    }
    if (sorted) {  // nearly always: a batch is of one hour
        return found;
    }
    std::sort(found.begin(), found.end(),
              [](const Cell& a, const Cell& b) { return std::tie(a.hour_start, a.video_id) < std::tie(b.hour_start, b.video_id); });
    std::size_t last = 0;
    for (std::size_t i = 1; i < found.size(); ++i) {
        if (found[i].hour_start == found[last].hour_start && found[i].video_id == found[last].video_id) {
            found[last].views += found[i].views;
        } else {
            found[++last] = found[i];
        }
    }
    found.resize(last + 1);
    return found;
}

}  // namespace

SinkError UpsertSink::failure(const PGresult* result) const {
    const char* state = result == nullptr ? nullptr : PQresultErrorField(result, PG_DIAG_SQLSTATE);
    return {SinkErrorKind::kRefused, state == nullptr ? "" : state, PQerrorMessage(connection_.get())};
}

tl::expected<UpsertSink::Result, SinkError> UpsertSink::execute(const char* statement, const std::vector<std::string>& parameters) {
    std::vector<const char*> values;
    std::vector<int> lengths;
    const std::vector<int> formats(parameters.size(), 1);
    for (const std::string& parameter : parameters) {
        values.push_back(parameter.data());
        lengths.push_back(static_cast<int>(parameter.size()));
    }
    Result result(PQexecPrepared(connection_.get(), statement, static_cast<int>(parameters.size()), values.data(), lengths.data(),
                                 formats.data(), 0));
    if (PQresultStatus(result.get()) != PGRES_COMMAND_OK && PQresultStatus(result.get()) != PGRES_TUPLES_OK) {
        return tl::unexpected(failure(result.get()));
    }
    return result;
}

tl::expected<void, SinkError> UpsertSink::command(const char* sql) {
    const Result result(PQexec(connection_.get(), sql));
    if (PQresultStatus(result.get()) != PGRES_COMMAND_OK) {
        return tl::unexpected(failure(result.get()));
    }
    return {};
}

tl::expected<void, SinkError> UpsertSink::connect() {
    connection_.reset(PQconnectdb(conninfo_.c_str()));
    if (!connected()) {
        return tl::unexpected(failure(nullptr));
    }
    std::vector<std::pair<std::string, std::string>> statements{
        {"offset", "UPDATE views_offset SET next_offset = $2::bigint WHERE partition = $1::int AND next_offset = $3::bigint"},
        {"claim",
         "INSERT INTO views_offset AS o VALUES ($1::int, $2::bigint) ON CONFLICT (partition) DO UPDATE SET next_offset = o.next_offset "
         "RETURNING next_offset"}};
    for (const char* span : kSpans) {
        statements.emplace_back(span, fmt::format("INSERT INTO views_{0} AS v (window_start, video_id, views) "
                                                  "SELECT * FROM unnest($1::timestamptz[], $2::text[], $3::bigint[]) "
                                                  "ON CONFLICT (window_start, video_id) DO UPDATE SET views = v.views + excluded.views",
                                                  span));
    }
    for (const auto& [name, sql] : statements) {
        const Result prepared(PQprepare(connection_.get(), name.c_str(), sql.c_str(), 0, nullptr));
        if (PQresultStatus(prepared.get()) != PGRES_COMMAND_OK) {
            return tl::unexpected(failure(prepared.get()));
        }
    }
    return {};
}

tl::expected<ClaimResult, SinkError> UpsertSink::claim(const ClaimRequest& request) {
    ClaimResult claimed;
    for (std::size_t i = 0; i < request.partitions.size(); ++i) {
        const auto row = execute("claim", {big_endian_text(raw(request.partitions[i])), big_endian_text(raw(request.topic.log_starts[i]))});
        if (!row) {
            return tl::unexpected(row.error());
        }
        const Offset next{std::strtoll(PQgetvalue(row->get(), 0, 0), nullptr, 10)};
        claimed.partitions.push_back({.partition = request.partitions[i], .epoch = 1, .next_offset = next, .last = {}, .watermark = {}});
    }
    // Nothing is ever late: a counter like this has no seal.
    claimed.limits = {.max_age = std::chrono::hours(24 * 400),
                      .max_clock_skew = std::chrono::minutes(5),
                      .lateness = std::chrono::hours(24 * 400),
                      .idle_timeout = std::chrono::hours(24 * 400)};
    return claimed;
}

tl::expected<void, SinkError> UpsertSink::upsert(const char* span, const std::vector<Cell>& cells) {
    std::vector<std::string> arrays{array_head(kTimestamptzOid, cells.size()), array_head(kTextOid, cells.size()),
                                    array_head(kInt8Oid, cells.size())};
    for (const Cell& cell : cells) {
        append_element(arrays[0], timestamp_of(cell.hour_start));
        append_big_endian(arrays[1], static_cast<std::int32_t>(cell.video_id.size()));
        arrays[1].append(cell.video_id);
        append_element(arrays[2], cell.views);
    }
    const auto done = execute(span, arrays);
    return done ? tl::expected<void, SinkError>() : tl::unexpected(done.error());
}

tl::expected<FlushResult, SinkError> UpsertSink::flush(const Batch& batch) {
    if (const auto begun = command("BEGIN"); !begun) {
        return tl::unexpected(begun.error());
    }
    const std::vector<Cell> cells = batch.deltas().cells();
    const auto day = [this](Millis hour) { return hours_.at(raw(hour)).day_start; };
    const auto month = [this](Millis hour) { return hours_.at(raw(hour)).month_start; };
    const auto all_time = [](Millis) { return kMinusInfinity; };
    for (const auto& [span, rows] : {std::pair{kSpans[0], cells}, std::pair{kSpans[1], sums(cells, day)},
                                     std::pair{kSpans[2], sums(cells, month)}, std::pair{kSpans[3], sums(cells, all_time)}}) {
        if (rows.empty()) {
            continue;
        }
        if (const auto written = upsert(span, rows); !written) {
            return tl::unexpected(written.error());
        }
    }
    for (const auto& [partition, progress] : batch.partitions()) {
        const auto moved =
            execute("offset", {big_endian_text(raw(partition)), big_endian_text(raw(progress.to)), big_endian_text(raw(progress.from))});
        if (!moved) {
            return tl::unexpected(moved.error());
        }
        if (std::string_view(PQcmdTuples(moved->get())) != "1") {
            return tl::unexpected(
                SinkError{SinkErrorKind::kRefused, "", fmt::format("partition {} is not at {}", raw(partition), raw(progress.from))});
        }
    }
    if (const auto committed = command("COMMIT"); !committed) {
        return tl::unexpected(committed.error());
    }
    return FlushResult{};
}

tl::expected<std::vector<Hour>, SinkError> UpsertSink::hours(Millis since, Millis until) {
    const std::string sql = fmt::format(
        "SELECT (extract(epoch FROM h) * 1000)::bigint, (extract(epoch FROM date_trunc('day', h, 'UTC')) * 1000)::bigint, "
        "(extract(epoch FROM date_trunc('month', h, 'UTC')) * 1000)::bigint "
        "FROM generate_series(date_trunc('hour', to_timestamp({}), 'UTC'), to_timestamp({}), interval '1 hour') AS h",
        raw(since) / 1000, raw(until) / 1000);
    const Result rows(PQexec(connection_.get(), sql.c_str()));
    if (PQresultStatus(rows.get()) != PGRES_TUPLES_OK) {
        return tl::unexpected(failure(rows.get()));
    }
    std::vector<Hour> found;
    for (int row = 0; row < PQntuples(rows.get()); ++row) {
        const auto at = [&](int column) { return Millis{std::strtoll(PQgetvalue(rows.get(), row, column), nullptr, 10)}; };
        found.push_back({.start = at(0), .end = Millis{raw(at(0)) + 3'600'000}, .day_start = at(1), .month_start = at(2)});
        hours_[raw(found.back().start)] = found.back();
    }
    return found;
}

}  // namespace topkd::bench
