// Reading a group's remaining rows through a btree that begins with the group, else the whole table, and sorting them.
#include "fallback.h"

#include "versions.h"

namespace topk {

namespace {

constexpr std::size_t kFirstPass = 4;  // times as many rows as the group keeps candidates

// TIDs from a btree, put into the table's order before their rows are read: at first, and at most (16 MB, or work_mem).
constexpr std::size_t kFirstRoots = 8192;
constexpr std::size_t kMostRoots = 2 << 20;

/// The condition that fixes a table column to one value; null if there is none.
ScanKey equality_on(const OpenIndex& index, const Conditions& conditions, AttrNumber table_column) {
    for (int i = 0; i < conditions.count; ++i) {
        ScanKey key = &conditions.keys[i];
        if (key->sk_attno <= index.groups && index.relation->rd_index->indkey.values[key->sk_attno - 1] == table_column &&
            key->sk_strategy == BTEqualStrategyNumber && (key->sk_flags & (SK_SEARCHNULL | SK_SEARCHNOTNULL | SK_ISNULL)) == 0)
            return key;
    }
    return nullptr;
}

/// Scan keys on the btree's leading columns for our group; false if it does not begin with it.
bool btree_keys(const OpenIndex& index, const Conditions& conditions, Relation btree, ScanKeyData* keys) {
    if (btree->rd_rel->relam != BTREE_AM_OID || IndexRelationGetNumberOfKeyAttributes(btree) < index.groups) return false;
    if (!btree->rd_index->indisvalid || !btree->rd_index->indisready || btree->rd_index->indcheckxmin) return false;
    // Not by RelationGetIndexPredicate, which runs functions in it to fold constants, with the rights of whoever reads.
    if (!heap_attisnull(btree->rd_indextuple, Anum_pg_index_indpred, nullptr)) return false;
    for (int column = 0; column < index.groups; ++column) {
        const AttrNumber table_column = btree->rd_index->indkey.values[column];
        ScanKey key = table_column == 0 ? nullptr : equality_on(index, conditions, table_column);
        if (key == nullptr || key->sk_collation != btree->rd_indcollation[column]) return false;
        const Oid right = OidIsValid(key->sk_subtype) ? key->sk_subtype : btree->rd_opcintype[column];
        const Oid equal = get_opfamily_member(btree->rd_opfamily[column], btree->rd_opcintype[column], right, BTEqualStrategyNumber);
        if (!OidIsValid(equal) || get_opcode(equal) != key->sk_func.fn_oid) return false;
        for (int other = 0; other < column; ++other)
            if (btree->rd_index->indkey.values[other] == table_column) return false;
        keys[column] = *key;
        keys[column].sk_attno = static_cast<AttrNumber>(column + 1);
        keys[column].sk_subtype = right;
    }
    return true;
}

}  // namespace

Fallback::Fallback(OpenIndex& index, IndexScanDesc scan, ScanDirection direction, bool in_group, RootSet* emitted)
    : index_(index),
      conditions_{scan->keyData, scan->numberOfKeys},
      snapshot_(scan->xs_snapshot),
      direction_(direction),
      in_group_(in_group),
      first_(in_group ? index.groups : 0),
      emitted_(emitted != nullptr ? emitted : new (palloc(sizeof(RootSet))) RootSet(CurrentMemoryContext)),
      bound_(kFirstPass * index.capacity) {
    run_pass();
}

void Fallback::run_pass() {
    taken_ = given_ = 0;
    begin_sort();
    if (!in_group_ || index_.groups == 0 || !read_btree()) read_heap();
    tuplesort_performsort(sort_);
}

void Fallback::begin_sort() {
    const int count = index_.groups + index_.keys;
    TupleDesc columns = RelationGetDescr(index_.relation);
    std::array<AttrNumber, INDEX_MAX_KEYS> attributes;
    std::array<Oid, INDEX_MAX_KEYS> operators;
    std::array<Oid, INDEX_MAX_KEYS> collations;
    std::array<bool, INDEX_MAX_KEYS> nulls_first;
    desc_ = CreateTemplateTupleDesc(count + 1);
    const bool backward = ScanDirectionIsBackward(direction_);
    for (int column = 0; column < count; ++column)
        TupleDescCopyEntry(desc_, static_cast<AttrNumber>(column + 1), columns, static_cast<AttrNumber>(column + 1));
    for (int column = first_; column < count; ++column) {
        const int i = column - first_;
        const std::int16_t option = index_.relation->rd_indoption[column];
        const bool descending = ((option & INDOPTION_DESC) != 0) != backward;
        const Oid type = index_.relation->rd_opcintype[column];
        const int strategy = descending ? BTGreaterStrategyNumber : BTLessStrategyNumber;
        attributes[i] = static_cast<AttrNumber>(column + 1);
        operators[i] = get_opfamily_member(index_.relation->rd_opfamily[column], type, type, static_cast<std::int16_t>(strategy));
        collations[i] = index_.relation->rd_indcollation[column];
        nulls_first[i] = ((option & INDOPTION_NULLS_FIRST) != 0) != backward;
    }
    TupleDescInitEntry(desc_, static_cast<AttrNumber>(count + 1), "root", TIDOID, -1, 0);
    sort_ = tuplesort_begin_heap(desc_, count - first_, attributes.data(), operators.data(), collations.data(), nulls_first.data(),
                                 work_mem, nullptr, bound_ > 0 ? TUPLESORT_ALLOWBOUNDED : TUPLESORT_NONE);
    if (bound_ > 0) tuplesort_set_bound(sort_, static_cast<std::int64_t>(bound_));
    input_ = MakeSingleTupleTableSlot(desc_, &TTSOpsVirtual);
    output_ = MakeSingleTupleTableSlot(desc_, &TTSOpsMinimalTuple);
}

void Fallback::take(ItemPointerData root, TupleTableSlot* row) {
    if (emitted_->contains(root)) return;
    const int columns = index_.groups + index_.keys;
    const int2vector& attributes = index_.relation->rd_index->indkey;
    ExecClearTuple(input_);
    for (int i = 0; i < columns; ++i) input_->tts_values[i] = slot_getattr(row, attributes.values[i], &input_->tts_isnull[i]);
    if (!meets(conditions_, input_->tts_values, input_->tts_isnull)) return;
    input_->tts_values[columns] = PointerGetDatum(&root);
    input_->tts_isnull[columns] = false;
    ExecStoreVirtualTuple(input_);
    tuplesort_puttupleslot(sort_, input_);
    ++taken_;
}

/// Reads rows in the order in which they lie in the table, whatever that of the btree is.
void Fallback::take_rows(std::span<std::uint64_t> roots) {
    std::sort(roots.begin(), roots.end());
    IndexFetchTableData* fetch = table_index_fetch_begin(index_.heap);
    TupleTableSlot* row = table_slot_create(index_.heap, nullptr);
    for (const std::uint64_t root : roots) {
        CHECK_FOR_INTERRUPTS();
        ItemPointerData tid = unpacked(root);
        bool call_again = false;
        if (table_index_fetch_tuple(fetch, &tid, snapshot_, row, &call_again, nullptr)) take(unpacked(root), row);
    }
    ExecDropSingleTupleTableSlot(row);
    table_index_fetch_end(fetch);
}

bool Fallback::read_btree() {
    std::array<ScanKeyData, INDEX_MAX_KEYS> keys;
    List* indexes = RelationGetIndexList(index_.heap);
    bool found = false;
    for (int i = 0; i < list_length(indexes) && !found; ++i) {
        Relation btree = index_open(list_nth_oid(indexes, i), AccessShareLock);
        found = btree_keys(index_, conditions_, btree, keys.data());
        if (found) {
            IndexScanDesc scan = begin_index_scan(index_.heap, btree, snapshot_, index_.groups);
            index_rescan(scan, keys.data(), index_.groups, nullptr, 0);
            const std::size_t most = std::min(static_cast<std::size_t>(work_mem) * 1024 / sizeof(std::uint64_t), kMostRoots);
            std::size_t capacity = std::min(most, kFirstRoots);
            auto* roots = static_cast<std::uint64_t*>(palloc(capacity * sizeof(std::uint64_t)));
            std::size_t size = 0;
            for (ItemPointer tid; (tid = index_getnext_tid(scan, ForwardScanDirection)) != nullptr;) {
                CHECK_FOR_INTERRUPTS();
                if (size == capacity && capacity < most) {
                    capacity = std::min(2 * capacity, most);
                    roots = static_cast<std::uint64_t*>(repalloc(roots, capacity * sizeof(std::uint64_t)));
                } else if (size == capacity) {
                    take_rows({roots, size});
                    size = 0;
                }
                roots[size++] = packed(*tid);
            }
            take_rows({roots, size});
            pfree(roots);
            index_endscan(scan);
        }
        index_close(btree, AccessShareLock);
    }
    list_free(indexes);
    return found;
}

void Fallback::read_heap() {
    TableScanDesc scan = table_beginscan(index_.heap, snapshot_, 0, nullptr);
    TupleTableSlot* row = table_slot_create(index_.heap, nullptr);
    RootMap roots;
    while (table_scan_getnextslot(scan, ForwardScanDirection, row)) {
        CHECK_FOR_INTERRUPTS();
        take(roots.root_of(index_.heap, row->tts_tid), row);
    }
    ExecDropSingleTupleTableSlot(row);
    table_endscan(scan);
}

bool Fallback::next(ItemPointerData* root) {
    if (bound_ > 0 && given_ == bound_) {  // a bounded sort must not be asked for more
        if (taken_ == bound_) return false;
        close();
        bound_ = 0;
        run_pass();
    }
    if (!tuplesort_gettupleslot(sort_, true, false, output_, nullptr)) return false;
    bool is_null;
    const Datum value = slot_getattr(output_, desc_->natts, &is_null);
    *root = *reinterpret_cast<ItemPointer>(DatumGetPointer(value));
    if (bound_ > 0) emitted_->add(*root);
    ++given_;
    return true;
}

void Fallback::get_values(Datum* values, bool* nulls) {
    slot_getallattrs(output_);
    const int columns = index_.groups + index_.keys;
    std::copy_n(output_->tts_values, columns, values);
    std::copy_n(output_->tts_isnull, columns, nulls);
}

void Fallback::close() {
    ExecDropSingleTupleTableSlot(input_);
    ExecDropSingleTupleTableSlot(output_);
    tuplesort_end(sort_);
}

}  // namespace topk
