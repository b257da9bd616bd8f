// The walk through the leaves of a primary key.
#include "key_walk.h"

namespace topk {

namespace {

bool is_column(Relation index, int column, Oid type, Oid collation) {
    const Oid default_class = GetDefaultOpClass(type, BTREE_AM_OID);
    return index->rd_index->indkey.values[column] == column + 1 && index->rd_opcintype[column] == type &&
           index->rd_opfamily[column] == get_opclass_family(default_class) && index->rd_indcollation[column] == collation &&
           index->rd_indoption[column] == 0;
}

}  // namespace

bool is_row_key(Relation index) {
    const FormData_pg_index& form = *index->rd_index;
    return index->rd_rel->relam == BTREE_AM_OID && form.indisunique && form.indimmediate && form.indisvalid && form.indisready &&
           form.indislive && form.indnatts == 2 && form.indnkeyatts == 2 && !form.indisexclusion &&
           heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, nullptr) &&
           heap_attisnull(index->rd_indextuple, Anum_pg_index_indexprs, nullptr) && is_column(index, 0, TIMESTAMPTZOID, InvalidOid) &&
           is_column(index, 1, TEXTOID, C_COLLATION_OID);
}

void KeyWalk::open(Relation table, Relation index) {
    table_ = table;
    index_ = index;
    // Any key: its values are replaced for every descent.
    Datum values[2] = {TimestampTzGetDatum(0), PointerGetDatum(cstring_to_text(""))};
    bool nulls[2] = {};
    IndexTuple any = index_form_tuple(RelationGetDescr(index), values, nulls);
    search_key_ = _bt_mkscankey(index, any);
    search_key_->scantid = nullptr;  // before all entries of the key
    pfree(any);
    leaf_.bytes = static_cast<char*>(palloc(BLCKSZ));
    parent_.bytes = static_cast<char*>(palloc(BLCKSZ));
    restart();
}

void KeyWalk::restart() {
    leaf_.is_there = parent_.is_there = false;
}

int KeyWalk::find(TimestampTz window, text* id) {
    const Key key = {window, id};
    pgstat_count_index_scan(index_);
    if (!reach(key)) return kUnknown;
    skip(&leaf_, key);
    int count = 0;
    for (OffsetNumber offset = leaf_.next; offset < leaf_.end && compare(leaf_, offset, key) == 0; ++offset) {
        if (ItemIdIsDead(PageGetItemId(leaf_.page(), offset))) continue;
        if (!take(leaf_.item(offset), &count)) return kUnknown;
    }
    return count;
}

/// Makes the copied leaf the one with all entries of the key. False if that is no single leaf.
bool KeyWalk::reach(const Key& key) {
    search_key_->scankeys[0].sk_argument = TimestampTzGetDatum(key.window);
    search_key_->scankeys[1].sk_argument = PointerGetDatum(key.id);
    return (leaf_.is_there && is_within(leaf_, key)) || descend_from_parent(key) || descend(key);
}

/// Equal to the high key: entries may lie on both sides of it.
bool KeyWalk::is_within(const Copy& copy, const Key& key) const {
    return copy.is_rightmost || compare(copy, P_HIKEY, key) > 0;
}

bool KeyWalk::descend_from_parent(const Key& key) {
    if (!parent_.is_there || !is_within(parent_, key)) return false;
    skip(&parent_, key);
    // From the child of the last item below the key
    for (BlockNumber block = BTreeTupleGetDownLink(parent_.item(OffsetNumberPrev(parent_.next))); block != P_NONE;) {
        CHECK_FOR_INTERRUPTS();
        Buffer buffer = _bt_getbuf(index_, block, BT_READ);
        const BTPageOpaque opaque = BTPageGetOpaque(BufferGetPage(buffer));
        const bool is_leaf = P_ISLEAF(opaque) && !P_IGNORE(opaque);
        block = opaque->btpo_next;
        if (is_leaf) leaf_.take(BufferGetPage(buffer));
        _bt_relbuf(index_, buffer);
        if (!is_leaf) break;
        if (is_within(leaf_, key)) return true;
        if (compare(leaf_, P_HIKEY, key) == 0) break;
    }
    leaf_.is_there = false;
    return false;
}

bool KeyWalk::descend(const Key& key) {
    Buffer buffer;
    leaf_.is_there = parent_.is_there = false;
    BTStack stack = search_leaf(index_, table_, search_key_, &buffer);
    if (!BufferIsValid(buffer)) return false;
    leaf_.take(BufferGetPage(buffer));
    _bt_relbuf(index_, buffer);
    if (stack != nullptr) copy_parent(stack);
    return is_within(leaf_, key);
}

/// It may have been split or deleted since the search went through it.
void KeyWalk::copy_parent(BTStack stack) {
    Buffer buffer = _bt_getbuf(index_, stack->bts_blkno, BT_READ);
    const BTPageOpaque opaque = BTPageGetOpaque(BufferGetPage(buffer));
    if (opaque->btpo_level == 1 && !P_IGNORE(opaque)) {
        parent_.take(BufferGetPage(buffer));
        ++parent_.next;  // the first is below all keys, whatever it holds
    }
    _bt_relbuf(index_, buffer);
    _bt_freestack(stack);
}

void KeyWalk::Copy::take(Page from) {
    const auto* header = reinterpret_cast<const PageHeaderData*>(from);
    memcpy(bytes, from, header->pd_lower);
    memcpy(bytes + header->pd_upper, reinterpret_cast<const char*>(from) + header->pd_upper, BLCKSZ - header->pd_upper);
    const BTPageOpaque opaque = BTPageGetOpaque(page());
    is_there = true;
    is_rightmost = P_RIGHTMOST(opaque);
    next = P_FIRSTDATAKEY(opaque);
    end = OffsetNumberNext(PageGetMaxOffsetNumber(page()));
}

/// An item against a key: below 0 if it comes before all entries of the key. Items of a primary key have no NULLs; those that only separate
/// pages may lack columns, or the place in the table, of the first item that comes after them.
int KeyWalk::compare(const Copy& copy, OffsetNumber offset, const Key& key) const {
    IndexTuple item = copy.item(offset);
    const char* data = reinterpret_cast<const char*>(item) + MAXALIGN(sizeof(IndexTupleData));
    const bool is_pivot = BTreeTupleIsPivot(item);
    const int columns = is_pivot ? BTreeTupleGetNAtts(item, index_) : 2;
    if (columns == 0) return -1;
    TimestampTz window;
    memcpy(&window, data, sizeof(window));
    if (window != key.window) return window < key.window ? -1 : 1;
    if (columns == 1) return -1;
    const char* id = data + sizeof(window);
    // Compressed: only rows written by hand have such an id.
    if (VARATT_IS_EXTENDED(id) && !VARATT_IS_SHORT(id)) return -_bt_compare(index_, search_key_, copy.page(), offset);
    const std::string_view left(VARDATA_ANY(id), VARSIZE_ANY_EXHDR(id));
    const int order = left.compare(std::string_view(VARDATA_ANY(key.id), VARSIZE_ANY_EXHDR(key.id)));
    return order == 0 && is_pivot && search_key_->heapkeyspace && BTreeTupleGetHeapTID(item) == nullptr ? -1 : order;
}

/// Moves to the first item that is not before the key.
void KeyWalk::skip(Copy* copy, const Key& key) const {
    OffsetNumber high = copy->end;
    while (copy->next < high) {
        const auto middle = static_cast<OffsetNumber>(copy->next + (high - copy->next) / 2);
        if (compare(*copy, middle, key) < 0)
            copy->next = static_cast<OffsetNumber>(middle + 1);
        else
            high = middle;
    }
}

/// Appends what an item points to. False if there is no room.
bool KeyWalk::take(IndexTuple item, int* count) {
    const bool is_list = BTreeTupleIsPosting(item);
    const int found = is_list ? BTreeTupleGetNPosting(item) : 1;
    if (*count + found > kMaxVersions) return false;
    const ItemPointerData* from = is_list ? BTreeTupleGetPosting(item) : &item->t_tid;
    std::copy_n(from, found, tids_ + *count);
    *count += found;
    return true;
}

}  // namespace topk
