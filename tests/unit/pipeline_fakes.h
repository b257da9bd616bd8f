// A log, a group and a database in memory, behind the pipeline's seams. They keep the rules of the real ones as far as
// the protocol depends on them, fail at any call before or after its effect, and note whoever breaks a rule.
#pragma once

#include <algorithm>
#include <atomic>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "clock.h"
#include "delta_parser.h"
#include "sink.h"
#include "source.h"

namespace topkd::test {

inline constexpr std::int64_t kHourMs = 3'600'000;
inline constexpr std::int64_t kNoon = 1'700'000'000'000 / kHourMs * kHourMs;  // some hour's start; the fakes' "now" is later

class FakeClock final : public Clock {
  public:
    Millis wall() const override { return Millis{kNoon + 2 * kHourMs + elapsed_}; }
    Instant monotonic() const override { return Instant{} + std::chrono::hours(1) + std::chrono::milliseconds(elapsed_); }
    void advance(std::int64_t ms) { elapsed_ += ms; }

  private:
    std::atomic<std::int64_t> elapsed_ = 0;  // workers of threaded tests read it too
};

/// Decides which call fails: the nth, or each with a probability; before its effect, or after it (outcome unknown).
class Faults {
  public:
    enum class Kind { kNone, kBefore, kAfter };

    Kind next() {
        const std::lock_guard lock(mutex_);
        ++calls_;
        if (calls_ == fail_at_) return kind_;
        if (probability_ > 0 && std::bernoulli_distribution(probability_)(random_)) {
            return std::bernoulli_distribution(0.5)(random_) ? Kind::kBefore : Kind::kAfter;
        }
        return Kind::kNone;
    }
    void fail_at(int call, Kind kind) { fail_at_ = call, kind_ = kind; }
    void fail_with(double probability, unsigned seed) {
        const std::lock_guard lock(mutex_);
        probability_ = probability;
        random_.seed(seed);
    }
    int calls() const { return calls_; }

  private:
    std::mutex mutex_;
    int calls_ = 0;
    int fail_at_ = 0;
    Kind kind_ = Kind::kNone;
    double probability_ = 0;
    std::mt19937 random_;
};

struct FakeRecord {
    std::int64_t timestamp = 0;
    std::string value;
    // What the naive model makes of it.
    std::string video;  // empty: dead
    std::int64_t hour = 0;
    std::int64_t views = 0;
    std::int64_t time = 0;
};

struct FakeLog {
    std::vector<std::deque<std::optional<FakeRecord>>> partitions;  // an empty offset delivers nothing: a marker
    std::vector<std::int64_t> starts;
    std::string cluster = "cluster-a";
    bool answers = true;                     // off: no broker proves an end any more
    std::optional<std::int64_t> open_since;  // a transaction is open from this offset of partition 0 on
    std::set<Partition> leaderless;          // nobody tells their bounds
    std::set<std::pair<Partition, Offset>> damaged;
    std::int64_t withheld = 0;  // so many records more of partition 0 are known, and do not come

    explicit FakeLog(std::size_t count) : partitions(count), starts(count, 0) {}
    std::int64_t end(Partition p) const { return static_cast<std::int64_t>(at(p).size()); }
    const std::deque<std::optional<FakeRecord>>& at(Partition p) const { return partitions[static_cast<std::size_t>(raw(p))]; }
    std::deque<std::optional<FakeRecord>>& at(Partition p) { return partitions[static_cast<std::size_t>(raw(p))]; }

    void event(int partition, const std::string& video, std::int64_t time, std::int64_t views = 1) {
        event_at(partition, video, time, time, views);
    }
    /// Its record's timestamp is another one than the event's.
    void event_at(int partition, const std::string& video, std::int64_t time, std::int64_t timestamp, std::int64_t views = 1) {
        at(Partition{partition})
            .push_back(FakeRecord{
                timestamp, R"({"video_id":")" + video + R"(","ts":)" + std::to_string(time) + R"(,"views":)" + std::to_string(views) + "}",
                video.starts_with("poison") ? "" : video, time / kHourMs * kHourMs, views, time});
    }
    void junk(int partition) { at(Partition{partition}).push_back(FakeRecord{kNoon + 2 * kHourMs, "{junk", "", 0, 0, 0}); }
    void marker(int partition) { at(Partition{partition}).push_back(std::nullopt); }
};

/// Delivers the log to one member, a random number of records at a time. Tests push rebalance events; started partitions are read in a
/// random order.
class FakeSource final : public Source {
  public:
    FakeSource(FakeLog& log, Faults& faults, const Clock& clock, unsigned seed)
        : log_(log), faults_(faults), clock_(clock), random_(seed) {}

    void push(SourceEvent event) { events_.push_back(std::move(event)); }
    bool acknowledged(Partition p) const { return !awaited_.contains(p); }
    void await(const std::vector<Partition>& partitions) { awaited_.insert(partitions.begin(), partitions.end()); }
    std::optional<Offset> started_at(Partition p) const {
        const auto found = cursors_.find(p);
        return found == cursors_.end() ? std::nullopt : std::optional(found->second.start);
    }
    int acknowledged_assignments = 0;
    bool lost = false;
    double redelivery = 0;
    double overtaking = 0;  // how often records come before an event that was there first

    Delivery poll(std::chrono::milliseconds, std::size_t at_most) override {
        records_.clear();
        if (events_.empty() || std::bernoulli_distribution(overtaking)(random_)) {
            SourceEvent event = read(std::min(at_most, std::uniform_int_distribution<std::size_t>(1, 8)(random_)));
            if (events_.empty() || !std::holds_alternative<Nothing>(event)) return {records_, std::move(event)};
        }
        SourceEvent event = std::move(events_.front());
        events_.pop_front();
        return {records_, std::move(event)};
    }
    void acknowledge_assigned() override { ++acknowledged_assignments; }
    void acknowledge_revoked(const std::vector<Partition>& partitions) override {
        stop(partitions);
        for (const Partition p : partitions) awaited_.erase(p);
        lost = false;
    }
    bool assignment_lost() const override { return lost; }
    bool start(const std::vector<StartAt>& partitions) override {
        const auto fault = faults_.next();
        if (fault != Faults::Kind::kNone) return false;
        for (const StartAt& one : partitions) cursors_[one.partition] = {one.offset, one.offset, false};
        return true;
    }
    void stop(const std::vector<Partition>& partitions) override {
        for (const Partition p : partitions) cursors_.erase(p);
    }
    tl::expected<TopicState, std::string> describe(const std::vector<Partition>& partitions) override {
        if (faults_.next() != Faults::Kind::kNone) return tl::unexpected(std::string("no broker"));
        TopicState topic{log_.cluster, static_cast<int>(log_.partitions.size()), {}, {}, {}, {}};
        for (const Partition p : partitions) {
            if (log_.leaderless.contains(p)) {
                topic.missing.emplace(p, "no leader");
                continue;
            }
            topic.partitions.push_back(p);
            topic.log_starts.push_back(Offset{log_.starts[static_cast<std::size_t>(raw(p))]});
            topic.log_ends.push_back(Offset{log_.end(p)});
        }
        return topic;
    }
    void commit_hint(const std::vector<StartAt>&) override {}
    std::optional<Offset> known_end(Partition p) const override { return Offset{log_.end(p) + withheld(p)}; }
    std::optional<ConfirmedEnd> confirmed_end(Partition p) const override {
        if (log_.answers && readable_end(p) == log_.end(p)) confirmed_[p] = {Offset{log_.end(p)}, clock_.monotonic()};
        const auto found = confirmed_.find(p);
        return found == confirmed_.end() || !cursors_.contains(p) ? std::nullopt : std::optional(found->second);
    }
    std::optional<Instant> answered_since(Partition p) const override {
        if (log_.answers) answered_[p] = clock_.monotonic();
        const auto found = answered_.find(p);
        return found == answered_.end() ? std::nullopt : std::optional(found->second);
    }

  private:
    struct Cursor {
        Offset start{};
        Offset next{};
        bool end_told = false;
    };

    SourceEvent read(std::size_t at_most) {
        while (records_.size() < at_most) {
            if (cursors_.empty() || std::bernoulli_distribution(0.05)(random_)) break;
            auto chosen = cursors_.begin();
            std::advance(chosen, std::uniform_int_distribution<long>(0, static_cast<long>(cursors_.size()) - 1)(random_));
            SourceEvent event = read(chosen->first, chosen->second);
            if (!std::holds_alternative<Nothing>(event)) return event;
        }
        return Nothing{};
    }

    SourceEvent read(Partition p, Cursor& cursor) {
        if (raw(cursor.next) > log_.end(p) || raw(cursor.next) < log_.starts[static_cast<std::size_t>(raw(p))]) {
            cursors_.erase(p);
            return PartitionTrouble{p, "offset out of range"};
        }
        if (redelivery > 0 && cursor.next > cursor.start && std::bernoulli_distribution(redelivery)(random_)) {
            cursor.next = cursor.start;  // as after a pause and resume
        }
        while (raw(cursor.next) < readable_end(p)) {
            const auto& entry = log_.at(p)[static_cast<std::size_t>(raw(cursor.next))];
            const Offset offset = cursor.next;
            cursor.next = next(cursor.next);
            cursor.end_told = false;
            if (log_.damaged.contains({p, offset})) return Unreadable{p, "a wrong checksum"};  // and passed over, if it is read on
            if (entry) {
                records_.push_back(Record{p, offset, Millis{entry->timestamp}, std::nullopt, entry->value});
                return Nothing{};
            }
        }
        if (cursor.end_told || (withheld(p) > 0 && readable_end(p) == log_.end(p))) return Nothing{};
        cursor.end_told = true;
        return EndOfPartition{p, cursor.next};
    }

    std::int64_t withheld(Partition p) const { return p == Partition{0} ? log_.withheld : 0; }

    std::int64_t readable_end(Partition p) const {
        return p == Partition{0} ? std::min(log_.open_since.value_or(log_.end(p)), log_.end(p)) : log_.end(p);
    }

    FakeLog& log_;
    Faults& faults_;
    const Clock& clock_;
    std::mt19937 random_;
    std::deque<SourceEvent> events_;
    std::vector<Record> records_;
    std::map<Partition, Cursor> cursors_;
    std::set<Partition> awaited_;
    mutable std::map<Partition, ConfirmedEnd> confirmed_;
    mutable std::map<Partition, Instant> answered_;
};

/// claim and flush as ingest-protocol says, for one counter and one topic.
class FakeDatabase {
  public:
    struct Row {
        std::optional<Offset> next;
        std::int64_t start = 0;
        std::int64_t epoch = 0;
        std::string member;
        int session = 0;
        std::optional<Fingerprint> last;
        std::optional<Millis> watermark;
        bool clock_advanced = false;
        std::int64_t counted = 0, late = 0, dead = 0, skipped = 0;
    };

    std::recursive_mutex mutex;
    bool compare_and_set = true;  // off: the negative control
    std::string cluster;
    std::map<Partition, Row> rows;
    Sums sums;  // counted and late together: what every replay must reproduce
    Sums hours, late;
    std::map<std::pair<Partition, Offset>, std::string> dead;
    std::optional<Millis> sealed;
    std::chrono::milliseconds lateness{0}, idle_timeout{std::chrono::hours(1000)};
    int idle_advances = 0;
    std::set<int> sessions;
    int next_session = 1;
    int flushes = 0;
    std::vector<std::string> violations;

    explicit FakeDatabase(const Clock& c) : clock(c) {}
    const Clock& clock;

    /// What topk.seal does: the frontier moves to the last hour bound at or before the least watermark minus the lateness.
    void seal(std::size_t partition_count) {
        const std::lock_guard lock(mutex);
        std::optional<Millis> least;
        for (const auto& [p, row] : rows) {
            if (!row.watermark) return;
            least = std::min(least.value_or(*row.watermark), *row.watermark);
        }
        if (!least || rows.size() < partition_count) return;
        sealed = std::max(sealed, std::optional(Millis{(raw(*least) - lateness.count()) / kHourMs * kHourMs}));
    }

    void restart() {
        const std::lock_guard lock(mutex);
        sessions.clear();
    }
    std::int64_t total() const {
        std::int64_t sum = 0;
        for (const auto& [key, views] : sums) sum += views;
        return sum;
    }
};

class FakeSink final : public Sink {
  public:
    FakeSink(FakeDatabase& database, Faults& faults, std::string member)
        : database_(database), faults_(faults), member_(std::move(member)) {
        session_ = open();
    }

    SinkError next_claim_error;  // raised once by claim when its message is not empty
    bool hang_up = false;        // abort was called: the next call breaks
    bool cancelled = false;      // cancel was called: the next call fails, the connection stays

    tl::expected<void, SinkError> connect() override {
        const std::lock_guard lock(database_.mutex);
        if (faults_.next() != Faults::Kind::kNone) return tl::unexpected(outage());
        session_ = open();
        hang_up = false;
        return {};
    }
    bool connected() const override {
        const std::lock_guard lock(database_.mutex);
        return database_.sessions.contains(session_);
    }
    void cancel() override {
        const std::lock_guard lock(database_.mutex);
        cancelled = true;
    }
    void abort() override {
        const std::lock_guard lock(database_.mutex);
        hang_up = true;
    }
    tl::expected<ClaimResult, SinkError> claim(const ClaimRequest& request) override {
        return guarded<ClaimResult>([&] { return do_claim(request); });
    }
    tl::expected<FlushResult, SinkError> flush(const Batch& batch) override {
        return guarded<FlushResult>([&] { return do_flush(batch); });
    }
    tl::expected<std::vector<Hour>, SinkError> hours(Millis since, Millis until) override {
        return guarded<std::vector<Hour>>([&]() -> tl::expected<std::vector<Hour>, SinkError> {
            std::vector<Hour> list;
            for (std::int64_t h = raw(since) / kHourMs * kHourMs; h < raw(until); h += kHourMs) {
                list.push_back({Millis{h}, Millis{h + kHourMs}, Millis{h / 24 * 24}, Millis{0}});
            }
            return list;
        });
    }

  private:
    static SinkError outage() { return {SinkErrorKind::kOutage, "", "the connection broke"}; }
    int open() {
        const std::lock_guard lock(database_.mutex);
        database_.sessions.insert(database_.next_session);
        return database_.next_session++;
    }
    template <typename T, typename Call>
    tl::expected<T, SinkError> guarded(Call call) {
        const std::lock_guard lock(database_.mutex);
        const auto fault = faults_.next();
        if (!connected() || hang_up || fault == Faults::Kind::kBefore) {
            database_.sessions.erase(session_);
            return tl::unexpected(outage());
        }
        if (std::exchange(cancelled, false)) {
            return tl::unexpected(SinkError{SinkErrorKind::kOutage, "57014", "canceling statement"});
        }
        auto result = call();
        if (fault == Faults::Kind::kAfter) {
            database_.sessions.erase(session_);
            return tl::unexpected(outage());
        }
        return result;
    }
    tl::expected<ClaimResult, SinkError> do_claim(const ClaimRequest& request);
    tl::expected<FlushResult, SinkError> do_flush(const Batch& batch);
    void advance(FakeDatabase::Row& row, const PartitionProgress& part);

    FakeDatabase& database_;
    Faults& faults_;
    std::string member_;
    int session_ = 0;
};

inline tl::expected<ClaimResult, SinkError> FakeSink::do_claim(const ClaimRequest& request) {
    if (!next_claim_error.message.empty()) return tl::unexpected(std::exchange(next_claim_error, SinkError{}));
    if (!database_.cluster.empty() && database_.cluster != request.topic.cluster_id) {
        return tl::unexpected(SinkError{SinkErrorKind::kOtherCluster, "55000", "belongs to another cluster"});
    }
    database_.cluster = request.topic.cluster_id;
    const CounterLimits limits{std::chrono::hours(240), std::chrono::minutes(5), database_.lateness, database_.idle_timeout};
    ClaimResult result{{}, database_.sealed, limits, database_.clock.wall()};
    for (int i = 0; i < request.topic.partition_count; ++i) database_.rows[Partition{i}];
    for (std::size_t i = 0; i < request.partitions.size(); ++i) {
        FakeDatabase::Row& row = database_.rows[request.partitions[i]];
        ClaimedPartition one{request.partitions[i], ClaimStatus::kOk, 0, {}, std::nullopt, std::nullopt};
        if (!row.next) {
            row.next = request.topic.log_starts[i];
            row.start = raw(*row.next);
        }
        if (request.resumes() && (row.epoch != request.epochs[i] || row.member != member_)) {
            one.status = ClaimStatus::kFenced;
        } else if (*row.next < request.topic.log_starts[i]) {
            one.status = ClaimStatus::kBelowStart;
        } else if (*row.next > request.topic.log_ends[i]) {
            one.status = ClaimStatus::kBeyondEnd;
        } else {
            row.epoch += request.resumes() ? 0 : 1;
            row.member = member_;
            row.session = session_;
        }
        one.epoch = row.epoch;
        one.next_offset = *row.next;
        one.last = row.last;
        one.watermark = row.watermark;
        result.partitions.push_back(one);
    }
    return result;
}

inline void FakeSink::advance(FakeDatabase::Row& row, const PartitionProgress& part) {
    if (part.from == part.to && part.watermark) {
        ++database_.idle_advances;
        const Millis bound{raw(database_.clock.wall()) - database_.idle_timeout.count()};
        if (*part.watermark > bound) database_.violations.push_back("an idle advance is ahead of the database's clock");
        row.clock_advanced = row.clock_advanced || row.watermark < part.watermark;
    }
    row.watermark = std::max(row.watermark, part.watermark);
}

inline tl::expected<FlushResult, SinkError> FakeSink::do_flush(const Batch& batch) {
    const auto deltas = parse_deltas(batch.deltas().encode());
    std::int64_t late = 0, dead = 0, late_records = 0;
    for (const auto& [p, part] : batch.partitions()) {
        if (part.counted + part.late + part.dead + part.skipped != raw(part.to) - raw(part.from)) {
            database_.violations.push_back("the books of a flush do not balance");
        }
        late += part.late;
        dead += part.dead;
        FakeDatabase::Row& row = database_.rows[p];
        const bool ours = row.epoch == part.epoch && row.next == part.from && row.session == session_;
        if (database_.compare_and_set && !ours) return tl::unexpected(SinkError{SinkErrorKind::kFenced, "TK001", "fenced"});
    }
    const std::vector<Cell> late_cells = batch.late().cells();
    for (const Cell& cell : late_cells) late_records += cell.records;
    if (!deltas || late != late_records || dead != static_cast<std::int64_t>(batch.dead().size())) {
        database_.violations.push_back("deltas, late views or dead letters do not fit the books");
        return tl::unexpected(SinkError{SinkErrorKind::kProtocol, "22023", "malformed"});
    }
    const auto poison = [](std::string_view id) { return id.starts_with("poison"); };
    for (const auto& [key, views] : *deltas) {
        if (database_.sealed && key.first + kHourMs <= raw(*database_.sealed)) {
            return tl::unexpected(SinkError{SinkErrorKind::kSealed, "TK002", "sealed"});
        }
        if (poison(key.second)) return tl::unexpected(SinkError{SinkErrorKind::kData, "22P05", "bad content"});
    }
    for (const Cell& cell : late_cells) {
        if (poison(cell.video_id)) return tl::unexpected(SinkError{SinkErrorKind::kData, "22P05", "bad content"});
    }
    for (const auto& [key, views] : *deltas) database_.sums[key] += views;
    for (const auto& [key, views] : *deltas) database_.hours[key] += views;
    for (const Cell& cell : late_cells) {
        database_.sums[{raw(cell.hour_start), std::string(cell.video_id)}] += cell.views;
        database_.late[{raw(cell.hour_start), std::string(cell.video_id)}] += cell.views;
    }
    for (const DeadLetter& letter : batch.dead()) database_.dead[{letter.partition, letter.offset}] = letter.reason;
    for (const auto& [p, part] : batch.partitions()) {
        FakeDatabase::Row& row = database_.rows[p];
        row.next = part.to;
        advance(row, part);
        if (part.last) row.last = part.last;
        row.counted += part.counted;
        row.late += part.late;
        row.dead += part.dead;
        row.skipped += part.skipped;
    }
    ++database_.flushes;
    return FlushResult{database_.sealed, database_.clock.wall()};
}

/// The naive model of the split: partition by partition in record order, by the watermarks of the records alone.
struct Split {
    Sums hours, late;
};
inline Split expected_split(const FakeLog& log, std::chrono::milliseconds lateness) {
    Split split;
    for (const auto& partition : log.partitions) {
        std::int64_t watermark = INT64_MIN;
        for (const auto& entry : partition) {
            if (!entry || entry->video.empty()) continue;
            const bool late = entry->hour + kHourMs + lateness.count() <= watermark;
            (late ? split.late : split.hours)[{entry->hour, entry->video}] += entry->views;
            watermark = std::max(watermark, std::min(entry->time, entry->timestamp));
        }
    }
    return split;
}

/// The naive model: the whole log, once.
inline Sums expected_sums(const FakeLog& log) {
    Sums sums;
    for (const auto& partition : log.partitions) {
        for (const auto& entry : partition) {
            if (entry && !entry->video.empty()) sums[{entry->hour, entry->video}] += entry->views;
        }
    }
    return sums;
}

/// Empty if the database holds exactly what the log says, books included; else what is wrong.
inline std::string difference(const FakeLog& log, const FakeDatabase& database) {
    if (!database.violations.empty()) return database.violations.front();
    if (database.sums != expected_sums(log)) return "the sums differ";
    std::size_t letters = 0;
    for (std::size_t i = 0; i < log.partitions.size(); ++i) {
        const Partition p{static_cast<std::int32_t>(i)};
        const auto found = database.rows.find(p);
        if (found == database.rows.end()) return "a partition was never claimed";
        const FakeDatabase::Row& row = found->second;
        std::int64_t markers = 0, dead = 0;
        for (const auto& entry : log.partitions[i]) {
            markers += entry ? 0 : 1;
            dead += entry && entry->video.empty() ? 1 : 0;
        }
        letters += static_cast<std::size_t>(dead);
        if (row.next != Offset{log.end(p)}) return "a partition was not read to its end";
        if (row.skipped != markers || row.dead != dead) return "skipped or dead differ";
        if (row.counted + row.late + row.dead + row.skipped != log.end(p)) return "the books do not balance";
    }
    return database.dead.size() == letters ? "" : "the dead letters differ";
}

}  // namespace topkd::test
