// The extension's merge of sorted lists against sums by brute force: millions of small cases, among them ties, lists without a common
// video, opposite orders, empty lists, lists that end at a threshold, lists of which only the rest beyond some id counts, and tables.
// The seed is fixed; MERGE_CASES=… sets how many.
#include "../../extension/src/merge.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace topk {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr std::size_t kCases = 100'000;
#else
constexpr std::size_t kCases = 1'000'000;
#endif

std::size_t case_count() {
    const char* given = std::getenv("MERGE_CASES");
    return given == nullptr ? kCases : std::strtoull(given, nullptr, 10);
}

struct Row {
    std::int64_t value;
    std::string id;
};

bool above(const Row& a, const Row& b) {
    return ranks_above(a.value, a.id, b.value, b.id);
}

struct List {
    std::vector<Row> rows;     // best first
    std::size_t readable = 0;  // the others rank at or below the threshold
    bool is_cut = false;
    Row threshold;
    std::string beyond = {};  // only rows of later ids count, if is_rest
    bool is_rest = false;
    bool is_table = false;  // which tells at once of every readable row what it is

    bool counts(const std::string& id) const { return !is_rest || id > beyond; }
};

/// Lists in memory, which see to it that nothing is read or looked up twice.
class Lists {
  public:
    explicit Lists(const std::vector<List>& lists, bool knows_floors = true)
        : lists_(lists), read_(lists.size()), known_(lists.size()), values_(lists.size()), knows_floors_(knows_floors) {
        for (std::size_t i = 0; i < lists.size(); ++i) {
            if (!is_long(i)) continue;
            any_long_ = true;
            for (const Row& row : lists[i].rows) values_[i].emplace(row.id, row.value);
        }
    }

    ListState next(std::size_t list, ListRow* row) {
        const auto next = [&](ListRow* read) { return next_row(list, read); };
        const ListState state = lists_[list].is_rest ? next_beyond(lists_[list].beyond, row, next) : next(row);
        if (state == ListState::kOpen) known_[list].emplace(row->id);
        return state;
    }

    ListState next_row(std::size_t list, ListRow* row) {
        const List& from = lists_[list];
        if (read_[list] == from.readable) {
            EXPECT_TRUE(ended_.insert(list).second) << "read on after its end";
            if (!from.is_cut) return ListState::kExhausted;
            *row = {from.threshold.value, from.threshold.id};
            return ListState::kCut;
        }
        const Row& next = from.rows[read_[list]++];
        lent_ = std::make_unique<std::string>(next.id);  // gone at the next call
        *row = {next.value, *lent_};
        return ListState::kOpen;
    }

    void look_up(std::size_t list, std::span<MergedVideo*> videos, std::int64_t* values) {
        for (std::size_t i = 0; i < videos.size(); ++i) {
            const std::string id(videos[i]->id);
            if (i > 0) {
                EXPECT_LT(videos[i - 1]->id, videos[i]->id);
            }
            EXPECT_TRUE(known_[list].insert(id).second) << "looked up what was known";
            values[i] = lists_[list].counts(id) ? value_of(list, id) : 0;
            ++lookups;
        }
    }

    std::size_t tables() const {
        std::size_t count = 0;
        while (count < lists_.size() && lists_[count].is_table) ++count;
        return count;
    }

    bool peek(std::size_t list, const MergedVideo& video, std::int64_t* value) {
        const List& from = lists_[list];
        for (std::size_t i = 0; i < from.readable; ++i) {
            if (from.rows[i].id != video.id) continue;
            *value = from.rows[i].value;
            known_[list].emplace(video.id);
            return true;
        }
        *value = !from.is_cut ? 0 : from.readable > 0 ? from.rows[from.readable - 1].value : INT64_MAX;
        if (!from.is_cut) known_[list].emplace(video.id);
        return !from.is_cut;
    }

    /// Without it a merge never finds its lists flat.
    std::int64_t floor(std::size_t list) const {
        EXPECT_TRUE(read_[list] > 0 || ended_.contains(list)) << "asked before it was read";
        return knows_floors_ && lists_[list].is_cut ? lists_[list].threshold.value : 0;
    }

    std::string_view keep(std::string_view id) { return *kept_.emplace(kept_.end(), id); }
    void* allocate(std::size_t bytes) { return memory_.emplace_back(new std::max_align_t[bytes / sizeof(std::max_align_t) + 1]).get(); }
    /// Collides, where that does not take minutes.
    std::uint64_t hash(std::string_view id) {
        if (any_long_) return std::hash<std::string_view>{}(id);
        return id.empty() ? 0 : static_cast<std::uint64_t>(id.back()) % 3;
    }

    std::uint64_t lookups = 0;

  private:
    bool is_long(std::size_t list) const { return lists_[list].rows.size() > 500; }

    std::int64_t value_of(std::size_t list, const std::string& id) const {
        if (is_long(list)) {
            const auto found = values_[list].find(id);
            return found == values_[list].end() ? 0 : found->second;
        }
        const auto& rows = lists_[list].rows;
        const auto found = std::find_if(rows.begin(), rows.end(), [&](const Row& row) { return row.id == id; });
        return found == rows.end() ? 0 : found->value;
    }

    const std::vector<List>& lists_;
    std::vector<std::size_t> read_;
    std::vector<std::set<std::string>> known_;
    std::vector<std::unordered_map<std::string, std::int64_t>> values_;
    std::set<std::size_t> ended_;
    bool any_long_ = false;
    bool knows_floors_;
    std::unique_ptr<std::string> lent_;
    std::deque<std::string> kept_;
    std::deque<std::unique_ptr<std::max_align_t[]>> memory_;
};

using Random = std::mt19937_64;

std::size_t below(Random& random, std::size_t bound) {
    return random() % bound;
}

/// An id with bytes above 127, ids that begin with others, and the empty one among the possible.
std::string id_of(std::size_t number) {
    static const std::vector<std::string> kOdd = {"", "a", "aa", "a\xC3\xA9", "b", "\xF0", "ab", "B"};
    return number < kOdd.size() ? kOdd[number] : "v" + std::to_string(number);
}

enum class Shape { kRandom, kFlat, kOpposite, kDisjoint, kAlike, kSkewed, kShapes };

std::int64_t value_of(Shape shape, Random& random, std::size_t list, std::size_t lists, std::size_t video, std::size_t videos) {
    switch (shape) {
        case Shape::kFlat:
            return 1 + (below(random, 8) == 0);
        case Shape::kOpposite:
            return static_cast<std::int64_t>(1 + (list % 2 == 0 ? video : videos - video));
        case Shape::kDisjoint:
            return video % lists == list ? static_cast<std::int64_t>(1 + below(random, 6)) : 0;
        case Shape::kAlike:
            return static_cast<std::int64_t>(1 + videos / (video + 1) + below(random, 2));
        case Shape::kSkewed:
            return below(random, 10) == 0 ? INT64_MAX - static_cast<std::int64_t>(below(random, 3))
                                          : static_cast<std::int64_t>(below(random, 4));
        default:
            return static_cast<std::int64_t>(below(random, 5));
    }
}

/// Cuts a list somewhere; its threshold ranks at or above the rest, even above what could be read. Its id may be shorter than any.
void cut(List& list, Random& random) {
    list.is_cut = true;
    list.readable = below(random, list.rows.size() + 1);
    const bool has_rest = list.readable < list.rows.size();
    list.threshold = has_rest ? list.rows[list.readable] : Row{static_cast<std::int64_t>(below(random, 3)), id_of(below(random, 12))};
    if (below(random, 2) == 0) list.threshold.id.resize(below(random, list.threshold.id.size() + 1));
    if (below(random, 4) == 0) list.threshold = {INT64_MAX, ""};
}

/// What is known of the rest of a list that was read to its threshold: the last row that counts, or the threshold if that ranks below.
Row lowest(const List& list) {
    for (std::size_t i = list.readable; i > 0; --i)
        if (list.counts(list.rows[i - 1].id)) return above(list.rows[i - 1], list.threshold) ? list.threshold : list.rows[i - 1];
    return list.threshold;
}

std::vector<List> make_lists(Random& random, std::size_t most_lists, std::size_t most_videos) {
    const auto shape = static_cast<Shape>(below(random, static_cast<std::size_t>(Shape::kShapes)));
    const std::size_t videos = below(random, most_videos) + 1;
    const std::size_t present = below(random, 4);  // in how many of four lists a video is, less one
    std::vector<List> lists(1 + below(random, most_lists));
    for (std::size_t i = 0; i < lists.size(); ++i) {
        if (below(random, 12) == 0) continue;
        for (std::size_t video = 0; video < videos; ++video) {
            const std::int64_t value = value_of(shape, random, i, lists.size(), video, videos);
            if (value > 0 && below(random, 4) <= present) lists[i].rows.push_back({value, id_of(video)});
        }
    }
    for (List& list : lists) {
        std::sort(list.rows.begin(), list.rows.end(), above);
        list.readable = list.rows.size();
        if (below(random, 5) == 0) cut(list, random);
        list.is_rest = below(random, 6) == 0;
        list.beyond = id_of(below(random, videos + 1));
    }
    for (std::size_t tables = below(random, 3); tables > 0 && tables <= lists.size(); --tables) {
        lists[tables - 1].is_table = true;
        lists[tables - 1].is_rest = false;
    }
    return lists;
}

using Sum = std::pair<Views, std::string>;

std::vector<Sum> by_brute_force(const std::vector<List>& lists, bool only_read) {
    std::map<std::string, Views> sums;
    std::set<std::string> read;
    for (const List& list : lists) {
        for (std::size_t i = 0; i < list.rows.size(); ++i) {
            if (!list.counts(list.rows[i].id)) continue;
            sums[list.rows[i].id] += list.rows[i].value;
            if (i < list.readable) read.insert(list.rows[i].id);
        }
    }
    std::vector<Sum> sorted;
    for (const auto& [id, sum] : sums) {
        if (!only_read || read.contains(id)) sorted.emplace_back(sum, id);
    }
    std::sort(sorted.begin(), sorted.end(), [](const Sum& a, const Sum& b) { return ranks_above(a.first, a.second, b.first, b.second); });
    return sorted;
}

/// True if the rule cannot hold, whatever is looked up, when all lists have been read to their ends.
bool is_undecidable(const std::vector<List>& lists, std::size_t k) {
    Views greatest = 0;
    std::string id;
    bool is_cut = false;
    for (const List& list : lists) {
        if (!list.is_cut) continue;
        is_cut = true;
        const Row head = lowest(list);
        greatest += head.value;
        if (head.value > 0) id = std::max(id, head.id);
    }
    const std::vector<Sum> seen = by_brute_force(lists, true);
    if (!is_cut || greatest == 0) return false;
    if (seen.size() < k) return true;
    return seen[k - 1].first < greatest || (seen[k - 1].first == greatest && seen[k - 1].second > id);
}

struct Tally {
    std::size_t done = 0, cut = 0, budget = 0, early = 0, unresolved = 0, flat = 0, rash = 0;
};

void check(const std::vector<List>& lists, std::size_t k, std::size_t step, std::uint64_t budget, Tally& tally, bool knows_floors = true) {
    Lists source(lists, knows_floors);
    Merge<Lists> merge(source, lists.size(), k, budget, step);
    const MergeEnd end = merge.run();
    if (end == MergeEnd::kFlat) {
        ASSERT_TRUE(knows_floors);
        ASSERT_TRUE(std::any_of(lists.begin(), lists.end(), [](const List& list) { return list.is_cut; }));
        const std::size_t done = tally.done;
        check(lists, k, step, budget, tally, false);
        ++tally.flat;
        tally.rash += tally.done > done;
        return;
    }
    std::uint64_t read = 0, looked_up = 0, rows = 0, videos = by_brute_force(lists, true).size();
    for (const ListHead& head : merge.heads()) {
        read += head.rows_read;
        looked_up += head.lookups;
    }
    for (const List& list : lists)
        rows += static_cast<std::uint64_t>(std::count_if(list.rows.begin(), list.rows.begin() + static_cast<std::ptrdiff_t>(list.readable),
                                                         [&](const Row& row) { return list.counts(row.id); }));
    ASSERT_EQ(merge.touched(), read + looked_up);
    ASSERT_EQ(looked_up, source.lookups);
    if (end == MergeEnd::kBudget) {
        Lists again(lists, knows_floors);
        Merge<Lists> unlimited(again, lists.size(), k, UINT64_MAX, step);
        unlimited.run();
        ASSERT_GT(unlimited.touched(), budget) << "gave up for no reason";
        ++tally.budget;
        return;
    }
    if (end == MergeEnd::kCut) {
        if (budget == UINT64_MAX) {
            ASSERT_TRUE(is_undecidable(lists, k));
        }
        ++tally.cut;
        return;
    }
    std::vector<Sum> expected = by_brute_force(lists, false);
    if (expected.size() > k) expected.resize(k);
    ASSERT_EQ(merge.best().size(), expected.size());
    for (std::size_t i = 0; i < expected.size(); ++i) {
        ASSERT_EQ(merge.best()[i]->id, expected[i].second) << "rank " << i + 1;
        ASSERT_TRUE(merge.best()[i]->sum == expected[i].first) << "rank " << i + 1;
    }
    ++tally.done;
    tally.early += read < rows;
    tally.unresolved += read + looked_up < videos * lists.size();
}

std::string text_of(const std::vector<List>& lists) {
    std::string text;
    for (const List& list : lists) {
        if (list.is_table) text += "\ntable";
        text += list.is_rest ? "\nbeyond '" + list.beyond + "': " : "\n";
        for (std::size_t i = 0; i < list.rows.size(); ++i) {
            text += (i == list.readable ? "| " : "") + std::to_string(list.rows[i].value) + "'" + list.rows[i].id + "' ";
        }
        if (list.is_cut) text += " threshold " + std::to_string(list.threshold.value) + "'" + list.threshold.id + "'";
    }
    return text;
}

TEST(Merge, EqualsBruteForce) {
    Random random(20261125);
    Tally tally;
    for (std::size_t i = 0; i < case_count(); ++i) {
        const bool is_large = i % 1000 == 0;
        const std::vector<List> lists = is_large ? make_lists(random, 30, 300) : make_lists(random, 4, 9);
        const std::size_t k = 1 + below(random, is_large ? 40 : 6);
        const std::size_t step = 1 + below(random, 3);
        const std::uint64_t budget = below(random, 4) == 0 ? below(random, 40) : UINT64_MAX;
        check(lists, k, step, budget, tally);
        ASSERT_FALSE(HasFailure()) << "case " << i << ", k " << k << ", step " << step << ", budget " << budget << text_of(lists);
    }
    RecordProperty("done", static_cast<int>(tally.done));
    RecordProperty("flat", static_cast<int>(tally.flat));
    RecordProperty("rash", static_cast<int>(tally.rash));
    // Otherwise the cases would show nothing
    EXPECT_GT(tally.done, case_count() / 2);
    EXPECT_GT(tally.cut, case_count() / 50);
    EXPECT_GT(tally.budget, case_count() / 50);
    EXPECT_GT(tally.early, case_count() / 10);
    EXPECT_GT(tally.unresolved, case_count() / 10);
    EXPECT_GT(tally.flat, case_count() / 1000);
    EXPECT_LT(tally.rash, case_count() / 1000);
}

/// All of the small: two lists, three videos, values 0 to 2, every place of a cut, every k.
TEST(Merge, EqualsBruteForceInEverySmallCase) {
    constexpr std::size_t kValues = 3, kCells = 6, kCells3 = 729;
    Tally tally;
    for (std::size_t number = 0; number < kCells3; ++number) {
        std::vector<List> whole(2);
        std::size_t rest = number;
        for (std::size_t cell = 0; cell < kCells; ++cell, rest /= kValues) {
            if (rest % kValues > 0)
                whole[cell / 3].rows.push_back(
                    {static_cast<std::int64_t>(rest % kValues), std::string(1, static_cast<char>('a' + cell % 3))});
        }
        for (List& list : whole) std::sort(list.rows.begin(), list.rows.end(), above);
        for (std::size_t cuts = 0; cuts < 25; ++cuts) {
            std::vector<List> lists = whole;
            for (std::size_t i = 0; i < 2; ++i) {
                List& list = lists[i];
                const std::size_t at = i == 0 ? cuts % 5 : cuts / 5;
                list.readable = std::min(at, list.rows.size());
                list.is_cut = list.readable < list.rows.size();
                if (list.is_cut) list.threshold = list.rows[list.readable];
            }
            for (std::size_t k = 1; k <= 4; ++k) {
                check(lists, k, 1, UINT64_MAX, tally);
                ASSERT_FALSE(HasFailure()) << "k " << k << text_of(lists);
            }
        }
    }
}

TEST(Merge, StopsAtDepthKWhereListsAreAlike) {
    std::vector<List> lists(24);
    for (List& list : lists) {
        for (std::int64_t i = 0; i < 5000; ++i) list.rows.push_back({1'000'000 / (i + 1), "v" + std::to_string(100'000 + i)});
        list.readable = list.rows.size();
    }
    Lists source(lists);
    Merge<Lists> merge(source, lists.size(), 100, UINT64_MAX, Merge<Lists>::usual_step(100));
    ASSERT_EQ(merge.run(), MergeEnd::kDone);
    EXPECT_EQ(merge.touched(), 24 * 100);
    EXPECT_EQ(merge.best()[99]->id, "v100099");
}

/// A million videos with one view in every list: only the ids tell that the first k are the result.
TEST(Merge, StopsAtDepthKWhereAllAreTied) {
    std::vector<List> lists(3);
    for (List& list : lists) {
        for (std::size_t i = 0; i < 5000; ++i) list.rows.push_back({1, "v" + std::to_string(10'000 + i)});
        list.readable = list.rows.size();
    }
    Lists source(lists);
    Merge<Lists> merge(source, lists.size(), 100, UINT64_MAX, Merge<Lists>::usual_step(100));
    ASSERT_EQ(merge.run(), MergeEnd::kDone);
    EXPECT_EQ(merge.touched(), 3 * 100);
}

/// Lists as an index knows them: of many videos the first 4000 rows.
List known_to_index(std::vector<Row> rows) {
    List list;
    list.rows = std::move(rows);
    std::sort(list.rows.begin(), list.rows.end(), above);
    list.readable = std::min<std::size_t>(4000, list.rows.size());
    list.is_cut = list.readable < list.rows.size();
    if (list.is_cut) list.threshold = list.rows[list.readable];
    return list;
}

template <typename Value>
std::vector<List> lists_of(std::size_t count, std::int64_t videos, Value&& value) {
    std::vector<List> lists;
    for (std::size_t list = 0; list < count; ++list) {
        std::vector<Row> rows;
        for (std::int64_t i = 0; i < videos; ++i)
            if (const std::int64_t views = value(list, i); views > 0) rows.push_back({views, "v" + std::to_string(100'000 + i)});
        lists.push_back(known_to_index(std::move(rows)));
    }
    return lists;
}

struct Outcome {
    MergeEnd end;
    std::uint64_t touched;
};

Outcome merged(const std::vector<List>& lists, std::size_t k, bool knows_floors) {
    Lists source(lists, knows_floors);
    Merge<Lists> merge(source, lists.size(), k, UINT64_MAX, Merge<Lists>::usual_step(k));
    const MergeEnd end = merge.run();
    return {end, merge.touched()};
}

/// Nothing tells the best from the rest: the merge would read all that it can, look up as much, and end without a result.
TEST(Merge, SeesSoonThatCountsAreFlat) {
    Random random(7);
    for (const auto& [count, k] : {std::pair<std::size_t, std::size_t>{4, 1000}, {24, 100}}) {
        const auto lists = lists_of(count, count == 4 ? 20'000 : 45'000, [&](std::size_t, std::int64_t) {
            return count == 4 || below(random, 10) == 0 ? static_cast<std::int64_t>(1 + below(random, 3)) : 0;
        });
        const Outcome sooner = merged(lists, k, true);
        const Outcome later = merged(lists, k, false);
        EXPECT_EQ(later.end, MergeEnd::kCut) << count << " lists, k " << k;
        EXPECT_EQ(sooner.end, MergeEnd::kFlat) << count << " lists, k " << k;
        EXPECT_LT(sooner.touched, later.touched / 2) << count << " lists, k " << k;
    }
}

/// Where the best stand out, it goes on as it did: with a factor by video and list, and where what leads in one list is last in the next.
TEST(Merge, DoesNotTakeSteepCountsForFlat) {
    Random random(11);
    for (const double exponent : {0.6, 1.0}) {
        for (const bool is_opposite : {false, true}) {
            for (const auto& [count, k] : {std::pair<std::size_t, std::size_t>{4, 1000}, {4, 10}, {24, 100}}) {
                constexpr std::int64_t kVideos = 8'000;
                const auto lists = lists_of(count, kVideos, [&](std::size_t list, std::int64_t i) {
                    const auto rank = static_cast<double>(is_opposite && list % 2 == 1 ? kVideos - i : i + 1);
                    const double factor = 0.5 + static_cast<double>(below(random, 1000)) / 1000;
                    return static_cast<std::int64_t>(1e6 * factor / std::pow(rank, exponent));
                });
                const Outcome sooner = merged(lists, k, true);
                const Outcome later = merged(lists, k, false);
                EXPECT_EQ(sooner.end, later.end) << exponent << (is_opposite ? " opposite, " : ", ") << count << " lists, k " << k;
                EXPECT_LE(sooner.touched, later.touched + later.touched / 4) << exponent << ", " << count << " lists, k " << k;
            }
        }
    }
}

TEST(Merge, SumsBeyondBigint) {
    std::vector<List> lists(3);
    for (List& list : lists) list = {{{INT64_MAX, "a"}, {INT64_MAX, "b"}}, 2, false, {}};
    Lists source(lists);
    Merge<Lists> merge(source, lists.size(), 2, UINT64_MAX, 1);
    ASSERT_EQ(merge.run(), MergeEnd::kDone);
    EXPECT_TRUE(merge.best()[0]->sum == Views{3} * INT64_MAX);
}

}  // namespace
}  // namespace topk
