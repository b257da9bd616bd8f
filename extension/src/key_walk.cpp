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
    key_ = _bt_mkscankey(index, any);
    key_->scantid = nullptr;  // before all entries of the key
    pfree(any);
    page_ = static_cast<char*>(palloc(BLCKSZ));
    restart();
}

void KeyWalk::restart() {
    has_page_ = false;
}

int KeyWalk::find(TimestampTz window, text* id) {
    if (!reach(window, id)) return kUnknown;
    next_ = lower_bound(window, id);
    int count = 0;
    for (OffsetNumber offset = next_; offset < end_ && compare(offset, window, id) == 0; ++offset) {
        ItemId line = PageGetItemId(reinterpret_cast<Page>(page_), offset);
        if (ItemIdIsDead(line)) continue;
        if (!take(reinterpret_cast<IndexTuple>(PageGetItem(reinterpret_cast<Page>(page_), line)), &count)) return kUnknown;
    }
    return count;
}

/// Makes the copy that of the leaf with all entries of the key. False if that is no single leaf.
bool KeyWalk::reach(TimestampTz window, text* id) {
    key_->scankeys[0].sk_argument = TimestampTzGetDatum(window);
    key_->scankeys[1].sk_argument = PointerGetDatum(id);
    // Equal to the high key: entries may lie on both sides of it.
    const auto is_within = [this] { return is_rightmost_ || _bt_compare(index_, key_, reinterpret_cast<Page>(page_), P_HIKEY) < 0; };
    if (has_page_ && is_within()) return true;
    has_page_ = descend();
    return has_page_ && is_within();
}

bool KeyWalk::descend() {
    Buffer buffer;
    BTStack stack = search_leaf(index_, table_, key_, &buffer);
    if (stack != nullptr) _bt_freestack(stack);
    pgstat_count_index_scan(index_);
    if (!BufferIsValid(buffer)) return false;
    copy_leaf(BufferGetPage(buffer));
    _bt_relbuf(index_, buffer);
    return true;
}

void KeyWalk::copy_leaf(Page page) {
    const auto* header = reinterpret_cast<const PageHeaderData*>(page);
    memcpy(page_, page, header->pd_lower);
    memcpy(page_ + header->pd_upper, reinterpret_cast<const char*>(page) + header->pd_upper, BLCKSZ - header->pd_upper);
    const BTPageOpaque opaque = BTPageGetOpaque(reinterpret_cast<Page>(page_));
    is_rightmost_ = P_RIGHTMOST(opaque);
    next_ = P_FIRSTDATAKEY(opaque);
    end_ = OffsetNumberNext(PageGetMaxOffsetNumber(reinterpret_cast<Page>(page_)));
}

/// An item of the copy against a key. Leaf items of a primary key have both columns and no NULLs.
int KeyWalk::compare(OffsetNumber offset, TimestampTz window, const text* id) const {
    Page page = reinterpret_cast<Page>(page_);
    const char* data = PageGetItem(page, PageGetItemId(page, offset)) + MAXALIGN(sizeof(IndexTupleData));
    TimestampTz item_window;
    memcpy(&item_window, data, sizeof(item_window));
    if (item_window != window) return item_window < window ? -1 : 1;
    const char* item_id = data + sizeof(item_window);
    // Compressed: longer than any of ours.
    if (VARATT_IS_EXTENDED(item_id) && !VARATT_IS_SHORT(item_id)) return -_bt_compare(index_, key_, page, offset);
    const std::string_view left(VARDATA_ANY(item_id), VARSIZE_ANY_EXHDR(item_id));
    return left.compare(std::string_view(VARDATA_ANY(id), VARSIZE_ANY_EXHDR(id)));
}

/// The first item at or after the key.
OffsetNumber KeyWalk::lower_bound(TimestampTz window, const text* id) const {
    OffsetNumber low = next_;
    OffsetNumber high = end_;
    while (low < high) {
        const auto middle = static_cast<OffsetNumber>(low + (high - low) / 2);
        if (compare(middle, window, id) < 0)
            low = static_cast<OffsetNumber>(middle + 1);
        else
            high = middle;
    }
    return low;
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
