#include "verify_stored.h"

#include <fmt/format.h>
#include <libpq-fe.h>

#include <charconv>
#include <functional>
#include <string_view>

namespace topkd::verify {

namespace {

struct ClearResult {
    void operator()(PGresult* result) const { PQclear(result); }
};
using Result = std::unique_ptr<PGresult, ClearResult>;

/// One row of a result, by column number.
class Row {
  public:
    Row(const PGresult* result, int row) : result_(result), row_(row) {}

    bool null(int column) const { return PQgetisnull(result_, row_, column) != 0; }
    std::string_view text(int column) const {
        return {PQgetvalue(result_, row_, column), static_cast<std::size_t>(PQgetlength(result_, row_, column))};
    }
    std::string string(int column) const { return std::string(text(column)); }
    std::int64_t integer(int column) const {
        std::int64_t value = 0;
        const std::string_view digits = text(column);
        std::from_chars(digits.data(), digits.data() + digits.size(), value);
        return value;
    }
    std::optional<std::int64_t> optional_integer(int column) const {
        return null(column) ? std::nullopt : std::optional<std::int64_t>(integer(column));
    }
    std::optional<std::string> optional_bytes(int column) const {
        if (null(column)) {
            return std::nullopt;
        }
        std::size_t length = 0;
        unsigned char* bytes = PQunescapeBytea(reinterpret_cast<const unsigned char*>(PQgetvalue(result_, row_, column)), &length);
        std::string value(reinterpret_cast<char*>(bytes), length);
        PQfreemem(bytes);
        return value;
    }

  private:
    const PGresult* result_;
    int row_;
};

using OnRow = std::function<void(const Row&)>;

std::string trimmed(std::string text) {
    while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) {
        text.pop_back();
    }
    return text;
}

/// Runs one statement and hands its rows over one by one, never holding them all. The error's text, or none.
std::optional<std::string> query(PGconn* connection, const std::string& sql, const std::vector<std::string>& parameters,
                                 const OnRow& on_row) {
    std::vector<const char*> values;
    for (const std::string& parameter : parameters) {
        values.push_back(parameter.c_str());
    }
    if (PQsendQueryParams(connection, sql.c_str(), static_cast<int>(values.size()), nullptr, values.data(), nullptr, nullptr, 0) == 0) {
        return trimmed(PQerrorMessage(connection));
    }
    PQsetSingleRowMode(connection);
    std::optional<std::string> error;
    while (const Result result{PQgetResult(connection)}) {
        const ExecStatusType status = PQresultStatus(result.get());
        if (status == PGRES_SINGLE_TUPLE) {
            on_row(Row(result.get(), 0));
        } else if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK) {
            error = trimmed(PQresultErrorMessage(result.get()));
        }
    }
    return error;
}

/// The SQL of an instant in milliseconds.
std::string millis(std::string_view expression) {
    return fmt::format("(extract(epoch FROM {}) * 1000)::bigint", expression);
}

constexpr std::string_view kBookColumns =
    "partition, start_offset, next_offset, counted, late, dead, skipped, last_offset, last_timestamp_ms, last_crc,"
    " coalesce(cluster_id, ''), clock_advanced_at IS NOT NULL";

/// A column of the registry as text; NULL where it is missing, since the extension is of a version in which nothing expired.
std::string newer(std::string_view column) {
    return fmt::format("to_jsonb(c) ->> '{}'", column);
}

/// A frontier of expiry in milliseconds; NULL while nothing expired.
std::string frontier(std::string_view column) {
    const std::string instant = fmt::format("({})::timestamptz", newer(column));
    return fmt::format("CASE WHEN isfinite({0}) THEN {1} END", instant, millis(instant));
}

/// Rows of a table of (window_start, video_id, views) that its roll-up of a span does not have yet.
std::string not_rolled_up(std::string_view span) {
    return fmt::format(
        "(r.window_start, r.video_id) > (coalesce((SELECT window_start FROM topk.roll_up_marker WHERE counter = $1 AND span = '{0}'),"
        " '-infinity'), coalesce((SELECT video_id FROM topk.roll_up_marker WHERE counter = $1 AND span = '{0}'), ''))",
        span);
}

constexpr std::string_view kWatermark = "CASE WHEN isfinite(watermark) THEN (extract(epoch FROM watermark) * 1000)::bigint END";

Book book(const Row& row) {
    Book result;
    result.partition = static_cast<int>(row.integer(0));
    result.start = row.integer(1);
    result.next = row.integer(2);
    result.counted = row.integer(3);
    result.late = row.integer(4);
    result.dead = row.integer(5);
    result.skipped = row.integer(6);
    result.last_offset = row.optional_integer(7);
    result.last_timestamp = row.optional_integer(8);
    result.last_crc = row.optional_integer(9);
    result.cluster_id = row.string(10);
    result.clock_advanced = row.text(11) == "t";
    result.flushed_at = row.integer(12);
    result.watermark = row.optional_integer(13);
    result.created_at = row.optional_integer(14);
    result.reset_reason = row.string(15);
    result.retired = row.text(16) == "t";
    return result;
}

/// The queries of one snapshot, one after the other; the first error ends it.
class Snapshot {
  public:
    Snapshot(PGconn* connection, const std::string& counter, const std::string& topic)
        : connection_(connection), counter_(counter), topic_(topic) {}

    tl::expected<Stored, std::string> read() {
        run("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", {}, [](const Row&) {});
        read_counter();
        if (!error_ && tables_.hours.empty()) {
            error_ = fmt::format("there is no counter \"{}\" that this user may read", counter_);
        }
        read_books();
        read_dead_letters();
        read_views();
        if (has_retention_) {
            read_expired();
        }
        run("COMMIT", {}, [](const Row&) {});
        if (error_) {
            return tl::unexpected(*error_);
        }
        return std::move(stored_);
    }

  private:
    void run(const std::string& sql, const std::vector<std::string>& parameters, const OnRow& on_row) {
        if (!error_) {
            error_ = query(connection_, sql, parameters, on_row);
        }
    }

    /// The names of tables are quoted and qualified, since search_path has no schema of the user's.
    void read_counter() {
        run(fmt::format("SELECT hour_table::text, {}, {}, {}, {}, {}, {}, {}, {} FROM topk.counter c WHERE name = $1", millis("created_at"),
                        millis("max_age"), millis("max_clock_skew"), millis("lateness"), newer("day_rollup"), newer("month_rollup"),
                        frontier("hours_expired_through"), frontier("days_expired_through")),
            {counter_}, [&](const Row& row) {
                tables_ = {row.string(0), row.string(5), row.string(6)};
                has_retention_ = !row.null(5);
                stored_.counter_created_at = row.integer(1);
                stored_.max_age = row.integer(2);
                stored_.max_clock_skew = row.integer(3);
                stored_.lateness = row.integer(4);
                stored_.hours_expired_through = row.optional_integer(7);
                stored_.days_expired_through = row.optional_integer(8);
            });
    }

    void read_books() {
        run(fmt::format("SELECT {0}, coalesce({1}, 0), {2}, {3}, '', false FROM topk.kafka_progress"
                        " WHERE counter = $1 AND topic = $2 AND next_offset IS NOT NULL"
                        " UNION ALL SELECT {0}, coalesce({1}, 0), {2}, {3}, reason, reset_to IS NULL FROM topk.progress_history"
                        " WHERE counter = $1 AND topic = $2 AND next_offset IS NOT NULL ORDER BY 1, 2",
                        kBookColumns, millis("flushed_at"), kWatermark, millis("created_at")),
            {counter_, topic_}, [&](const Row& row) { stored_.books.push_back(book(row)); });
        run("SELECT topic FROM topk.kafka_progress WHERE counter = $1 AND topic <> $2 AND next_offset > start_offset"
            " UNION SELECT topic FROM topk.progress_history WHERE counter = $1 AND topic <> $2 AND next_offset > start_offset ORDER BY 1",
            {counter_, topic_}, [&](const Row& row) { stored_.other_topics.push_back(row.string(0)); });
    }

    void read_dead_letters() {
        run(fmt::format("SELECT partition, \"offset\", reason, payload, {} FROM topk.dead_letter WHERE counter = $1 AND topic = $2",
                        millis("recorded_at")),
            {counter_, topic_}, [&](const Row& row) {
                stored_.dead_letters[{static_cast<int>(row.integer(0)), row.integer(1)}].push_back(
                    {row.string(2), row.optional_bytes(3), row.integer(4)});
            });
    }

    void read_views() {
        const auto views_of = [&](const Row& row) -> Views& { return stored_.hours[row.integer(0)][row.string(1)]; };
        std::string where;
        std::vector<std::string> parameters;
        if (stored_.hours_expired_through) {
            where = fmt::format(
                " LEFT JOIN topk.hour_map m ON m.counter = $1 AND m.hour_start = h.window_start"
                " WHERE m.counter IS NULL OR (m.day_start >= {} AND m.month_start >= {})",
                instant(stored_.hours_expired_through), instant(stored_.days_expired_through));
            parameters = {counter_};
        }
        run(fmt::format("SELECT {}, video_id, views FROM {} h{}", millis("window_start"), tables_.hours, where), parameters,
            [&](const Row& row) { views_of(row).counted += row.integer(2); });
        run(fmt::format("SELECT {}, video_id, views FROM topk.late_views WHERE counter = $1", millis("hour_start")), {counter_},
            [&](const Row& row) { views_of(row).late += row.integer(2); });
        run(fmt::format("SELECT {}, video_id, delta FROM topk.correction WHERE counter = $1", millis("hour_start")), {counter_},
            [&](const Row& row) {
                views_of(row).counted -= row.integer(2);
                ++stored_.corrections;
            });
    }

    static std::string instant(const std::optional<Instant>& milliseconds) {
        return milliseconds ? fmt::format("to_timestamp({}::bigint / 1000)", *milliseconds) : "'-infinity'::timestamptz";
    }

    /// Days with expired hours, unless their month has expired days, and such months; and what expired besides.
    void read_expired() {
        run(fmt::format("SELECT {}, views FROM topk.expired_late WHERE counter = $1", millis("hour_start")), {counter_},
            [&](const Row& row) { stored_.expired_late[row.integer(0)] += row.integer(1); });
        run("SELECT partition, letters FROM topk.expired_dead WHERE counter = $1 AND topic = $2", {counter_, topic_},
            [&](const Row& row) { stored_.expired_dead[static_cast<int>(row.integer(0))] += row.integer(1); });
        if (!stored_.hours_expired_through) {
            return;
        }
        const std::string hours = fmt::format("{} r JOIN topk.hour_map m ON m.counter = $1 AND m.hour_start = r.window_start WHERE {}",
                                              tables_.hours, not_rolled_up("day"));
        const std::string days =
            "(SELECT day_start, min(month_start) AS month_start FROM topk.hour_map WHERE counter = $1 GROUP BY day_start) n";
        run(fmt::format("SELECT {}, video_id, sum(views)::bigint FROM (SELECT window_start, video_id, views FROM {}"
                        " UNION ALL SELECT m.day_start, r.video_id, r.views FROM {}) d JOIN {} ON n.day_start = d.window_start"
                        " WHERE d.window_start < {} AND n.month_start >= {} GROUP BY d.window_start, video_id",
                        millis("d.window_start"), tables_.days, hours, days, instant(stored_.hours_expired_through),
                        instant(stored_.days_expired_through)),
            {counter_}, [&](const Row& row) { stored_.days[row.integer(0)][row.string(1)] += row.integer(2); });
        run(fmt::format("SELECT {}, video_id, sum(views)::bigint FROM (SELECT window_start, video_id, views FROM {}"
                        " UNION ALL SELECT n.month_start, r.video_id, r.views FROM {} r JOIN {} ON n.day_start = r.window_start WHERE {}"
                        " UNION ALL SELECT m.month_start, r.video_id, r.views FROM {}) d"
                        " WHERE d.window_start < {} GROUP BY d.window_start, video_id",
                        millis("d.window_start"), tables_.months, tables_.days, days, not_rolled_up("month"), hours,
                        instant(stored_.days_expired_through)),
            {counter_}, [&](const Row& row) { stored_.months[row.integer(0)][row.string(1)] += row.integer(2); });
    }

    struct Tables {
        std::string hours;
        std::string days;
        std::string months;
    };

    PGconn* connection_;
    const std::string& counter_;
    const std::string& topic_;
    Tables tables_;
    bool has_retention_ = false;
    Stored stored_;
    std::optional<std::string> error_;
};

}  // namespace

void StoredReader::Disconnect::operator()(pg_conn* connection) const {
    PQfinish(connection);
}

tl::expected<StoredReader, std::string> StoredReader::connect(const std::string& conninfo) {
    const char* const keywords[] = {"dbname", "fallback_application_name", "client_encoding", nullptr};
    const char* const values[] = {conninfo.c_str(), "topkd verify", "UTF8", nullptr};
    StoredReader reader(PQconnectdbParams(keywords, values, 1));
    PGconn* connection = reader.connection_.get();
    if (PQstatus(connection) != CONNECTION_OK) {
        return tl::unexpected(trimmed(PQerrorMessage(connection)));
    }
    if (const auto error = query(connection, "SET search_path = pg_catalog", {}, [](const Row&) {})) {
        return tl::unexpected(*error);
    }
    return reader;
}

tl::expected<Stored, std::string> StoredReader::read(const std::string& counter, const std::string& topic) {
    return Snapshot(connection_.get(), counter, topic).read();
}

tl::expected<std::vector<HourBounds>, std::string> StoredReader::hours(const std::string& counter, Instant since, Instant until) {
    std::vector<HourBounds> result;
    const auto error =
        query(connection_.get(),
              fmt::format("SELECT {}, {}, {}, {} FROM topk.hours($1, to_timestamp($2::bigint / 1000), to_timestamp($3::bigint / 1000))"
                          " ORDER BY 1",
                          millis("hour_start"), millis("hour_end"), millis("day_start"), millis("month_start")),
              {counter, std::to_string(since), std::to_string(until)}, [&](const Row& row) {
                  result.push_back({row.integer(0), row.integer(1), row.integer(2), row.integer(3)});
              });
    if (error) {
        return tl::unexpected(*error);
    }
    return result;
}

}  // namespace topkd::verify
