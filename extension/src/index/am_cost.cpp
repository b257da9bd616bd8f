// amcostestimate. The first rows of a group are cheap: its pages are read once, and each row costs a look at the table. What needs the
// fallback (more rows than the group keeps candidates for, no fixed group, backward) pays for reading the table and sorting, before the
// first row.
#include "am.h"
#include "order.h"

namespace topk {

namespace {

// Entries of a group page, and how much of a page's random cost a page costs that is read at every query.
constexpr double kEntriesPerPage = 150;
constexpr double kCachedPage = 0.1;

bool fixes(const IndexClause* clause, const IndexOptInfo* index, int column) {
    if (clause->indexcol != column) return false;
    ListCell* cell;
    foreach (cell, clause->indexquals) {
        const Expr* expression = lfirst_node(RestrictInfo, cell)->clause;
        if (IsA(expression, NullTest) && reinterpret_cast<const NullTest*>(expression)->nulltesttype == IS_NULL) return true;
        if (IsA(expression, OpExpr) &&
            get_op_opfamily_strategy(reinterpret_cast<const OpExpr*>(expression)->opno, index->opfamily[column]) == BTEqualStrategyNumber)
            return true;
    }
    return false;
}

bool fixes_group(const IndexPath* path, int groups) {
    for (int column = 0; column < groups; ++column) {
        bool fixed = false;
        ListCell* cell;
        foreach (cell, path->indexclauses) fixed = fixed || fixes(lfirst_node(IndexClause, cell), path->indexinfo, column);
        if (!fixed) return false;
    }
    return true;
}

/// Rows that will be asked of the index: the query's limit, stretched by what its other conditions filter out.
double rows_wanted(const PlannerInfo* root, const IndexPath* path, double group_rows) {
    if (root->limit_tuples <= 0) return group_rows;
    const double kept = clamp_row_est(path->indexinfo->rel->rows) / clamp_row_est(group_rows);
    return std::min(group_rows, root->limit_tuples / std::min(1.0, kept));
}

Cost fallback_cost(const IndexPath* path, double rows) {
    const RelOptInfo* table = path->indexinfo->rel;
    const double compared = clamp_row_est(rows);
    return seq_page_cost * table->pages + (cpu_tuple_cost + cpu_operator_cost) * table->tuples +
           2 * cpu_operator_cost * compared * std::max(1.0, log2(compared));
}

}  // namespace

extern "C" void topk_costestimate(PlannerInfo* root, IndexPath* path, double loop_count, Cost* startup, Cost* total,
                                  Selectivity* selectivity, double* correlation, double* pages) {
    GenericCosts costs = {};
    genericcostestimate(root, path, loop_count, &costs);
    Relation relation = index_open(path->indexinfo->indexoid, NoLock);
    const int groups = group_columns(relation);
    const double capacity = 4.0 * option_k(relation);
    index_close(relation, NoLock);

    const double group_rows = clamp_row_est(costs.indexSelectivity * path->indexinfo->rel->tuples);
    const double entries = std::min(group_rows, 2 * capacity);
    const Cost first = kCachedPage * random_page_cost * (2 + entries / kEntriesPerPage) + cpu_operator_cost * entries;
    const bool is_list = fixes_group(path, groups) && path->indexscandir != BackwardScanDirection;
    *startup = first;
    if (!is_list)
        *startup += 2 * fallback_cost(path, group_rows);
    else if (group_rows > capacity && rows_wanted(root, path, group_rows) > capacity)
        *startup += fallback_cost(path, group_rows);
    // The rows are read twice, by us and by the executor.
    *total = *startup + (cpu_index_tuple_cost + cpu_tuple_cost) * group_rows;
    *selectivity = costs.indexSelectivity;
    *correlation = 0;
    *pages = path->indexinfo->pages;
}

}  // namespace topk
