// When to merge, how much it may cost, and running it.
#include "merge_lists.h"

namespace topk {

namespace {

// Below so many rows neither way takes long, and estimates say little.
constexpr double kLeastBudget = 10000;

/// A quarter of the lists' rows: a merge that has to touch more costs about as much as adding all of them up.
double budget_of(std::span<const ListSource::List> lists) {
    double rows = 0;
    for (const ListSource::List& list : lists) rows += list.rows;
    return std::max(kLeastBudget, rows / 4);
}

/// What it will touch where the lists have much the same videos at their tops: they do, or there is no saying.
double expected_touches(std::span<const ListSource::List> lists, std::int32_t k) {
    double touches = 0;
    for (const ListSource::List& list : lists) touches += std::min<double>(list.rows, k);
    return touches;
}

template <typename T>
std::span<T> copied(std::span<const T> items) {
    auto* copy = static_cast<T*>(palloc(std::max<std::size_t>(items.size(), 1) * sizeof(T)));
    std::copy(items.begin(), items.end(), copy);
    return {copy, items.size()};
}

const char* reason(MergeEnd end) {
    switch (end) {
        case MergeEnd::kCut:
            return "a list ended at its threshold";
        case MergeEnd::kBudget:
            return "more than a quarter of the rows was touched";
        case MergeEnd::kFlat:
            return "lists would end at their thresholds";
        default:
            return nullptr;
    }
}

/// The result, unless a sum exceeds bigint: adding up raises the error.
bool take_best(std::span<MergedVideo* const> best, std::span<Ranked>* list) {
    auto* rows = static_cast<Ranked*>(palloc(std::max<std::size_t>(best.size(), 1) * sizeof(Ranked)));
    for (std::size_t i = 0; i < best.size(); ++i) {
        if (best[i]->sum > PG_INT64_MAX) return false;
        rows[i] = {pnstrdup(best[i]->id.data(), best[i]->id.size()), static_cast<std::int64_t>(best[i]->sum)};
    }
    *list = {rows, best.size()};
    return true;
}

/// True if the snapshot may show two rows of one video in a list, which only adding up counts both: that of its own transaction, and the
/// one before, which somebody deleted since the snapshot was taken.
bool may_see_two_rows() {
    return IsolationUsesXactSnapshot() && TransactionIdIsValid(GetTopTransactionIdIfAny());
}

/// Requires: the lists are open.
std::span<Ranked> run_merge(ListSource& source, std::int32_t k, MergeReport* report) {
    using ListMerge = Merge<ListSource>;
    const double budget = budget_of(source.lists());
    if (expected_touches(source.lists(), k) > budget) {
        report->given_up = "more than a quarter of the rows would be touched";
        return {};
    }
    const auto length = static_cast<std::size_t>(k);
    auto* merge = new (source.allocate(sizeof(ListMerge)))
        ListMerge(source, source.lists().size(), length, static_cast<std::uint64_t>(budget), ListMerge::usual_step(length));
    report->given_up = reason(merge->run());
    report->heads = copied(merge->heads());
    std::span<Ranked> list;
    if (report->given_up == nullptr && !take_best(merge->best(), &list)) report->given_up = "a sum exceeds bigint";
    return list;
}

}  // namespace

std::span<Ranked> merge_lists(const Counter& counter, const Cover& cover, std::int32_t k, MergeReport* report) {
    *report = {};
    std::span<Ranked> list;
    if (has_policies(counter, GetUserId()) || has_policies(counter, counter.owner)) {
        report->given_up = "row-level security";
        return list;
    }
    if (may_see_two_rows()) {
        report->given_up = "written in a transaction with one snapshot";
        return list;
    }
    as_user(counter.owner, [&] {
        auto* source = new (palloc(sizeof(ListSource))) ListSource;
        report->given_up = source->open(counter, cover, k);
        if (report->given_up == nullptr) list = run_merge(*source, k, report);
        report->lists = copied(source->lists());
        source->close();
    });
    return list;
}

}  // namespace topk
