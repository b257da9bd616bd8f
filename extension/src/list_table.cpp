// Finding the indexes of a table of views. An index that a snapshot may not use yet, or that could miss rows, is none.
#include "list_table.h"

#include "index/am.h"

namespace topk {

namespace {

/// True if the index's column (from 0) is that column of the table, with the order that all our tables have.
bool has_column(Relation index, int column, AttrNumber table_column, Oid type, bool descending) {
    return index->rd_index->indkey.values[column] == table_column && index->rd_opcintype[column] == type &&
           ((index->rd_indoption[column] & INDOPTION_DESC) != 0) == descending &&
           (type != TEXTOID || index->rd_indcollation[column] == C_COLLATION_OID);
}

Oid group_type(int groups, int column) {
    return column == groups - 1 ? TIMESTAMPTZOID : TEXTOID;
}

bool is_usable(Relation index, int columns) {
    const FormData_pg_index& form = *index->rd_index;
    return form.indisvalid && form.indislive && !form.indcheckxmin && form.indnkeyatts == columns &&
           heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, nullptr);
}

bool has_groups(Relation index, int groups) {
    for (int i = 0; i < groups; ++i)
        if (!has_column(index, i, static_cast<AttrNumber>(i + 1), group_type(groups, i), false)) return false;
    return true;
}

bool is_top_index(Relation index, int groups) {
    return index->rd_indam->ambuild == topk_build && is_usable(index, groups + 2) && has_groups(index, groups) &&
           has_column(index, groups, static_cast<AttrNumber>(groups + 2), INT8OID, true) &&
           has_column(index, groups + 1, static_cast<AttrNumber>(groups + 1), TEXTOID, false);
}

/// Unique at every moment, so that a look-up finds one row.
bool is_key_index(Relation index, int groups) {
    return index->rd_rel->relam == BTREE_AM_OID && is_usable(index, groups + 1) && index->rd_index->indisunique &&
           index->rd_index->indimmediate && has_groups(index, groups) &&
           has_column(index, groups, static_cast<AttrNumber>(groups + 1), TEXTOID, false);
}

bool has_our_columns(Relation table, int groups) {
    const char* names[] = {"span", "window_start", "video_id", "views"};
    const auto columns = static_cast<AttrNumber>(groups + 2);
    for (AttrNumber i = 1; i <= columns; ++i)
        if (get_attnum(RelationGetRelid(table), names[4 - columns + i - 1]) != i) return false;
    return table->rd_rel->relkind == RELKIND_RELATION;
}

}  // namespace

bool open_list_table(Oid table, int groups, ListTable* opened) {
    Relation relation = try_table_open(table, AccessShareLock);
    if (relation == nullptr) return false;
    if (!has_our_columns(relation, groups)) {
        table_close(relation, NoLock);
        return false;
    }
    *opened = {relation, nullptr, nullptr, groups};
    List* indexes = RelationGetIndexList(relation);
    for (int i = 0; i < list_length(indexes); ++i) {
        Relation index = index_open(list_nth_oid(indexes, i), AccessShareLock);
        if (opened->top_index == nullptr && is_top_index(index, groups))
            opened->top_index = index;
        else if (opened->key_index == nullptr && is_key_index(index, groups))
            opened->key_index = index;
        else
            index_close(index, AccessShareLock);
    }
    list_free(indexes);
    return true;
}

void close_list_table(const ListTable& table) {
    if (table.top_index != nullptr) index_close(table.top_index, NoLock);
    if (table.key_index != nullptr) index_close(table.key_index, NoLock);
    table_close(table.relation, NoLock);
}

void fix_column(ScanKeyData* key, int index_column, Oid type, Datum value) {
    const bool is_text = type == TEXTOID;
    ScanKeyEntryInitialize(key, 0, static_cast<AttrNumber>(index_column), BTEqualStrategyNumber, type,
                           is_text ? C_COLLATION_OID : InvalidOid, is_text ? F_TEXTEQ : F_TIMESTAMPTZ_EQ, value);
}

}  // namespace topk
