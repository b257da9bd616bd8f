#include "serve/pg_list_reader.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <array>
#include <charconv>
#include <cstring>

#include "pg_literal.h"

namespace topkd {
namespace {

constexpr const char* kList = "topkd_list";

// The first row is the window's. now() is the same everywhere in a statement, so that both functions mean the same window.
constexpr const char* kListSql =
    "SELECT 0::bigint AS rank, NULL::text, NULL::bigint,"
    " CASE WHEN isfinite(w.window_start) THEN floor(extract(epoch FROM w.window_start) * 1000)::bigint END,"
    " CASE WHEN isfinite(w.window_end) THEN floor(extract(epoch FROM w.window_end) * 1000)::bigint END,"
    " w.sealed, w.revision,"
    " CASE WHEN isfinite(w.watermark) THEN floor(extract(epoch FROM w.watermark) * 1000)::bigint END,"
    " (extract(epoch FROM w.counter_created_at) * 1000000)::bigint"
    " FROM topk.window_state($1::text, $2::timestamptz, $3::text) w"
    " UNION ALL"
    " SELECT t.rank, t.video_id, t.views, NULL, NULL, NULL, NULL, NULL, NULL"
    " FROM topk.top($1::text, $4::int, $2::timestamptz, $3::text) t";

enum Column { kRank, kVideoId, kViews, kWindowStart, kWindowEnd, kSealed, kRevision, kWatermark, kCounterMade };

/// The plan never depends on the values. Compilation costs more than any of these queries.
std::string session_of(std::chrono::milliseconds query_timeout) {
    return fmt::format(
        "SET default_transaction_read_only = on; SET statement_timeout = {}; SET plan_cache_mode = force_generic_plan; SET jit = off",
        query_timeout.count());
}

std::int64_t number(const PGresult* result, int row, int column) {
    const char* text = PQgetvalue(result, row, column);
    std::int64_t value = 0;
    std::from_chars(text, text + std::strlen(text), value);
    return value;
}

std::optional<Millis> instant(const PGresult* result, int row, int column) {
    return PQgetisnull(result, row, column) != 0 ? std::nullopt : std::optional(Millis{number(result, row, column)});
}

TopList list_of(const PGresult* result, int k, Instant taken) {
    TopList list{.k = k, .entries = {}, .window_start = {}, .window_end = {}, .watermark = {}, .taken = taken};
    const int rows = PQntuples(result);
    list.entries.reserve(static_cast<std::size_t>(std::max(rows - 1, 0)));
    for (int row = 0; row < rows; ++row) {
        if (number(result, row, kRank) > 0) {
            list.entries.push_back(
                {std::string(PQgetvalue(result, row, kVideoId), static_cast<std::size_t>(PQgetlength(result, row, kVideoId))),
                 number(result, row, kViews)});
            continue;
        }
        list.window_start = instant(result, row, kWindowStart);
        list.window_end = instant(result, row, kWindowEnd);
        list.sealed = std::string_view(PQgetvalue(result, row, kSealed)) == "t";
        list.revision = number(result, row, kRevision);
        list.watermark = instant(result, row, kWatermark);
        list.counter_made = number(result, row, kCounterMade);
    }
    return list;
}

SinkError refused(std::string message) {
    return {SinkErrorKind::kRefused, "", std::move(message)};
}

/// Worth a second try at once: the server went away and may be back, or a standby had to cancel us for its replay. Not what takes as
/// long again, such as a time-out.
bool may_be_over(const SinkError& error, bool connected) {
    return !connected || error.sqlstate == "40001" || error.sqlstate == "40P01";
}

}  // namespace

void TroubleLog::tell(const std::string& trouble) {
    const std::lock_guard lock(mutex_);
    if (told_ != trouble && !is_hushed_) {
        told_ = trouble;
        spdlog::warn("database: {}", trouble);
    }
}

void TroubleLog::tell_end() {
    const std::lock_guard lock(mutex_);
    if (!told_.empty()) {
        told_.clear();
        spdlog::info("database: answers again");
    }
}

void TroubleLog::hush() {
    const std::lock_guard lock(mutex_);
    is_hushed_ = true;
}

PgListReader::PgListReader(std::string conninfo, std::chrono::milliseconds query_timeout, const Clock& clock,
                           std::shared_ptr<TroubleLog> log)
    : connection_(std::move(conninfo), "topkd serve", session_of(query_timeout)), clock_(clock), log_(std::move(log)) {}

ListResult PgListReader::read(const ListKey& key, int k) {
    const bool was_connected = connection_.connected();
    auto list = query(key, k);
    // A broken connection is found out by using it.
    if (!list && was_connected && may_be_over(list.error(), connection_.connected())) {
        list = query(key, k);
    }
    if (!list) {
        return tl::unexpected(told(list.error()));
    }
    log_->tell_end();
    return std::move(*list);
}

std::optional<Problem> PgListReader::ping() {
    if (connection_.connected() && connection_.query("SELECT 1", {})) {
        log_->tell_end();
        return std::nullopt;
    }
    if (!connection_.connected()) {
        if (const auto opened = connect(); !opened) {
            return told(opened.error());
        }
        log_->tell_end();
        return std::nullopt;
    }
    return database_away("the database is away or busy");
}

tl::expected<TopList, SinkError> PgListReader::query(const ListKey& key, int k) {
    if (!connection_.connected()) {
        if (auto opened = connect(); !opened) {
            return tl::unexpected(std::move(opened.error()));
        }
    }
    const std::string at = key.at ? timestamp_literal(*key.at) : "";
    const std::string length = std::to_string(k);
    const Instant taken = clock_.monotonic();
    auto rows = connection_.execute(kList, {key.window.c_str(), key.at ? at.c_str() : nullptr, key.counter.c_str(), length.c_str()});
    if (!rows) {
        return tl::unexpected(std::move(rows.error()));
    }
    return list_of(rows->get(), k, taken);
}

tl::expected<void, SinkError> PgListReader::connect() {
    auto ready = connection_.open();
    if (ready) {
        ready = check_extension();
    }
    if (ready) {
        ready = connection_.prepare(kList, kListSql);
    }
    if (!ready) {
        connection_.close();
    }
    return ready;
}

tl::expected<void, SinkError> PgListReader::check_extension() {
    const auto installed = connection_.query("SELECT extversion FROM pg_catalog.pg_extension WHERE extname = 'topk'", {});
    if (!installed) {
        return tl::unexpected(installed.error());
    }
    const std::string version = PQntuples(installed->get()) == 0 ? "" : PQgetvalue(installed->get(), 0, 0);
    if (version.empty()) {
        return tl::unexpected(
            refused(fmt::format("the extension topk is not installed in database {}; run CREATE EXTENSION topk", connection_.database())));
    }
    if (version != TOPKD_EXTENSION_VERSION) {
        return tl::unexpected(refused(fmt::format(
            "the extension topk has version {}, this topkd needs {}; run ALTER EXTENSION topk UPDATE; or install the topkd that fits",
            version, TOPKD_EXTENSION_VERSION)));
    }
    return {};
}

/// Logs what an operator needs, and gives what a client may know. What a client did wrong is its own affair.
Problem PgListReader::told(const SinkError& error) {
    Problem problem = problem_of(error);
    if (problem.status >= 500) {
        log_->tell(error.sqlstate.empty() ? error.message : fmt::format("{} ({})", error.message, error.sqlstate));
    }
    return problem;
}

}  // namespace topkd
