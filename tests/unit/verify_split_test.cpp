// The verifier's own decision about late events, when it may be compared with the stored one, and that it then is.
#include "verify_split.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "verify_recount.h"

namespace topkd::verify {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr Instant kHour = 3'600'000;
constexpr Instant kNoon = 1'772'366'400'000;
constexpr std::int64_t kLateness = 60'000;

tl::expected<std::vector<HourBounds>, std::string> utc_hours(Instant since, Instant until) {
    std::vector<HourBounds> hours;
    for (Instant start = since - since % kHour; start < until; start += kHour) {
        hours.push_back({start, start + kHour});
    }
    return hours;
}

struct Event {
    int partition;
    std::int64_t offset;
    std::string video;
    Instant time;
    Instant timestamp;
};

const std::vector<Event> kLog{
    {0, 0, "a", kNoon, kNoon},
    {0, 1, "b", kNoon + kHour + kLateness - 1, kNoon + kHour + kLateness - 1},
    {0, 2, "a", kNoon + 1, kNoon + 2 * kHour},  // in time by a millisecond
    {0, 3, "b", kNoon + 2 * kHour, kNoon + kHour + kLateness},
    {0, 4, "a", kNoon, kNoon + 2 * kHour},  // late
    {1, 0, "a", kNoon, kNoon + 2 * kHour},  // in time in its own partition
};

Book book(int partition, std::int64_t counted, std::int64_t late, Instant watermark) {
    Book book;
    book.partition = partition;
    book.next = counted + late;
    book.counted = counted;
    book.late = late;
    book.watermark = watermark;
    book.flushed_at = kNoon + 3 * kHour;
    book.created_at = kNoon;
    return book;
}

Stored consistent() {
    Stored stored;
    stored.counter_created_at = kNoon;
    stored.max_age = 400 * 24 * kHour;
    stored.max_clock_skew = 300'000;
    stored.lateness = kLateness;
    stored.books = {book(0, 4, 1, kNoon + kHour + kLateness), book(1, 1, 0, kNoon)};
    stored.hours[kNoon] = {{"a", {3, 1}}};
    stored.hours[kNoon + kHour] = {{"b", {1, 0}}};
    stored.hours[kNoon + 2 * kHour] = {{"b", {1, 0}}};
    return stored;
}

struct Result {
    std::vector<std::string> differences;
    std::optional<std::string> not_compared;
};

Result recount(Stored stored) {
    Recount recount(std::move(stored), utc_hours);
    for (const Event& event : kLog) {
        const std::string value = R"({"video_id":")" + event.video + R"(","ts":)" + std::to_string(event.time) + "}";
        EXPECT_EQ(recount.add({event.partition, event.offset, event.timestamp, "key", value}), std::nullopt);
    }
    std::vector<std::string> differences = recount.compare().in_words();
    return {std::move(differences), recount.split_not_compared()};
}

TEST(VerifySplit, AConsistentSplitIsComparedAndEqual) {
    const Result result = recount(consistent());
    EXPECT_EQ(result.not_compared, std::nullopt);
    EXPECT_THAT(result.differences, IsEmpty());
}

struct Change {
    const char* name;
    void (*apply)(Stored&);
    const char* said;
};

void PrintTo(const Change& change, std::ostream* out) {
    *out << change.name;
}

class VerifySplitDamage : public testing::TestWithParam<Change> {};

TEST_P(VerifySplitDamage, IsTheOneDifference) {
    Stored stored = consistent();
    GetParam().apply(stored);
    const Result result = recount(std::move(stored));
    EXPECT_EQ(result.not_compared, std::nullopt);
    EXPECT_THAT(result.differences, ElementsAre(HasSubstr(GetParam().said)));
}

const Change kDamages[] = {
    {"late_view_in_time",
     [](Stored& s) {
         s.hours[kNoon]["a"] = {4, 0};
     },
     "the tables have 4 views in time and 0 late, by the log 3 and 1 are"},
    {"view_in_time_late",
     [](Stored& s) {
         s.hours[kNoon]["a"] = {2, 2};
     },
     "the tables have 2 views in time and 2 late, by the log 3 and 1 are"},
    {"late_view_gone", [](Stored& s) { s.hours[kNoon]["a"].late = 0; }, "the tables have 3 views, the log 4"},
    {"late_record_counted", [](Stored& s) { ++s.books[0].counted, --s.books[0].late; }, "the books have 0 records late, the log 1"},
    {"watermark_without_a_record", [](Stored& s) { *s.books[1].watermark += 1; }, "partition 1: the watermark is"},
};

INSTANTIATE_TEST_SUITE_P(Each, VerifySplitDamage, testing::ValuesIn(kDamages), [](const auto& one) { return one.param.name; });

class VerifySplitObstacle : public testing::TestWithParam<Change> {};

TEST_P(VerifySplitObstacle, LetsOnlyTheSumBeCompared) {
    Stored stored = consistent();
    GetParam().apply(stored);
    stored.hours[kNoon]["a"] = {4, 0};  // another split
    ++stored.books[0].counted;
    --stored.books[0].late;
    Result result = recount(stored);
    EXPECT_THAT(result.not_compared.value_or(""), HasSubstr(GetParam().said));
    EXPECT_THAT(result.differences, IsEmpty());
    stored.hours[kNoon]["a"].late = 1;  // another sum
    EXPECT_THAT(recount(stored).differences, ElementsAre(HasSubstr("the tables have 5 views, the log 4")));
}

const Change kObstacles[] = {
    {"clock", [](Stored& s) { s.books[1].clock_advanced = true; }, "partition 1 was silent, and its watermark followed the clock"},
    {"reset",
     [](Stored& s) {
         Book archived = s.books[1];
         archived.next = archived.counted = 0;
         archived.reset_reason = "moved";
         s.books.push_back(archived);
     },
     "partition 1 was reset (moved)"},
    {"retired",
     [](Stored& s) {
         Book archived = s.books[1];
         archived.next = archived.counted = 0;
         archived.reset_reason = "gone";
         archived.retired = true;
         s.books.push_back(archived);
     },
     "partition 1 was retired (gone)"},
    {"added", [](Stored& s) { s.books[1].created_at = kNoon + 1; }, "partition 1 was added later"},
    {"ahead", [](Stored& s) { *s.books[0].watermark -= 1; }, "records of partition 0 were ahead of the clock"},
};

INSTANTIATE_TEST_SUITE_P(Each, VerifySplitObstacle, testing::ValuesIn(kObstacles), [](const auto& one) { return one.param.name; });

TEST(VerifySplit, ADeadLetterAheadOfTheClockIsAnObstacle) {
    Stored stored = consistent();
    stored.dead_letters[{0, 4}] = {{"ahead of the clock: by 400000 ms", std::nullopt, kNoon}};
    EXPECT_THAT(split_obstacle(stored, {}).value_or(""), HasSubstr("offset 4 of partition 0 was ahead of the clock"));
}

TEST(VerifySplit, RowsThatDoNotSayWhenTheyWereMadeAreNoObstacle) {
    Stored stored = consistent();
    for (Book& one : stored.books) one.created_at.reset();
    EXPECT_EQ(split_obstacle(stored, {}), std::nullopt);
}

TEST(VerifySplit, WithoutARecordTimestampTheEventTimeCounts) {
    EventTime time;
    EXPECT_FALSE(time.too_late_for(0, 0));
    time.pass(kNoon, std::nullopt);
    EXPECT_EQ(time.reached(), kNoon);
    time.pass(kNoon + 5, kNoon + 3);
    EXPECT_EQ(time.reached(), kNoon + 3);
    time.pass(kNoon + 1, kNoon + 1);
    EXPECT_EQ(time.reached(), kNoon + 3);
    EXPECT_TRUE(time.too_late_for(kNoon, 3));
    EXPECT_FALSE(time.too_late_for(kNoon, 4));
}

}  // namespace
}  // namespace topkd::verify
