#include "verify_recount.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <numeric>

#include "verify_decode.h"

namespace topkd::verify {

namespace {

// The ingest decides by its own clock, a moment before the database notes the time. More than this between the two would
// be a fault of its own.
constexpr std::int64_t kClockSlack = 10 * 60'000;
constexpr std::int64_t kHoursAtOnce = std::int64_t{32} * 86'400'000;
constexpr std::size_t kStoredPayloadBytes = 4096;

std::string in_quotes(std::string_view text) {
    return nlohmann::json(std::string(text)).dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
}

std::string written(Instant instant) {
    const std::int64_t seconds = instant / 1000;
    if (seconds < -62'000'000'000 || seconds > 253'000'000'000) {  // beyond four-digit years
        return fmt::format("{} ms", instant);
    }
    return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(static_cast<std::time_t>(seconds)));
}

bool within_limits(std::string_view reason, Instant time, Instant recorded_at, const Stored& stored) {
    if (reason.starts_with("older than max_age")) {
        return time >= recorded_at - stored.max_age + kClockSlack;
    }
    if (reason.starts_with("ahead of the clock")) {
        return time <= recorded_at + stored.max_clock_skew - kClockSlack;
    }
    return true;
}

bool depends_on_clock(std::string_view reason) {
    return reason.starts_with("older than max_age") || reason.starts_with("ahead of the clock");
}

/// CRC-32C bit by bit: slow, short, and obviously not the one that wrote the fingerprints.
class Crc32c {
  public:
    void add(std::string_view bytes) {
        for (const char byte : bytes) {
            crc_ ^= static_cast<unsigned char>(byte);
            for (int bit = 0; bit < 8; ++bit) {
                crc_ = (crc_ >> 1) ^ ((crc_ & 1) != 0 ? 0x82F63B78U : 0U);
            }
        }
    }
    void add_integer(std::int64_t value, int bytes) {
        for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8) {
            const char byte = static_cast<char>((value >> shift) & 0xFF);
            add({&byte, 1});
        }
    }
    void add_field(const std::optional<std::string_view>& field) {
        add_integer(field ? static_cast<std::int64_t>(field->size()) : -1, 4);
        add(field.value_or(std::string_view{}));
    }
    std::uint32_t value() const { return ~crc_; }

  private:
    std::uint32_t crc_ = 0xFFFFFFFFU;
};

}  // namespace

void Differences::add(Kind kind, std::string difference) {
    const auto index = static_cast<std::size_t>(kind);
    if (++counts_[index] <= kInWords) {
        words_[index].push_back(std::move(difference));
    }
}

std::uint64_t Differences::count() const {
    return std::accumulate(counts_.begin(), counts_.end(), std::uint64_t{0});
}

std::vector<std::string> Differences::in_words() const {
    std::array<std::size_t, kKinds> take{};
    std::size_t taken = 0;
    for (bool more = true; more && taken < kInWords;) {
        more = false;
        for (std::size_t kind = 0; kind < kKinds && taken < kInWords; ++kind) {
            if (take[kind] < words_[kind].size()) {
                ++take[kind];
                ++taken;
                more = true;
            }
        }
    }
    std::vector<std::string> words;
    for (std::size_t kind = 0; kind < kKinds; ++kind) {
        words.insert(words.end(), words_[kind].begin(), words_[kind].begin() + static_cast<std::ptrdiff_t>(take[kind]));
    }
    return words;
}

std::uint32_t fingerprint_of(const LogRecord& record) {
    Crc32c crc;
    crc.add_integer(record.timestamp.value_or(-1), 8);
    crc.add_field(record.key);
    crc.add_field(record.value);
    return crc.value();
}

Recount::Recount(Stored stored, HoursOf hours_of) : stored_(std::move(stored)), hours_of_(std::move(hours_of)) {
    for (const Book& book : stored_.books) {
        Instant& last_flush = partitions_[book.partition].last_flush;
        last_flush = std::max(last_flush, book.flushed_at);
    }
    for (const auto& [partition, letters] : stored_.expired_dead) {
        partitions_[partition].expired_dead = letters;
    }
}

std::int64_t Recount::books_of(const LogRecord& record) const {
    return std::count_if(stored_.books.begin(), stored_.books.end(), [&](const Book& book) {
        return book.partition == record.partition && record.offset >= book.start && record.offset < book.next;
    });
}

std::optional<std::string> Recount::add(const LogRecord& record) {
    const std::int64_t books = books_of(record);
    if (books == 0) {
        return std::nullopt;
    }
    PartitionTotals& partition = partitions_[record.partition];
    partition.records += books;
    check_fingerprint(record);
    const Decoded event = decode(record.key, record.value, record.timestamp);
    const auto letters = stored_.dead_letters.find({record.partition, record.offset});
    const std::int64_t stored = letters == stored_.dead_letters.end() ? 0 : std::ssize(letters->second);
    const std::int64_t expired = place_expired_dead(record, event, books - stored);
    const std::int64_t dead = event.faults != 0 ? books : std::min(books, stored + expired);
    if (stored > 0) {
        check_dead(record, event.faults, event.time, letters->second, books - expired);
    } else if (event.faults != 0 && expired < books) {
        differences_.add(Differences::Kind::records,
                         fmt::format("partition {} offset {}: no event, but no dead letter either", record.partition, record.offset));
    }
    partition.dead += dead;
    partition.events += books - dead;
    if (books == dead) {
        return std::nullopt;
    }
    check_limits(record, event.time, partition.last_flush);
    return count(record, event, books - dead);
}

/// How many of the record's dead letters, of which some are missing, have expired. Those of good events can be told only where the event
/// was too old when it was made, or is ahead of the clock of the last flush.
std::int64_t Recount::place_expired_dead(const LogRecord& record, const Decoded& event, std::int64_t missing) {
    PartitionTotals& partition = partitions_[record.partition];
    const bool is_out_of_time = (record.timestamp && event.time < *record.timestamp - stored_.max_age) ||
                                event.time > partition.last_flush + stored_.max_clock_skew;
    if (missing <= 0 || partition.expired_dead == 0 || (event.faults == 0 && !is_out_of_time)) {
        return 0;
    }
    const std::int64_t placed = std::min(missing, partition.expired_dead);
    partition.expired_dead -= placed;
    return placed;
}

void Recount::check_fingerprint(const LogRecord& record) {
    for (const Book& book : stored_.books) {
        if (book.partition != record.partition || book.last_offset != record.offset) {
            continue;
        }
        if (book.last_timestamp.value_or(-1) != record.timestamp.value_or(-1) || book.last_crc != std::int64_t{fingerprint_of(record)}) {
            differences_.add(Differences::Kind::records,
                             fmt::format("partition {} offset {}: the record is not the one that was consumed (was the topic made again?)",
                                         record.partition, record.offset));
        }
    }
}

void Recount::check_limits(const LogRecord& record, Instant time, Instant last_flush) {
    if (time < stored_.counter_created_at - stored_.max_age - kClockSlack) {
        differences_.add(Differences::Kind::records,
                         fmt::format("partition {} offset {}: counted, although older than max_age", record.partition, record.offset));
    } else if (time > last_flush + stored_.max_clock_skew + kClockSlack) {
        differences_.add(Differences::Kind::records,
                         fmt::format("partition {} offset {}: counted, although ahead of the clock", record.partition, record.offset));
    }
}

void Recount::check_dead(const LogRecord& record, unsigned faults, Instant time, std::vector<DeadLetter>& letters, std::int64_t books) {
    const auto differs = [&](const std::string& what) {
        differences_.add(Differences::Kind::records, fmt::format("partition {} offset {}: {}", record.partition, record.offset, what));
    };
    if (std::ssize(letters) > books) {
        differs(fmt::format("{} dead letters for one record", letters.size()));
    } else if (faults != 0 && std::ssize(letters) < books) {
        differs("consumed again after a reset, but only one dead letter");
    }
    for (DeadLetter& letter : letters) {
        letter.seen = true;
        if (faults == 0 && !depends_on_clock(letter.reason)) {
            differs(fmt::format("a good event is a dead letter: {}", in_quotes(letter.reason)));
        } else if (faults == 0 && within_limits(letter.reason, time, letter.recorded_at, stored_)) {
            differs(fmt::format("dead letter {}, but its event time is within the limit", in_quotes(letter.reason)));
        } else if (faults != 0 && (faults_named_by(letter.reason) & faults) == 0) {
            differs(fmt::format("dead letter with a wrong reason: {}", in_quotes(letter.reason)));
        }
        // A flood of dead letters drops payloads, so none is no difference.
        if (letter.payload && (!record.value || *letter.payload != record.value->substr(0, kStoredPayloadBytes))) {
            differs("the dead letter's payload is not the record's");
        }
    }
}

std::optional<std::string> Recount::count(const LogRecord& record, const Decoded& event, std::int64_t times) {
    if (current_views_ == nullptr || event.time < current_hour_.start || event.time >= current_hour_.end) {
        if (auto error = find_hour(event.time)) {
            return error;
        }
        current_views_ = &stored_.hours[current_hour_.start];  // references into the map survive its growth
    }
    EventTime& event_time = times_[record.partition];
    Views& views = (*current_views_)[event.video_id];
    if (event_time.too_late_for(current_hour_.end, stored_.lateness)) {
        views.recounted_late += event.views * times;
        partitions_[record.partition].late += times;
    } else {
        views.recounted += event.views * times;
    }
    event_time.pass(event.time, record.timestamp);
    return std::nullopt;
}

std::optional<std::string> Recount::find_hour(Instant time) {
    const auto known = [&] {
        const auto after = hours_.upper_bound(time);
        if (after == hours_.begin() || std::prev(after)->second.end <= time) {
            return false;
        }
        current_hour_ = std::prev(after)->second;
        return true;
    };
    if (known()) {
        return std::nullopt;
    }
    const auto loaded = hours_of_(time - kHoursAtOnce / 2, time + kHoursAtOnce / 2);
    if (!loaded) {
        return loaded.error();
    }
    for (const HourBounds& hour : *loaded) {
        hours_[hour.start] = hour;
    }
    return known() ? std::nullopt : std::optional<std::string>(fmt::format("the counter has no hour for {}", written(time)));
}

Differences Recount::compare() {
    split_not_compared_ = split_obstacle(stored_, times_);
    compare_books();
    compare_watermarks();
    compare_dead_letters();
    compare_views();
    return std::move(differences_);
}

void Recount::compare_books() {
    // By partition, over all its books: after a reset to an earlier offset, a record dead by the clock in one of two books
    // cannot be told to which.
    std::map<int, Book> sums;
    for (const Book& book : stored_.books) {
        Book& sum = sums[book.partition];
        sum.next += book.next - book.start;
        sum.counted += book.counted;
        sum.late += book.late;
        sum.dead += book.dead;
        sum.skipped += book.skipped;
    }
    for (const auto& [number, book] : sums) {
        PartitionTotals& log = partitions_[number];
        unplaced_dead_ += log.expired_dead;
        log.events -= log.expired_dead;
        log.dead += log.expired_dead;
        const std::int64_t skipped = book.next - log.records;
        const auto compare = [&, partition = number](std::string_view what, std::int64_t stored, std::int64_t recounted) {
            if (stored != recounted) {
                differences_.add(Differences::Kind::books,
                                 fmt::format("partition {}: the books have {} records {}, the log {}", partition, stored, what, recounted));
            }
        };
        compare("counted or late", book.counted + book.late, log.events);
        if (!split_not_compared_ && book.counted + book.late == log.events) {
            compare("late", book.late, log.late);
        }
        compare("dead", book.dead, log.dead);
        compare("skipped", book.skipped, skipped);
        totals_.records += log.records;
        totals_.events += log.events;
        totals_.late += book.late;
        totals_.dead += log.dead;
        totals_.skipped += skipped;
    }
}

void Recount::compare_dead_letters() {
    for (const auto& [place, letters] : stored_.dead_letters) {
        for (const DeadLetter& letter : letters) {
            if (!letter.seen) {
                differences_.add(Differences::Kind::records,
                                 fmt::format("partition {} offset {}: a dead letter, but no record was consumed there: {}", place.first,
                                             place.second, in_quotes(letter.reason)));
            }
        }
    }
}

// A stored watermark short of the log's is an obstacle to the split; one beyond it has no record that explains it.
void Recount::compare_watermarks() {
    for (const Book& book : stored_.books) {
        const std::optional<Instant> reached = times_[book.partition].reached();
        if (!split_not_compared_ && book.watermark > reached) {
            differences_.add(Differences::Kind::books,
                             fmt::format("partition {}: the watermark is {}, the log's events reach {}", book.partition,
                                         written(*book.watermark), reached ? written(*reached) : "nowhere"));
        }
    }
}

/// Where rows of hours expired, the day and the month of every hour are needed.
void Recount::look_up_hours() {
    std::vector<Instant> wanted;
    for (const auto& [hour, videos] : stored_.hours) {
        wanted.push_back(hour);
    }
    for (const auto& [hour, views] : stored_.expired_late) {
        wanted.push_back(hour);
    }
    for (const Instant hour : wanted) {
        if (auto error = find_hour(hour)) {
            differences_.add(Differences::Kind::rows, fmt::format("hour {}: {}", written(hour), *error));
        }
    }
}

void Recount::compare_views() {
    if (stored_.hours_expired_through) {
        look_up_hours();
    }
    const auto bounds_of = [&](Instant hour) {
        const auto found = hours_.find(hour);
        return found == hours_.end() ? nullptr : &found->second;
    };
    for (const auto& [name, window] : windows_of(stored_, bounds_of)) {
        compare_window(name, window);
    }
}

void Recount::compare_window(const WindowName& name, const Window& window) {
    const auto lacking = [](const Views& v) { return v.recounted + v.recounted_late - v.counted - v.late; };
    const bool compares_late = !split_not_compared_ && window.expired_late == 0;
    std::int64_t expired = 0;
    std::vector<std::string_view> differing;
    for (const auto& [video_id, views] : window.videos) {
        if (lacking(views) > 0 && (window.expired_late > 0 || unplaced_dead_ > 0)) {
            expired += lacking(views);
        } else if (lacking(views) != 0 || (compares_late && views.late != views.recounted_late)) {
            differing.push_back(video_id);
        }
    }
    totals_.rows += window.videos.size();
    const std::string place = fmt::format("{} {}", name.span_name(), written(name.start));
    if (expired != window.expired_late && unplaced_dead_ == 0) {
        differences_.add(Differences::Kind::rows,
                         fmt::format("{}: {} late views have expired, but the tables have {} views less than the log", place,
                                     window.expired_late, expired));
    }
    std::sort(differing.begin(), differing.end());
    for (const std::string_view video_id : differing) {
        const Views& views = window.videos.at(std::string(video_id));
        const std::string video = fmt::format("{} video {}", place, in_quotes(video_id));
        if (lacking(views) != 0) {
            differences_.add(Differences::Kind::rows, fmt::format("{}: the tables have {} views, the log {}", video,
                                                                  views.counted + views.late, views.recounted + views.recounted_late));
        } else {
            differences_.add(Differences::Kind::rows,
                             fmt::format("{}: the tables have {} views in time and {} late, by the log {} and {} are", video, views.counted,
                                         views.late, views.recounted, views.recounted_late));
        }
    }
}

}  // namespace topkd::verify
