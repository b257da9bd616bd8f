// The verifier's recount: equal sides are equal, and every kind of damage to the stored side is a difference. Each damage
// is applied to a consistent state, so a check that never fires fails here.
#include "verify_recount.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "fingerprint.h"

namespace topkd::verify {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr Instant kHour = 3'600'000;
constexpr Instant kNoon = 1'772'366'400'000;
constexpr std::int64_t kDay = 24 * kHour;
constexpr Instant kMarch = kNoon - 12 * kHour;

tl::expected<std::vector<HourBounds>, std::string> utc_hours(Instant since, Instant until) {
    std::vector<HourBounds> hours;
    for (Instant start = since - since % kHour; start < until; start += kHour) {
        hours.push_back({start, start + kHour, start - start % kDay, start < kMarch ? kMarch - 28 * kDay : kMarch});
    }
    return hours;
}

/// One partition, offsets 5 to 14: 5 events in two hours, three dead letters, and two offsets that deliver nothing.
struct Log {
    struct Entry {
        std::int64_t offset;
        std::string value;
    };
    std::vector<Entry> entries{
        {5, event("a", kNoon)}, {6, event("b", kNoon + 1)}, {7, event("a", kNoon + kHour)},         {8, "not json"},
        {9, event("", kNoon)},  {11, event("a", kNoon)},    {12, event("old", kNoon - 500 * kDay)}, {14, event("c", kNoon)}};

    static std::string event(const std::string& id, Instant time) {
        return R"({"video_id":")" + id + R"(","ts":)" + std::to_string(time) + "}";
    }
    static LogRecord record(const Entry& entry) { return {0, entry.offset, kNoon, "key", entry.value}; }
};

DeadLetter letter(std::string reason, std::string payload) {
    return {std::move(reason), std::move(payload), kNoon + kHour};
}

Stored consistent(const Log& log) {
    Stored stored;
    stored.counter_created_at = kNoon;
    stored.max_age = 400 * kDay;
    stored.max_clock_skew = 300'000;
    stored.lateness = 60'000;
    Book book;
    book.start = 5;
    book.next = 15;
    book.counted = 5;
    book.watermark = kNoon;
    book.dead = 3;
    book.skipped = 2;
    book.last_offset = 14;
    book.last_timestamp = kNoon;
    book.last_crc = fingerprint_of(Log::record(log.entries.back()));
    book.flushed_at = kNoon + 2 * kHour;
    stored.books = {book};
    stored.hours[kNoon] = {{"a", {2}}, {"b", {1}}, {"c", {1}}};
    stored.hours[kNoon + kHour] = {{"a", {1}}};
    stored.dead_letters[{0, 8}] = {letter("not JSON: detail", "not json")};
    stored.dead_letters[{0, 9}] = {letter("video_id empty", log.entries[4].value)};
    stored.dead_letters[{0, 12}] = {letter("older than max_age: by 1 ms", log.entries[6].value)};
    return stored;
}

std::vector<std::string> differences(Stored stored, const Log& log = {}) {
    Recount recount(std::move(stored), utc_hours);
    for (const Log::Entry& entry : log.entries) {
        EXPECT_EQ(recount.add(Log::record(entry)), std::nullopt);
    }
    return recount.compare().in_words();
}

TEST(VerifyRecount, AConsistentStateHasNoDifference) {
    EXPECT_THAT(differences(consistent({})), IsEmpty());
}

TEST(VerifyRecount, TotalsAreOfTheLog) {
    const Log log;
    Recount recount(consistent(log), utc_hours);
    for (const Log::Entry& entry : log.entries) {
        ASSERT_EQ(recount.add(Log::record(entry)), std::nullopt);
    }
    recount.compare();
    EXPECT_EQ(recount.totals().records, 8);
    EXPECT_EQ(recount.totals().events, 5);
    EXPECT_EQ(recount.totals().dead, 3);
    EXPECT_EQ(recount.totals().skipped, 2);
    EXPECT_EQ(recount.totals().rows, 4u);
}

struct Damage {
    const char* name;
    void (*apply)(Stored&);
    const char* said;
};

void PrintTo(const Damage& damage, std::ostream* out) {
    *out << damage.name;
}

class VerifyRecountDamage : public testing::TestWithParam<Damage> {};

TEST_P(VerifyRecountDamage, IsTheOneDifference) {
    Stored stored = consistent({});
    GetParam().apply(stored);
    EXPECT_THAT(differences(std::move(stored)), ElementsAre(HasSubstr(GetParam().said)));
}

const Damage kDamages[] = {
    {"view_more", [](Stored& s) { ++s.hours[kNoon]["a"].counted; }, "video \"a\": the tables have 3 views, the log 2"},
    {"view_less", [](Stored& s) { --s.hours[kNoon]["a"].counted; }, "the tables have 1 views, the log 2"},
    {"row_missing", [](Stored& s) { s.hours[kNoon].erase("b"); }, "video \"b\": the tables have 0 views, the log 1"},
    {"row_too_many", [](Stored& s) { s.hours[kNoon]["\n"].counted = 1; }, "video \"\\n\": the tables have 1 views, the log 0"},
    {"hour_too_many", [](Stored& s) { s.hours[kNoon + 9 * kHour]["a"].counted = 1; }, "hour 2026-03-01T21:00:00Z"},
    {"counted_more", [](Stored& s) { ++s.books[0].counted; }, "the books have 6 records counted or late, the log 5"},
    {"dead_less", [](Stored& s) { --s.books[0].dead; }, "the books have 2 records dead, the log 3"},
    {"skipped_more", [](Stored& s) { ++s.books[0].skipped; }, "the books have 3 records skipped, the log 2"},
    {"letter_missing",
     [](Stored& s) {
         s.dead_letters.erase({0, 8});
     },
     "offset 8: no event, but no dead letter"},
    {"letter_without_record",
     [](Stored& s) {
         s.dead_letters[{0, 10}] = {letter("not JSON", "")};
     },
     "offset 10: a dead letter, but no record"},
    {"letter_of_the_future",
     [](Stored& s) {
         s.dead_letters[{0, 15}] = {letter("not JSON", "")};
     },
     "offset 15: a dead letter, but no record"},
    {"letter_twice",
     [](Stored& s) {
         s.dead_letters[{0, 8}].push_back(letter("not JSON", "not json"));
     },
     "offset 8: 2 dead letters"},
    {"wrong_reason",
     [](Stored& s) {
         s.dead_letters[{0, 8}][0].reason = "video_id missing";
     },
     "offset 8: dead letter with a wrong reason"},
    {"unknown_reason",
     [](Stored& s) {
         s.dead_letters[{0, 9}][0].reason = "bad";
     },
     "offset 9: dead letter with a wrong reason: \"bad\""},
    {"other_payload",
     [](Stored& s) {
         s.dead_letters[{0, 8}][0].payload = "not";
     },
     "offset 8: the dead letter's payload"},
    {"not_that_old", [](Stored& s) { s.max_age = 600 * kDay; }, "offset 12: dead letter \"older than max_age: by 1 ms\", but"},
    {"not_that_far",
     [](Stored& s) {
         s.dead_letters[{0, 12}][0].reason = "ahead of the clock";
     },
     "offset 12: dead letter \"ahead"},
    {"wrong_crc", [](Stored& s) { ++*s.books[0].last_crc; }, "offset 14: the record is not the one that was consumed"},
    {"wrong_timestamp", [](Stored& s) { ++*s.books[0].last_timestamp; }, "offset 14: the record is not the one that was consumed"},
};

INSTANTIATE_TEST_SUITE_P(Each, VerifyRecountDamage, testing::ValuesIn(kDamages), [](const auto& one) { return one.param.name; });

TEST(VerifyRecount, AGoodEventAmongTheDeadLettersIsADifference) {
    const Log log;
    Stored stored = consistent(log);
    stored.dead_letters[{0, 6}] = {letter("not JSON", log.entries[1].value)};
    stored.hours[kNoon].erase("b");
    --stored.books[0].counted;
    ++stored.books[0].dead;
    EXPECT_THAT(differences(stored), ElementsAre(HasSubstr("offset 6: a good event is a dead letter")));
}

TEST(VerifyRecount, CountingWhatTheLimitsForbidIsADifference) {
    const Log log;
    Stored stored = consistent(log);
    stored.dead_letters.erase({0, 12});
    stored.hours[kNoon - 500 * kDay]["old"].late = 1;
    ++stored.books[0].late;
    --stored.books[0].dead;
    EXPECT_THAT(differences(stored), ElementsAre(HasSubstr("offset 12: counted, although older than max_age")));
    stored.max_age = 600 * kDay;
    EXPECT_THAT(differences(stored), IsEmpty());
    stored.books[0].flushed_at = kNoon;
    EXPECT_THAT(differences(stored), ElementsAre(HasSubstr("offset 7: counted, although ahead of the clock")));
}

TEST(VerifyRecount, PayloadsAreCutAndMayBeDropped) {
    Log log;
    log.entries[3].value = std::string(5000, 'x');
    Stored stored = consistent(log);
    stored.dead_letters[{0, 8}] = {letter("not JSON", std::string(4096, 'x'))};
    EXPECT_THAT(differences(stored, log), IsEmpty());
    stored.dead_letters[{0, 8}][0].payload.reset();
    EXPECT_THAT(differences(stored, log), IsEmpty());
    stored.dead_letters[{0, 8}][0].payload = std::string(4095, 'x');
    EXPECT_THAT(differences(stored, log), ElementsAre(HasSubstr("payload")));
}

TEST(VerifyRecount, WhatAResetConsumedAgainCountsTwice) {
    const Log log;
    Stored stored = consistent(log);
    Book archived = stored.books[0];
    archived.reset_reason = "again from 11";
    stored.books.insert(stored.books.begin(), archived);
    Book& today = stored.books[1];
    today.start = 11;
    today.counted = 2;
    today.dead = 1;
    today.skipped = 1;
    EXPECT_THAT(differences(stored), testing::Not(IsEmpty()));
    stored.hours[kNoon]["a"].counted = 3;
    stored.hours[kNoon]["c"].counted = 2;
    stored.dead_letters[{0, 12}].push_back(stored.dead_letters[{0, 12}][0]);
    EXPECT_THAT(differences(stored), IsEmpty());
}

TEST(VerifyRecount, RecordsOutsideTheBooksAreNotCounted) {
    Log log;
    log.entries.insert(log.entries.begin(), {4, "not json"});
    log.entries.push_back({15, Log::event("a", kNoon)});
    EXPECT_THAT(differences(consistent({}), log), IsEmpty());
}

TEST(VerifyRecount, TheFirstDifferencesOfEachKindAreInWords) {
    Stored stored = consistent({});
    for (int i = 0; i < 50; ++i) {
        stored.hours[kNoon]["x" + std::to_string(i)].counted = 1;
        stored.dead_letters[{0, 100 + i}] = {letter("not JSON", "")};
    }
    ++stored.books[0].skipped;
    Recount recount(std::move(stored), utc_hours);
    for (const Log::Entry& entry : Log{}.entries) {
        ASSERT_EQ(recount.add(Log::record(entry)), std::nullopt);
    }
    const Differences found = recount.compare();
    EXPECT_EQ(found.count(), 101u);
    EXPECT_EQ(found.count(Differences::Kind::books), 1u);
    EXPECT_EQ(found.count(Differences::Kind::rows), 50u);
    EXPECT_EQ(found.count(Differences::Kind::records), 50u);
    const std::vector<std::string> words = found.in_words();
    ASSERT_EQ(words.size(), Differences::kInWords);
    EXPECT_THAT(words.front(), HasSubstr("records skipped"));
    EXPECT_THAT(words[1], HasSubstr("hour 2026"));
    EXPECT_THAT(words.back(), HasSubstr("a dead letter"));
}

/// The hours of the log's day are gone, and it is in the day roll-up; late views stay by hour.
Stored with_expired_hours() {
    Stored stored = consistent({});
    stored.hours_expired_through = kMarch + kDay;
    stored.hours.clear();
    stored.days[kMarch] = {{"a", 3}, {"b", 1}, {"c", 1}};
    return stored;
}

TEST(VerifyRecount, HoursThatExpiredAreComparedByDay) {
    Stored stored = with_expired_hours();
    EXPECT_THAT(differences(stored), IsEmpty());
    stored.days[kMarch]["a"] = 2;
    stored.days[kMarch]["d"] = 1;
    EXPECT_THAT(differences(stored), ElementsAre("day 2026-03-01T00:00:00Z video \"a\": the tables have 2 views, the log 3",
                                                 "day 2026-03-01T00:00:00Z video \"d\": the tables have 1 views, the log 0"));
    // A day of which the log has nothing
    stored = with_expired_hours();
    stored.days[kMarch - kDay]["a"] = 1;
    EXPECT_THAT(differences(stored), ElementsAre(HasSubstr("day 2026-02-28T00:00:00Z video \"a\"")));
    // Hours of a day that is not there
    stored = with_expired_hours();
    stored.days.clear();
    EXPECT_THAT(differences(stored), testing::SizeIs(3));
}

TEST(VerifyRecount, OnlyWhatExpiredIsComparedByDay) {
    Log log;
    log.entries.push_back({15, Log::event("z", kNoon + kDay)});
    Stored stored = with_expired_hours();
    stored.books[0].next = 16;
    stored.books[0].counted = 6;
    stored.books[0].flushed_at = kNoon + kDay + kHour;
    stored.hours[kNoon + kDay] = {{"z", {1}}};
    EXPECT_THAT(differences(stored, log), IsEmpty());
    stored.hours[kNoon + kDay]["z"].counted = 2;
    EXPECT_THAT(differences(stored, log), ElementsAre(HasSubstr("hour 2026-03-02T12:00:00Z video \"z\": the tables have 2")));
}

TEST(VerifyRecount, DaysThatExpiredAreComparedByMonth) {
    Stored stored = with_expired_hours();
    stored.days_expired_through = kMarch + kDay;
    stored.months[kMarch] = std::exchange(stored.days, {})[kMarch];
    EXPECT_THAT(differences(stored), IsEmpty());
    ++stored.months[kMarch]["b"];
    EXPECT_THAT(differences(stored), ElementsAre("month 2026-03-01T00:00:00Z video \"b\": the tables have 2 views, the log 1"));
}

TEST(VerifyRecount, CorrectionsOfExpiredHoursAreTakenBack) {
    Stored stored = with_expired_hours();
    stored.days[kMarch]["a"] = 10;
    stored.hours[kNoon]["a"].counted = -7;
    EXPECT_THAT(differences(stored), IsEmpty());
    stored.hours[kNoon]["a"].counted = -6;
    EXPECT_THAT(differences(stored), ElementsAre(HasSubstr("have 4 views, the log 3")));
}

TEST(VerifyRecount, LateViewsThatExpiredAreComparedInTheirSum) {
    Stored stored = consistent({});
    stored.hours[kNoon]["a"].counted = 1;
    stored.hours[kNoon].erase("c");
    stored.expired_late[kNoon] = 2;
    EXPECT_THAT(differences(stored), IsEmpty());
    stored.expired_late[kNoon] = 3;
    EXPECT_THAT(differences(stored),
                ElementsAre("hour 2026-03-01T12:00:00Z: 3 late views have expired, but the tables have 2 views less than the log"));
    stored.expired_late[kNoon] = 2;
    stored.hours[kNoon]["b"].counted = 2;
    EXPECT_THAT(differences(stored), ElementsAre(HasSubstr("video \"b\": the tables have 2 views, the log 1")));
    // Of an hour of a day that expired
    stored = with_expired_hours();
    --stored.days[kMarch]["a"];
    stored.expired_late[kNoon + kHour] = 1;
    EXPECT_THAT(differences(stored), IsEmpty());
}

TEST(VerifyRecount, DeadLettersThatExpiredAreMissed) {
    const Log log;
    Stored stored = consistent(log);
    stored.dead_letters.erase({0, 8});
    stored.dead_letters.erase({0, 12});  // a good event, too old by the record's own time
    stored.expired_dead[0] = 2;
    EXPECT_THAT(differences(stored), IsEmpty());
    // One more is missing than expired.
    stored = consistent(log);
    stored.dead_letters.erase({0, 8});
    stored.dead_letters.erase({0, 9});
    stored.expired_dead[0] = 1;
    EXPECT_THAT(differences(stored), ElementsAre(HasSubstr("offset 9: no event, but no dead letter")));
}

TEST(VerifyRecount, ExpiredDeadLettersThatTheLogDoesNotTellAreNoDifference) {
    // Of offset 14, which was too old when it was consumed.
    Stored stored = consistent({});
    stored.hours[kNoon].erase("c");
    --stored.books[0].counted;
    ++stored.books[0].dead;
    stored.expired_dead[0] = 1;
    EXPECT_THAT(differences(stored), IsEmpty());
    stored.hours[kNoon]["b"].counted = 2;
    EXPECT_THAT(differences(stored), ElementsAre(HasSubstr("video \"b\": the tables have 2 views, the log 1")));
}

TEST(VerifyRecount, UnknownHoursAreAFailure) {
    const Log log;
    Recount recount(consistent(log), [](Instant, Instant) { return std::vector<HourBounds>{}; });
    EXPECT_THAT(recount.add(Log::record(log.entries[0])).value_or(""), HasSubstr("no hour for 2026-03-01T12:00:00Z"));
}

TEST(VerifyRecount, FingerprintIsTheOneOfTheBooks) {
    Record theirs;
    theirs.timestamp = Millis{kNoon};
    theirs.key = "k";
    theirs.value = "v";
    EXPECT_EQ(fingerprint_of({0, 0, kNoon, "k", "v"}), fingerprint(theirs));
    theirs.timestamp.reset();
    theirs.key.reset();
    theirs.value.reset();
    EXPECT_EQ(fingerprint_of({}), fingerprint(theirs));
}

}  // namespace
}  // namespace topkd::verify
