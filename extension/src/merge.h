// The k greatest sums over several sorted lists, by the threshold algorithm (Fagin). Pure C++: no Postgres, no memory of its own, nothing
// with a destructor; the lists come from a Source. Values are > 0, and a video that is not in a list has 0 there. Lists and result are
// ordered by value descending, then id ascending bytewise.
//   Some lists may be tables that tell the values of the videos at their tops for nothing.
//   All lists are read downwards in step. A video that was seen has a least sum (what is known of it) and a greatest sum (that and the
//   last value read of every list in which it is not known yet). The k-th best least sum is the bar: the last row of the result ranks at or
//   above it. Videos are looked up only while their greatest sum can pass the bar, the best first. It is done when neither an unseen video
//   nor one that is not fully known can pass it. The extension's README proves that, and says when it gives up.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace topk {

constexpr std::size_t kMaxMergedLists = 256;

/// How far a list has been read.
enum class ListState : char {
    kOpen,
    kExhausted,  ///< all of it
    kCut,        ///< all that can be: the rows at or below a threshold cannot be read in order
};

/// The next row of a list; or, at kCut, the threshold: no row that was not read ranks above it. (An id that is shorter ranks above.)
struct ListRow {
    std::int64_t value;
    std::string_view id;
};

/// The next row of a list of which only ids after `beyond` count; next(row) reads on in the whole list. A threshold of the whole list is
/// one of the part, too.
template <typename Next>
ListState next_beyond(std::string_view beyond, ListRow* row, Next&& next) {
    for (;;) {
        const ListState state = next(row);
        if (state != ListState::kOpen || row->id > beyond) return state;
    }
}

/// A list as far as it was read: what was not read ranks below value and id, those of the last row; at kCut, of the threshold if that ranks
/// below, and then at or below it. At kExhausted the value is 0.
struct ListHead {
    std::int64_t value = 0;
    std::int64_t ceiling = INT64_MAX;  ///< of videos that were seen and are not in the table; no bound if it is no table
    std::string_view id;
    ListState state = ListState::kOpen;
    std::uint64_t rows_read = 0;
    std::uint64_t lookups = 0;

    /// What a video that was seen can have here at most, if it is not known.
    std::int64_t most() const { return std::min(value, ceiling); }
};

using Views = __int128;  // sums of all lists, and of their heads, cannot overflow

struct MergedVideo {
    std::string_view id;
    std::uint64_t hash;
    Views sum;       // of the lists in which it is known
    Views greatest;  // the sum cannot be more; kept up to date only while videos are looked up
    std::array<std::uint64_t, kMaxMergedLists / 64> known;

    bool is_known(std::size_t list) const { return (known[list / 64] >> (list % 64) & 1) != 0; }
    void learn(std::size_t list, std::int64_t value) {
        known[list / 64] |= std::uint64_t{1} << (list % 64);
        sum += value;
    }
};

/// True if a ranks above b in the result.
inline bool ranks_above(Views a_sum, std::string_view a_id, Views b_sum, std::string_view b_id) {
    return a_sum != b_sum ? a_sum > b_sum : a_id < b_id;
}

enum class MergeEnd : char {
    kDone,
    kCut,     ///< lists ended at their thresholds before the result was certain
    kBudget,  ///< more rows were touched than the merge may
    kFlat,    ///< it would end at the thresholds, as far as one can tell: too little tells the best from the rest
};

/// Source has
///   ListState next(std::size_t list, ListRow* row)     kOpen: a row; kCut: the threshold. The id needs to live until the next call only
///   void look_up(std::size_t list, std::span<MergedVideo*> videos, std::int64_t* values)      ids ascend; 0 for those not in the list
///   std::size_t tables()                               the first so many lists are tables
///   bool peek(std::size_t list, const MergedVideo& video, std::int64_t* value)        of a table: its value; false: the most it can be,
///                                                      the same for all that are not in it
///   std::int64_t floor(std::size_t list)               once a row was read: the threshold's value as known by now, where its rows in
///                                                      order will end; 0 if it has none. Decides when to give up, and nothing else
///   std::string_view keep(std::string_view)            a copy that lives as long as the merge
///   void* allocate(std::size_t bytes)                  likewise, aligned for anything
///   std::uint64_t hash(std::string_view)
template <typename Source>
class Merge {
  public:
    /// budget: how many rows may be read and looked up. step: how many are read of every list before the rule is tried again.
    /// Requires: at most kMaxMergedLists lists, k > 0, step > 0.
    Merge(Source& source, std::size_t lists, std::size_t k, std::uint64_t budget, std::size_t step)
        : source_(source), heads_(lists), k_(k), budget_(budget), step_(step) {}
    /// The step that suits a k.
    static constexpr std::size_t usual_step(std::size_t k) { return std::max<std::size_t>(8, k / 4); }

    MergeEnd run();
    /// After kDone: the result, best first.
    std::span<MergedVideo* const> best() const { return {candidates_, std::min(k_, candidate_count_)}; }
    /// At any time: how far each list was read.
    std::span<const ListHead> heads() const { return {heads_.items, heads_.count}; }
    std::uint64_t touched() const { return touched_; }

  private:
    static constexpr std::size_t kLeastChunk = 64;
    static constexpr std::uint64_t kLeastLastLookups = 10000;
    // As many rows of every list as the result has: where the best stand out a merge is about to end.
    static constexpr std::size_t kPatientRounds = 4;
    // About as many rows of a list an index knows in order.
    static constexpr std::size_t kReadable = 4000;

    struct Heads {
        explicit Heads(std::size_t lists) : count(lists) {}
        ListHead items[kMaxMergedLists];
        std::size_t count;
        ListHead* begin() { return items; }
        ListHead* end() { return items + count; }
    };

    template <typename T>
    T* allocate(std::size_t count) {
        return static_cast<T*>(source_.allocate(count * sizeof(T)));
    }

    void read_rows();
    void see(std::size_t list, const ListRow& row);
    void peek(MergedVideo* video);
    MergedVideo** slot_of(std::string_view id, std::uint64_t hash);
    void make_room();
    void set_bar();
    void drop_hopeless();
    Views greatest_sum(const MergedVideo& video) const;
    bool can_enter(const MergedVideo& video) const;
    bool is_resolved(const MergedVideo& video) const;
    Views greatest_unseen() const;
    bool unseen_can_enter() const;
    Views floor() const;
    bool is_flat();
    bool is_promising() const { return has_bar_ && 2 * bar_sum_ >= greatest_unseen(); }
    bool resolve(std::span<MergedVideo*> videos);
    bool resolve_leaders();
    bool resolve_all();
    bool try_last();
    template <typename State>
    bool any(State state) {
        return std::any_of(heads_.begin(), heads_.end(), [state](const ListHead& head) { return head.state == state; });
    }

    Source& source_;
    Heads heads_;
    std::size_t k_;
    std::uint64_t budget_;
    std::size_t step_;
    std::uint64_t touched_ = 0;
    std::size_t rounds_ = 0;
    MergedVideo** slots_ = nullptr;  // every video seen, by hash
    std::size_t slot_count_ = 0;     // a power of two
    std::size_t seen_ = 0;
    MergedVideo** candidates_ = nullptr;  // those not out; the k best first after set_bar
    MergedVideo** scratch_ = nullptr;     // room for as many
    std::int64_t* values_ = nullptr;      // likewise
    std::size_t candidate_count_ = 0;
    bool has_bar_ = false;
    Views bar_sum_ = 0;
    std::string_view bar_id_;
};

template <typename Source>
MergeEnd Merge<Source>::run() {
    for (;;) {
        read_rows();
        set_bar();
        if (touched_ > budget_) return MergeEnd::kBudget;
        const bool can_read = any(ListState::kOpen);
        // Look-ups are dear, and the deeper the lists were read the fewer are needed: none before they may bring the end, of either kind.
        const bool is_in_doubt = ++rounds_ == kPatientRounds && has_bar_ && bar_sum_ < floor();
        if (can_read && unseen_can_enter() && !is_promising() && !is_in_doubt) continue;
        if (!resolve_leaders()) return MergeEnd::kBudget;
        if (can_read && unseen_can_enter() && is_flat()) return MergeEnd::kFlat;
        if (!can_read && unseen_can_enter() && !try_last()) return MergeEnd::kCut;
        if (!unseen_can_enter()) {
            if (!resolve_all()) return MergeEnd::kBudget;
            std::sort(candidates_, candidates_ + std::min(k_, candidate_count_),
                      [](const MergedVideo* a, const MergedVideo* b) { return ranks_above(a->sum, a->id, b->sum, b->id); });
            return MergeEnd::kDone;
        }
        if (!can_read) return MergeEnd::kCut;
    }
}

/// Sorted access: the next rows of every list that has more.
template <typename Source>
void Merge<Source>::read_rows() {
    for (std::size_t list = 0; list < heads_.count; ++list) {
        ListHead& head = heads_.items[list];
        for (std::size_t i = 0; i < step_ && head.state == ListState::kOpen; ++i) {
            ListRow row = {0, {}};
            head.state = source_.next(list, &row);
            if (head.state == ListState::kOpen) {
                ++head.rows_read;
                ++touched_;
                see(list, row);
            } else if (head.state == ListState::kExhausted) {
                head.value = 0;
                head.id = {};
            } else if (head.rows_read == 0 || ranks_above(head.value, head.id, row.value, row.id)) {
                // Thresholds rise: one that ranks above what was read in order says less than the last row.
                head.value = std::max<std::int64_t>(row.value, 0);
                head.id = source_.keep(row.id);
            }
        }
    }
}

template <typename Source>
void Merge<Source>::see(std::size_t list, const ListRow& row) {
    if (2 * seen_ >= slot_count_) make_room();
    const std::uint64_t hash = source_.hash(row.id);
    MergedVideo** slot = slot_of(row.id, hash);
    if (*slot == nullptr) {
        *slot = allocate<MergedVideo>(1);
        **slot = {source_.keep(row.id), hash, 0, 0, {}};
        ++seen_;
        candidates_[candidate_count_++] = *slot;
        peek(*slot);
    }
    MergedVideo& video = **slot;
    if (!video.is_known(list)) video.learn(list, row.value);
    heads_.items[list].value = row.value;
    heads_.items[list].id = video.id;
}

template <typename Source>
void Merge<Source>::peek(MergedVideo* video) {
    for (std::size_t list = 0; list < source_.tables(); ++list) {
        std::int64_t value;
        if (source_.peek(list, *video, &value))
            video->learn(list, value);
        else
            heads_.items[list].ceiling = value;
    }
}

template <typename Source>
MergedVideo** Merge<Source>::slot_of(std::string_view id, std::uint64_t hash) {
    std::size_t at = hash & (slot_count_ - 1);
    while (slots_[at] != nullptr && (slots_[at]->hash != hash || slots_[at]->id != id)) at = (at + 1) & (slot_count_ - 1);
    return &slots_[at];
}

/// Twice as many slots, and room for as many candidates as may fill them.
template <typename Source>
void Merge<Source>::make_room() {
    MergedVideo** old = slots_;
    const std::size_t old_count = slot_count_;
    slot_count_ = std::max<std::size_t>(2 * old_count, 256);
    slots_ = allocate<MergedVideo*>(slot_count_);
    std::fill_n(slots_, slot_count_, nullptr);
    for (std::size_t i = 0; i < old_count; ++i)
        if (old[i] != nullptr) *slot_of(old[i]->id, old[i]->hash) = old[i];
    auto** candidates = allocate<MergedVideo*>(slot_count_);
    std::copy_n(candidates_, candidate_count_, candidates);
    candidates_ = candidates;
    scratch_ = allocate<MergedVideo*>(slot_count_);
    values_ = allocate<std::int64_t>(slot_count_);
}

/// Puts the k best by what is known of them first. The worst of these is the bar.
template <typename Source>
void Merge<Source>::set_bar() {
    has_bar_ = candidate_count_ >= k_;
    if (!has_bar_) return;
    std::nth_element(candidates_, candidates_ + k_ - 1, candidates_ + candidate_count_,
                     [](const MergedVideo* a, const MergedVideo* b) { return ranks_above(a->sum, a->id, b->sum, b->id); });
    bar_sum_ = candidates_[k_ - 1]->sum;
    bar_id_ = candidates_[k_ - 1]->id;
}

/// Forgets those that cannot enter; their greatest sums only fall and the bar only rises. Sets the greatest sums of the others.
template <typename Source>
void Merge<Source>::drop_hopeless() {
    std::size_t kept = 0;
    for (std::size_t i = 0; i < candidate_count_; ++i) {
        MergedVideo* video = candidates_[i];
        video->greatest = greatest_sum(*video);
        if (can_enter(*video)) candidates_[kept++] = video;
    }
    candidate_count_ = kept;
}

template <typename Source>
Views Merge<Source>::greatest_sum(const MergedVideo& video) const {
    Views sum = video.sum;
    for (std::size_t list = 0; list < heads_.count; ++list)
        if (!video.is_known(list)) sum += heads_.items[list].most();
    return sum;
}

/// Requires: its greatest sum is up to date.
template <typename Source>
bool Merge<Source>::can_enter(const MergedVideo& video) const {
    return !has_bar_ || !ranks_above(bar_sum_, bar_id_, video.greatest, video.id);
}

/// Exhausted lists need no look-up: what they hold was seen.
template <typename Source>
bool Merge<Source>::is_resolved(const MergedVideo& video) const {
    for (std::size_t list = 0; list < heads_.count; ++list)
        if (!video.is_known(list) && heads_.items[list].state != ListState::kExhausted) return false;
    return true;
}

template <typename Source>
Views Merge<Source>::greatest_unseen() const {
    Views sum = 0;
    for (const ListHead& head : heads()) sum += head.value;
    return sum;
}

/// An unseen video whose sum is all the heads' is in every list whose head is not 0, with that very value, so it follows every such id.
template <typename Source>
bool Merge<Source>::unseen_can_enter() const {
    const Views greatest = greatest_unseen();
    if (!has_bar_ || bar_sum_ < greatest) return greatest > 0;
    if (bar_sum_ > greatest) return false;
    return std::none_of(heads().begin(), heads().end(), [this](const ListHead& head) { return head.value > 0 && bar_id_ <= head.id; });
}

/// What an unseen video can have when all that can be read in order was read, as far as is known.
template <typename Source>
Views Merge<Source>::floor() const {
    Views sum = 0;
    for (std::size_t list = 0; list < heads_.count; ++list) {
        const ListHead& head = heads_.items[list];
        if (head.state != ListState::kExhausted) sum += std::min(head.value, source_.floor(list));
    }
    return sum;
}

/// True if reading on will hardly lift the bar above the floor. The leaders were resolved: their sums are known. What is seen later ranks
/// behind them list by list; so if reading to the end brings n times as many videos, k of them will hardly be above the floor where less
/// than k / n are now.
template <typename Source>
bool Merge<Source>::is_flat() {
    const Views least = floor();
    if (!has_bar_ || bar_sum_ >= least) return false;
    const std::size_t depth = std::min(rounds_ * step_, kReadable);
    MergedVideo** best = candidates_ + std::min(k_ - 1, k_ * depth / kReadable);
    std::nth_element(candidates_, best, candidates_ + k_,
                     [](const MergedVideo* a, const MergedVideo* b) { return ranks_above(a->sum, a->id, b->sum, b->id); });
    return (*best)->sum < least;
}

/// Random access: the videos' values in all lists, while they can still enter. Sorts them. False if it would go over the budget.
template <typename Source>
bool Merge<Source>::resolve(std::span<MergedVideo*> videos) {
    std::sort(videos.begin(), videos.end(), [](const MergedVideo* a, const MergedVideo* b) { return a->id < b->id; });
    for (MergedVideo* video : videos) video->greatest = greatest_sum(*video);
    std::size_t order[kMaxMergedLists];
    for (std::size_t i = 0; i < heads_.count; ++i) order[i] = i;
    // What a high head adds to a greatest sum weighs most.
    std::sort(order, order + heads_.count,
              [this](std::size_t a, std::size_t b) { return heads_.items[a].most() > heads_.items[b].most(); });
    for (const std::size_t list : std::span(order, heads_.count)) {
        ListHead& head = heads_.items[list];
        if (head.state == ListState::kExhausted) continue;
        std::size_t wanted = 0;
        for (MergedVideo* video : videos)
            if (!video->is_known(list) && can_enter(*video)) scratch_[wanted++] = video;
        if (wanted == 0) continue;
        if (touched_ + wanted > budget_) return false;
        head.lookups += wanted;
        touched_ += wanted;
        source_.look_up(list, {scratch_, wanted}, values_);
        for (std::size_t i = 0; i < wanted; ++i) {
            scratch_[i]->learn(list, values_[i]);
            scratch_[i]->greatest += values_[i] - head.most();
        }
    }
    return true;
}

/// Those that are in the lead by what is known: with their sums the bar is near where it will end.
template <typename Source>
bool Merge<Source>::resolve_leaders() {
    const bool is_within_budget = resolve({candidates_, std::min(k_, candidate_count_)});
    set_bar();
    return is_within_budget;
}

/// Until every video that can enter is fully known: those that could be the best first, since each may raise the bar for the others.
template <typename Source>
bool Merge<Source>::resolve_all() {
    for (;;) {
        set_bar();
        drop_hopeless();
        set_bar();
        MergedVideo** resolved =
            std::partition(candidates_, candidates_ + candidate_count_, [this](const MergedVideo* video) { return !is_resolved(*video); });
        const auto open = static_cast<std::size_t>(resolved - candidates_);
        if (open == 0) break;
        const std::size_t chunk = std::min(open, std::max(kLeastChunk, open / 4));
        std::nth_element(candidates_, candidates_ + chunk - 1, resolved,
                         [](const MergedVideo* a, const MergedVideo* b) { return a->greatest > b->greatest; });
        if (!resolve({candidates_, chunk})) return false;
    }
    set_bar();
    return true;
}

/// Nothing can be read on, and unseen videos may be behind a threshold: whether the bar gets above them shows when those seen are known.
/// That may be in vain, so it may cost no more than was spent before. False if it would, or if it goes over the budget.
template <typename Source>
bool Merge<Source>::try_last() {
    const std::uint64_t budget = budget_;
    budget_ = std::min(budget_, touched_ + std::max(touched_, kLeastLastLookups));
    const bool is_within_budget = resolve_all();
    budget_ = budget;
    return is_within_budget;
}

}  // namespace topk
