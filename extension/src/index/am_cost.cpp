// amcostestimate. The first rows of a group are cheap: its pages are read once, and each row costs a look at the table. Only the group's
// columns and a lower bound on the score shorten the walk through it; rows that other conditions exclude are read all the same. What needs
// the fallback (more rows than the group keeps candidates for, no fixed group, backward) pays for reading the table and sorting, before
// the first row.
#include "am.h"
#include "order.h"

namespace topk {

namespace {

// Entries of a group page, and how much of a page's random cost a page costs that is read at every query.
constexpr double kEntriesPerPage = 150;
constexpr double kCachedPage = 0.1;

enum class Condition { kFixes, kBoundsBelow, kOther };

Condition kind_of(const RestrictInfo* restriction, const IndexOptInfo* index, int column) {
    const Expr* expression = restriction->clause;
    if (IsA(expression, NullTest))
        return reinterpret_cast<const NullTest*>(expression)->nulltesttype == IS_NULL ? Condition::kFixes : Condition::kOther;
    if (!IsA(expression, OpExpr)) return Condition::kOther;
    const int strategy = get_op_opfamily_strategy(reinterpret_cast<const OpExpr*>(expression)->opno, index->opfamily[column]);
    if (strategy == BTEqualStrategyNumber) return Condition::kFixes;
    return strategy >= BTGreaterEqualStrategyNumber ? Condition::kBoundsBelow : Condition::kOther;
}

/// What a scan's conditions say of the rows that it will walk through.
struct Walk {
    bool is_list;        // they fix the group
    double group_rows;   // meet the conditions on the group's columns
    double walked_rows;  // of these, at or above the lower bounds on the score
};

Walk walk_of(PlannerInfo* root, const IndexPath* path, int groups) {
    const IndexOptInfo* index = path->indexinfo;
    Bitmapset* fixed = nullptr;
    List* of_group = NIL;
    List* of_walk = NIL;
    ListCell* cell;
    foreach (cell, path->indexclauses) {
        const IndexClause* clause = lfirst_node(IndexClause, cell);
        const int column = clause->indexcol;
        ListCell* inner;
        foreach (inner, clause->indexquals) {
            RestrictInfo* restriction = lfirst_node(RestrictInfo, inner);
            const Condition kind = kind_of(restriction, index, column);
            if (column < groups && kind == Condition::kFixes) fixed = bms_add_member(fixed, column);
            if (column < groups) of_group = lappend(of_group, restriction);
            if (column < groups || (column == groups && kind == Condition::kBoundsBelow)) of_walk = lappend(of_walk, restriction);
        }
    }
    const int table = static_cast<int>(index->rel->relid);
    const double rows = index->rel->tuples;
    return {bms_num_members(fixed) == groups, clamp_row_est(rows * clauselist_selectivity(root, of_group, table, JOIN_INNER, nullptr)),
            clamp_row_est(rows * clauselist_selectivity(root, of_walk, table, JOIN_INNER, nullptr))};
}

/// How far the query may read the path's rows.
enum class Wanted {
    kAll,      // all of them: they will be sorted, or are the inner side of a join, or what is above the table may read all
    kLimit,    // until it has limit_tuples rows of this table
    kFraction  // the first ones, but what is above the table (a join, groups) decides how many
};

Wanted wanted_of(const PlannerInfo* root, const IndexPath* path) {
    // A window may read all rows before it gives the first.
    if (root->tuple_fraction <= 0 || path->path.param_info != nullptr || root->parse->hasWindowFuncs) return Wanted::kAll;
    if (root->query_pathkeys != NIL) {
        int ordered;  // by so many columns of the query's order; an incremental sort by the others ends soon after the limit
        if (!pathkeys_count_contained_in(root->query_pathkeys, path->path.pathkeys, &ordered) && ordered == 0) return Wanted::kAll;
    }
    return root->limit_tuples > 0 && bms_membership(root->all_baserels) == BMS_SINGLETON ? Wanted::kLimit : Wanted::kFraction;
}

/// Rows that a limit reads: stretched by what other conditions filter out.
double rows_of_limit(const PlannerInfo* root, const IndexPath* path, const Walk& walk) {
    const double kept = std::min(1.0, clamp_row_est(path->indexinfo->rel->rows) / walk.walked_rows);
    return std::min(walk.walked_rows, root->limit_tuples / kept);
}

/// Reading a share of the table, and sorting so many rows.
Cost fallback_cost(const IndexPath* path, double share, double rows) {
    const RelOptInfo* table = path->indexinfo->rel;
    const double compared = clamp_row_est(rows);
    return share * (seq_page_cost * table->pages + (cpu_tuple_cost + cpu_operator_cost) * table->tuples) +
           2 * cpu_operator_cost * compared * std::max(1.0, log2(compared));
}

/// True if the table has a btree that begins with the group columns.
bool has_group_btree(const IndexOptInfo* index, int groups) {
    ListCell* cell;
    foreach (cell, index->rel->indexlist) {
        const auto* other = lfirst_node(IndexOptInfo, cell);
        if (other->relam != BTREE_AM_OID || other->indpred != NIL || other->nkeycolumns < groups) continue;
        if (std::is_permutation(other->indexkeys, other->indexkeys + groups, index->indexkeys)) return true;
    }
    return false;
}

/// Reading the rows, as far as core leaves it out for an index-only scan: they are read for their keys all the same.
Cost unseen_row_cost(PlannerInfo* root, const IndexPath* path, double loop_count, Selectivity selectivity) {
    if (path->path.pathtype != T_IndexOnlyScan) return 0;
    const RelOptInfo* table = path->indexinfo->rel;
    double page_cost;
    get_tablespace_page_costs(table->reltablespace, &page_cost, nullptr);
    const double rows = clamp_row_est(selectivity * table->tuples);
    const double pages = index_pages_fetched(rows * loop_count, table->pages, path->indexinfo->pages, root);
    return page_cost * (pages - ceil(pages * (1 - table->allvisfrac))) / loop_count;
}

}  // namespace

extern "C" void topk_costestimate(PlannerInfo* root, IndexPath* path, double loop_count, Cost* startup, Cost* total,
                                  Selectivity* selectivity, double* correlation, double* pages) {
    GenericCosts costs = {};
    genericcostestimate(root, path, loop_count, &costs);
    Relation relation = index_open(path->indexinfo->indexoid, NoLock);
    const int groups = group_columns(relation);
    const double k = option_k(relation);
    index_close(relation, NoLock);

    const Walk walk = walk_of(root, path, groups);
    const double entries = std::min(walk.group_rows, 8 * k);
    // The first of the group's pages costs what it costs other access methods, lest we look cheaper for a single row.
    *startup = random_page_cost * (1 + kCachedPage * (1 + entries / kEntriesPerPage)) + cpu_operator_cost * entries;
    const double candidates = 3 * k;  // a group keeps them for 4 k; some of them may be dead
    double skipped = 0;
    double later = 0;  // what a query pays only if it reads on
    if (!walk.is_list || path->indexscandir == BackwardScanDirection) {
        *startup += 2 * fallback_cost(path, 1, walk.group_rows);
    } else {
        const Wanted wanted = wanted_of(root, path);
        const double rows = wanted == Wanted::kLimit ? rows_of_limit(root, path, walk) : walk.walked_rows;
        if (rows > candidates && wanted != Wanted::kFraction) {
            *startup += fallback_cost(path, 1, walk.group_rows);
        } else {
            if (rows > candidates) {
                // The planner takes a share of the total that grows evenly with the rows: the whole of what other plans cost at least, with
                // the group's rows side by side, where the candidates end.
                const double share = has_group_btree(path->indexinfo, groups) ? walk.group_rows / path->indexinfo->rel->tuples : 1;
                later = fallback_cost(path, share, walk.group_rows) * walk.walked_rows / candidates;
            }
            skipped = std::max(0.0, walk.walked_rows - costs.indexSelectivity * path->indexinfo->rel->tuples);
        }
    }
    // A row that meets the conditions is read twice, by us and by the executor; one that does not, by us alone.
    *total = *startup + (cpu_index_tuple_cost + cpu_tuple_cost) * walk.walked_rows + kCachedPage * random_page_cost * skipped + later +
             unseen_row_cost(root, path, loop_count, costs.indexSelectivity);
    *selectivity = costs.indexSelectivity;
    *correlation = 0;
    *pages = path->indexinfo->pages;
}

}  // namespace topk
