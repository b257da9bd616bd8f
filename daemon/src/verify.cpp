#include "verify.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <iostream>
#include <memory>

#include "options.h"
#include "pg_connection.h"
#include "verify_log.h"
#include "verify_recount.h"
#include "verify_stored.h"

namespace topkd {

namespace {

struct VerifyOptions {
    std::string db;
    std::string brokers = "localhost:9092";
    std::string topic = "view_events";
    std::string counter = "video_views";
    std::vector<std::string> kafka;
};

using verify::Book;
using verify::OffsetRange;
using verify::Ranges;
using verify::Stored;

void say(const std::string& line) {
    std::cout << line << "\n";
}

/// What forbids a recount before it begins; none if nothing does.
std::optional<std::string> obstacle(const VerifyOptions& options, const Stored& stored) {
    if (stored.books.empty()) {
        return fmt::format("counter \"{}\" has consumed nothing of topic \"{}\"", options.counter, options.topic);
    }
    if (!stored.other_topics.empty()) {
        return fmt::format("counter \"{}\" also counts topic \"{}\"; its tables hold the sum, which one topic cannot reproduce",
                           options.counter, stored.other_topics.front());
    }
    return std::nullopt;
}

/// What to read of each partition: from the first offset of its books to the last. Prints what is no longer there; none if
/// something is missing.
std::optional<Ranges> ranges_to_read(const Stored& stored, const verify::LogReader& log) {
    Ranges ranges;
    bool complete = true;
    for (const Book& book : stored.books) {
        if (book.start >= book.next) {
            continue;
        }
        const auto [place, first] = ranges.try_emplace(book.partition, OffsetRange{book.start, book.next});
        if (!first) {
            place->second = {std::min(place->second.from, book.start), std::max(place->second.to, book.next)};
        }
        const auto available = log.available(book.partition);
        if (!available) {
            say(available.error());
            complete = false;
            continue;
        }
        const auto missing = [&](std::int64_t from, std::int64_t to, const char* why) {
            say(fmt::format("partition {}: offsets {} to {} cannot be recounted: {}", book.partition, from, to - 1, why));
            complete = false;
        };
        if (book.start < available->from) {
            missing(book.start, std::min(book.next, available->from), "they are no longer in the log");
        }
        if (book.next > available->to) {
            missing(std::max(book.start, available->to), book.next, "the log ends before them (was the topic made again?)");
        }
    }
    return complete ? std::optional(ranges) : std::nullopt;
}

bool same_cluster(const Stored& stored, const verify::LogReader& log) {
    const std::string actual = log.cluster_id();
    for (const Book& book : stored.books) {
        if (!book.cluster_id.empty() && !actual.empty() && book.cluster_id != actual) {
            say(fmt::format("partition {}: consumed from cluster {}, but this is cluster {}", book.partition, book.cluster_id, actual));
            return false;
        }
    }
    return true;
}

std::string outcome(const verify::Differences& differences) {
    using Kind = verify::Differences::Kind;
    if (differences.count() == 0) {
        return "equal";
    }
    return fmt::format("{} differences ({} in the books, {} in the rows, {} in records and dead letters)", differences.count(),
                       differences.count(Kind::books), differences.count(Kind::rows), differences.count(Kind::records));
}

int report(const VerifyOptions& options, const verify::Differences& differences, const verify::Recount& recount) {
    const verify::Totals& totals = recount.totals();
    const std::vector<std::string> in_words = differences.in_words();
    for (const std::string& difference : in_words) {
        say(difference);
    }
    if (differences.count() > in_words.size()) {
        say(fmt::format("… and {} more", differences.count() - in_words.size()));
    }
    if (const auto& why = recount.split_not_compared()) {
        say(fmt::format("verify: in time and late ({} records) were compared in their sum only: {}", totals.late, *why));
    } else {
        say(fmt::format("verify: in time and late ({} records) were compared each for itself", totals.late));
    }
    if (recount.corrections() > 0) {
        say(fmt::format("verify: {} corrections by topk.correct were taken back before comparing", recount.corrections()));
    }
    if (recount.unplaced_dead() > 0) {
        say(fmt::format(
            "verify: {} dead letters that expired cannot be told from the log: where the tables have less than it, it may be these",
            recount.unplaced_dead()));
    }
    if (recount.days_compared()) {
        say("verify: hours that expired were compared by their days, and days that expired by their months");
    }
    say(fmt::format("verify: {}: counter {}, topic {}: {} records ({} counted or late, {} dead), {} offsets skipped, {} rows",
                    outcome(differences), options.counter, options.topic, totals.records, totals.events, totals.dead, totals.skipped,
                    totals.rows));
    std::cout << std::flush;
    return differences.count() == 0 ? 0 : 1;
}

int failed(const std::string& what) {
    std::cout << std::flush;
    spdlog::error("verify: {}", what);
    return 1;
}

int run_verify(const VerifyOptions& options) {
    auto database = verify::StoredReader::connect(options.db);
    if (!database) {
        return failed("cannot connect to the database: " + database.error());
    }
    auto stored = database->read(options.counter, options.topic);
    if (!stored) {
        return failed("cannot read the counter: " + stored.error());
    }
    if (const auto reason = obstacle(options, *stored)) {
        return failed(*reason);
    }
    auto log = verify::LogReader::open(options.brokers, options.topic, options.kafka);
    if (!log) {
        return failed("cannot read the topic: " + log.error());
    }
    if (!same_cluster(*stored, *log)) {
        return failed("another cluster");
    }
    const auto ranges = ranges_to_read(*stored, *log);
    if (!ranges) {
        return failed("not every record can be recounted");
    }
    verify::Recount recount(std::move(*stored),
                            [&](verify::Instant since, verify::Instant until) { return database->hours(options.counter, since, until); });
    if (const auto error = log->read(*ranges, [&](const verify::LogRecord& record) { return recount.add(record); })) {
        return failed(*error);
    }
    const verify::Differences differences = recount.compare();
    return report(options, differences, recount);
}

}  // namespace

void register_verify(CLI::App& app, int& exit_code) {
    CLI::App* command = app.add_subcommand("verify", "Recount a topic and compare with the tables");
    const auto options = std::make_shared<VerifyOptions>();
    command->add_option("--db", options->db, "The database, as a libpq connection string or URI")
        ->type_name("CONNINFO")
        ->check(refuse_connection_string);
    command->add_option("--brokers", options->brokers, "Kafka bootstrap servers")->capture_default_str();
    command->add_option("--topic", options->topic, "Topic to recount")->capture_default_str();
    command->add_option("--counter", options->counter, "Counter to compare with")->capture_default_str();
    command->add_option("--kafka", options->kafka, "Any librdkafka property; repeat for more")->type_name("KEY=VALUE");
    command->callback([command, options, &exit_code] {
        spdlog::info("verify: {}", effective_configuration(*command));
        if (const auto conf = kafka_conf({}, options->kafka); !conf) {
            spdlog::error("{}", conf.error());
            exit_code = 2;
            return;
        }
        exit_code = run_verify(*options);
    });
}

}  // namespace topkd
