// Aggregation against a std::map: for any order, any split into flushes, and any crash and replay from what was committed.
#include "aggregate.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <random>

#include "delta_parser.h"

namespace topkd {
namespace {

using test::parse_deltas;
using test::Sums;

constexpr std::int64_t kHour = 3'600'000;

struct View {
    std::int64_t hour_start;
    std::string id;
    std::int64_t views;
};

void showValue(const View& view, std::ostream& os) {
    os << "(" << view.hour_start << ", " << view.id << ", " << view.views << ")";
}

/// Few hours (also before the epoch) and few ids, so that keys meet; ids with every byte, some as long as allowed.
rc::Gen<View> any_view() {
    return rc::gen::apply(
        [](std::int64_t hour, std::string id, std::int64_t views) {
            return View{hour * kHour, std::move(id), views};
        },
        rc::gen::inRange<std::int64_t>(-2, 3),
        rc::gen::oneOf(rc::gen::map(rc::gen::inRange(0, 12), [](int n) { return "v" + std::to_string(n); }),
                       rc::gen::nonEmpty(rc::gen::container<std::string>(rc::gen::arbitrary<char>())),
                       rc::gen::map(rc::gen::inRange(250, 257), [](int n) { return std::string(static_cast<std::size_t>(n), '\xc3'); })),
        rc::gen::oneOf(rc::gen::just<std::int64_t>(1), rc::gen::inRange<std::int64_t>(1, 1'000'001)));
}

rc::Gen<std::vector<View>> any_log() {
    return rc::gen::container<std::vector<View>>(any_view());
}

void add_to(Sums& sums, const View& view) {
    sums[{view.hour_start, view.id}] += view.views;
}

void add_to(Aggregate& aggregate, const View& view) {
    aggregate.add(Millis{view.hour_start}, view.id, view.views);
}

Sums single_pass(const std::vector<View>& log) {
    Sums sums;
    for (const View& view : log) add_to(sums, view);
    return sums;
}

/// The tables of a database that takes whole flushes only, each with the offset behind it.
struct Committed {
    Sums sums;
    std::size_t offset = 0;

    void flush(Aggregate& aggregate, std::size_t next_offset) {
        const auto deltas = parse_deltas(aggregate.encode());
        RC_ASSERT(deltas.has_value());
        for (const auto& [key, views] : *deltas) sums[key] += views;
        offset = next_offset;
        aggregate.clear();
    }
};

RC_GTEST_PROP(AggregateProperty, EqualsTheNaiveModelAndEncodesSorted, ()) {
    const auto log = *any_log();
    Aggregate aggregate;
    for (const View& view : log) add_to(aggregate, view);
    const Sums expected = single_pass(log);
    RC_ASSERT(aggregate.size() == expected.size());
    RC_ASSERT(aggregate.empty() == expected.empty());
    RC_ASSERT(parse_deltas(aggregate.encode()) == std::optional<Sums>(expected));
}

RC_GTEST_PROP(AggregateProperty, DoesNotDependOnTheOrderOfEvents, ()) {
    const auto log = *any_log();
    auto shuffled = log;
    std::shuffle(shuffled.begin(), shuffled.end(), std::mt19937_64(*rc::gen::arbitrary<std::uint64_t>()));
    Aggregate one;
    Aggregate other;
    for (const View& view : log) add_to(one, view);
    for (const View& view : shuffled) add_to(other, view);
    RC_ASSERT(one.encode() == other.encode());
}

/// Consumes, flushes and crashes as the script says, and then to the end: whatever was in memory at a crash is gone, and
/// the log is read again from the committed offset.
RC_GTEST_PROP(AggregateProperty, AnySplitIntoFlushesAndAnyReplayEqualASinglePass, ()) {
    const auto log = *any_log();
    enum class Step { consume, flush, crash, restart };
    const auto script = *rc::gen::container<std::vector<Step>>(
        rc::gen::weightedElement<Step>({{8, Step::consume}, {3, Step::flush}, {2, Step::crash}, {1, Step::restart}}));

    Committed database;
    Aggregate aggregate;
    std::size_t position = 0;
    for (const Step step : script) {
        if (step == Step::consume && position < log.size()) add_to(aggregate, log[position++]);
        if (step == Step::flush) database.flush(aggregate, position);
        if (step == Step::crash) aggregate.clear();
        if (step == Step::restart) aggregate = Aggregate();
        if (step == Step::crash || step == Step::restart) position = database.offset;
    }
    while (position < log.size()) add_to(aggregate, log[position++]);
    database.flush(aggregate, position);
    RC_ASSERT(database.offset == log.size());
    RC_ASSERT(database.sums == single_pass(log));
}

RC_GTEST_PROP(AggregateProperty, CellsCountRecordsAsWell, ()) {
    const auto log = *any_log();
    Aggregate aggregate;
    std::map<std::pair<std::int64_t, std::string>, std::int64_t> records;
    for (const View& view : log) {
        add_to(aggregate, view);
        ++records[{view.hour_start, view.id}];
    }
    Sums sums;
    for (const Cell& cell : aggregate.cells()) {
        const std::pair key{raw(cell.hour_start), std::string(cell.video_id)};
        const bool ascending = sums.empty() || sums.rbegin()->first < key;
        RC_ASSERT(ascending);
        sums[key] = cell.views;
        RC_ASSERT(cell.records == records[key]);
    }
    RC_ASSERT(sums == single_pass(log));
}

TEST(Aggregate, EncodesByTheBook) {
    Aggregate aggregate;
    aggregate.add(Millis{kHour}, "b", 2);
    aggregate.add(Millis{kHour}, "\xc3\xa9", 1'000'000);
    aggregate.add(Millis{-kHour}, "zz", 1);
    aggregate.add(Millis{kHour}, "b", 255);
    const char expected[] =
        "\x01"
        "\xff\xff\xff\xff\xff\xc9\x11\x80"
        "\0\0\0\x01"
        "\0\x02"
        "zz"
        "\0\0\0\0\0\0\0\x01"
        "\0\0\0\0\0\x36\xee\x80"
        "\0\0\0\x02"
        "\0\x01"
        "b"
        "\0\0\0\0\0\0\x01\x01"
        "\0\x02"
        "\xc3\xa9"
        "\0\0\0\0\0\x0f\x42\x40";
    EXPECT_EQ(aggregate.encode(), std::string(expected, sizeof expected - 1));
}

TEST(Aggregate, EmptyIsTheVersionByteAlone) {
    Aggregate aggregate;
    EXPECT_EQ(aggregate.encode(), "\x01");
    EXPECT_EQ(aggregate.bytes(), 0U);
    aggregate.add(Millis{0}, "a", 1);
    EXPECT_GT(aggregate.bytes(), 0U);
    aggregate.clear();
    EXPECT_EQ(aggregate.encode(), "\x01");
    EXPECT_EQ(aggregate.bytes(), 0U);
    EXPECT_TRUE(aggregate.empty());
}

TEST(Aggregate, SumsBeyond32Bits) {
    Aggregate aggregate;
    for (int i = 0; i < 5000; ++i) aggregate.add(Millis{0}, "a", 1'000'000);
    ASSERT_EQ(aggregate.cells().size(), 1U);
    EXPECT_EQ(aggregate.cells()[0].views, 5'000'000'000);
}

/// Large enough for many chunks and rehashes; then small again, then large: kept room must not keep sums.
TEST(Aggregate, StaysRightAcrossRehashesAndReuse) {
    std::mt19937_64 random(1);
    Aggregate aggregate;
    std::size_t most_so_far = 0;
    for (const int adds : {200'000, 10, 1, 100'000}) {
        Sums expected;
        std::size_t bytes_before = 0;
        for (int i = 0; i < adds; ++i) {
            const View view{static_cast<std::int64_t>(random() % 3) * kHour, "video_" + std::to_string(random() % 60'000), 1};
            add_to(aggregate, view);
            add_to(expected, view);
            ASSERT_GE(aggregate.bytes(), bytes_before);
            bytes_before = aggregate.bytes();
        }
        std::size_t least = 0;
        for (const auto& [key, views] : expected) least += key.second.size() + sizeof key.first + sizeof views;
        EXPECT_GE(aggregate.bytes(), least);
        // Room kept from a larger filling counts once it is in use again.
        EXPECT_LE(aggregate.bytes(), std::max(20 * least, most_so_far));
        most_so_far = std::max(most_so_far, aggregate.bytes());
        EXPECT_EQ(parse_deltas(aggregate.encode()), std::optional<Sums>(expected));
        aggregate.clear();
    }
}

}  // namespace
}  // namespace topkd
