// amgettuple: what the session has kept, or the candidates; then the fallback. What they emit ranks strictly above what they leave out.
#include "am.h"
#include "fallback.h"
#include "scan.h"

namespace topk {

namespace {

struct ScanState {
    MemoryContext context;  // reset by rescan
    OpenIndex* index;
    KeptScan* kept;
    IndexTuple kept_row;
    CandidateScan* candidates;
    ListRecorder* recorder;
    Fallback* fallback;
    std::uint64_t hash;  // of the group, if the conditions fix it
    ScanDirection direction;
    std::size_t expected;  // 0 if nobody told
    bool done;
    bool ended;           // the candidates: the group has no more rows
    SmallTuple returned;  // to an index-only scan
    HeapTuple returned_large;
};

ScanState* state_of(IndexScanDesc scan) {
    return static_cast<ScanState*>(scan->opaque);
}

Conditions conditions_of(IndexScanDesc scan) {
    return {scan->keyData, scan->numberOfKeys};
}

bool is_unsatisfiable(const ScanKeyData& key) {
    return (key.sk_flags & SK_ISNULL) != 0 && (key.sk_flags & (SK_SEARCHNULL | SK_SEARCHNOTNULL)) == 0;
}

/// The hash of the value that a condition fixes a group column to; false if it fixes none, or its type has no compatible hash.
bool hash_condition(OpenIndex& index, const ScanKeyData& key, std::uint64_t* hash) {
    const int column = key.sk_attno - 1;
    if (key.sk_flags & SK_SEARCHNULL) {
        *hash = hash_column(*hash, true, 0);
        return true;
    }
    if (key.sk_strategy != BTEqualStrategyNumber || (key.sk_flags & (SK_ISNULL | SK_SEARCHNOTNULL)) != 0) return false;
    const Oid left = index.relation->rd_opcintype[column];
    const Oid right = OidIsValid(key.sk_subtype) ? key.sk_subtype : left;
    FmgrInfo other;
    FmgrInfo* function = &index.hash[column];
    if (right != left) {
        const Oid cross_type = get_opfamily_proc(index.relation->rd_opfamily[column], left, right, kHashProc);
        if (!OidIsValid(cross_type)) return false;
        fmgr_info(cross_type, &other);
        function = &other;
    }
    const Datum value = FunctionCall2Coll(function, index.relation->rd_indcollation[column], key.sk_argument, Int64GetDatum(0));
    *hash = hash_column(*hash, false, DatumGetUInt64(value));
    return true;
}

/// The hash of the group that the conditions fix; false if they leave it open.
bool hash_of_group(OpenIndex& index, const Conditions& conditions, std::uint64_t* hash) {
    *hash = 0;
    for (int column = 0; column < index.groups; ++column) {
        bool fixed = false;
        for (int i = 0; i < conditions.count && !fixed; ++i)
            fixed = conditions.keys[i].sk_attno == column + 1 && hash_condition(index, conditions.keys[i], hash);
        if (!fixed) return false;
    }
    *hash = finish_hash(*hash);
    return true;
}

ListRecorder* new_recorder(IndexScanDesc scan, KeptList* begun) {
    ScanState* state = state_of(scan);
    return new (palloc(sizeof(ListRecorder))) ListRecorder(*state->index, state->hash, scan->xs_snapshot, begun);
}

/// Starts the candidates; those that the scan has returned are left out.
void begin_candidates(IndexScanDesc scan, ListRecorder* recorder) {
    ScanState* state = state_of(scan);
    state->recorder = recorder;
    state->candidates = new (palloc(sizeof(CandidateScan))) CandidateScan(*state->index, state->hash, scan, state->expected, recorder);
}

bool is_on_group(const OpenIndex& index, const Conditions& conditions) {
    return std::all_of(conditions.keys, conditions.keys + conditions.count,
                       [&](const ScanKeyData& key) { return key.sk_attno <= index.groups; });
}

/// may_keep: the scan can be answered by a kept list, and keep one.
void begin(IndexScanDesc scan, ScanDirection direction, bool may_keep) {
    ScanState* state = state_of(scan);
    state->direction = direction;
    if (scan->xs_snapshot->snapshot_type == SNAPSHOT_NON_VACUUMABLE) {  // a planner's look at the ends of a column: it has statistics, too
        state->done = true;
        return;
    }
    if (scan->xs_snapshot->snapshot_type != SNAPSHOT_MVCC)
        ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                        errmsg("index \"%s\" can only be read with an MVCC snapshot", RelationGetRelationName(scan->indexRelation)),
                        errhint("Access method \"topk\" supports queries, but no constraints.")));
    count_scan(scan);
    const Conditions conditions = conditions_of(scan);
    if (std::any_of(conditions.keys, conditions.keys + conditions.count, is_unsatisfiable)) {
        state->done = true;
        return;
    }
    state->index = open_index(scan->indexRelation, scan->heapRelation);
    const bool in_group = hash_of_group(*state->index, conditions, &state->hash);
    if (!in_group || !ScanDirectionIsForward(direction)) {
        state->fallback = new (palloc(sizeof(Fallback))) Fallback(*state->index, scan, direction, in_group, nullptr);
        return;
    }
    ListRecorder* recorder = nullptr;
    if (may_keep && is_on_group(*state->index, conditions) && is_keeping(*state->index)) {
        state->kept = new (palloc(sizeof(KeptScan))) KeptScan(*state->index, state->hash, scan->xs_snapshot);
        if (state->kept->begin(conditions, state->context)) return;
        state->kept = nullptr;
        recorder = new_recorder(scan, nullptr);
    }
    begin_candidates(scan, recorder);
}

/// True if a lower bound on the score excludes the key's score and with it all that follow.
bool ends_at(IndexScanDesc scan, const Key& key) {
    const int score = state_of(scan)->index->groups;
    if (key.open_from == 0 || key.nulls[0]) return false;
    for (int i = 0; i < scan->numberOfKeys; ++i) {
        ScanKey condition = &scan->keyData[i];
        if (condition->sk_attno != score + 1 || condition->sk_strategy < BTGreaterEqualStrategyNumber) continue;
        if (!DatumGetBool(FunctionCall2Coll(&condition->sk_func, condition->sk_collation, key.values[0], condition->sk_argument)))
            return true;
    }
    return false;
}

/// Lets an index-only scan return the values of a row: as an index tuple, or if it would be large as a heap tuple.
void return_values(IndexScanDesc scan, IndexTuple small, const Datum* values, const bool* nulls) {
    ScanState* state = state_of(scan);
    if (small == nullptr) state->returned_large = heap_form_tuple(scan->xs_hitupdesc, const_cast<Datum*>(values), const_cast<bool*>(nulls));
    scan->xs_itup = small;
    scan->xs_hitup = state->returned_large;
}

void return_candidate(IndexScanDesc scan) {
    ScanState* state = state_of(scan);
    const CandidateScan& row = *state->candidates;
    const bool is_recorded = state->recorder != nullptr && state->recorder->wants_rows();
    scan->xs_heaptid = row.root();
    if (!is_recorded && !scan->xs_want_itup) return;
    IndexTuple small = small_tuple(&state->returned, RelationGetDescr(scan->indexRelation), row.values(), row.nulls(), row.root());
    if (is_recorded) state->recorder->add_row(small);
    if (scan->xs_want_itup) return_values(scan, small, row.values(), row.nulls());
}

bool find_kept(IndexScanDesc scan) {
    ScanState* state = state_of(scan);
    state->kept_row = state->kept->next();
    if (state->kept_row != nullptr) {
        scan->xs_heaptid = state->kept_row->t_tid;
        scan->xs_itup = state->kept_row;
        scan->xs_hitup = nullptr;
        return true;
    }
    if (state->kept->is_whole()) {
        state->done = true;
        return false;
    }
    KeptList* open_list = state->kept->open_list();
    begin_candidates(scan, open_list == nullptr ? nullptr : new_recorder(scan, open_list));
    state->kept->for_each_row([state](ItemPointerData root) { state->candidates->skip(root); });
    state->kept = nullptr;
    return false;
}

bool find_candidate(IndexScanDesc scan) {
    ScanState* state = state_of(scan);
    for (;;) {
        const Step step = state->candidates->next();
        if (step == Step::kCut && !ends_at(scan, state->candidates->cut())) {
            state->fallback =
                new (palloc(sizeof(Fallback))) Fallback(*state->index, scan, state->direction, true, &state->candidates->emitted());
            return false;
        }
        if (step != Step::kRow && step != Step::kFiltered) {
            state->ended = step == Step::kEnd;
            state->done = true;
            return false;
        }
        const int groups = state->index->groups;
        if (step == Step::kRow) {
            return_candidate(scan);
            return true;
        }
        if (state->recorder != nullptr) state->recorder->add_row(nullptr);  // two groups have one hash
        if (ends_at(scan, key_of(*state->index, state->candidates->values() + groups, state->candidates->nulls() + groups))) {
            state->done = true;
            return false;
        }
    }
}

bool find_row(IndexScanDesc scan) {
    ScanState* state = state_of(scan);
    if (state->kept != nullptr && find_kept(scan)) return true;
    if (!state->done && state->fallback == nullptr && find_candidate(scan)) return true;
    if (state->done) return false;
    state->done = !state->fallback->next(&scan->xs_heaptid);
    if (state->done || !scan->xs_want_itup) return !state->done;
    std::array<Datum, INDEX_MAX_KEYS> values;
    std::array<bool, INDEX_MAX_KEYS> nulls;
    state->fallback->get_values(values.data(), nulls.data());
    IndexTuple small = small_tuple(&state->returned, RelationGetDescr(scan->indexRelation), values.data(), nulls.data(), scan->xs_heaptid);
    return_values(scan, small, values.data(), nulls.data());
    return true;
}

void close(IndexScanDesc scan) {
    ScanState* state = state_of(scan);
    if (state->recorder != nullptr) state->recorder->finish(state->ended);
    if (state->candidates != nullptr) state->candidates->close();
    if (state->fallback != nullptr) state->fallback->close();
    state->kept = nullptr;
    state->candidates = nullptr;
    state->recorder = nullptr;
    state->fallback = nullptr;
    state->index = nullptr;
    state->direction = NoMovementScanDirection;
    state->done = state->ended = false;
    state->expected = 0;
    state->returned_large = nullptr;
    MemoryContextReset(state->context);
}

/// True if most rows that rank first, in the group that the session read last, lie on all-visible pages. If it has read none of the index:
/// if the table's pages were when it was vacuumed, and the first of them, where rows lie that came early and grew, still are.
bool are_leaders_visible(Relation index, Relation table) {
    constexpr std::size_t kLooks = 8;
    constexpr double kMostly = 0.9;
    std::array<BlockNumber, kLooks> blocks;
    std::size_t count = 0;
    for (const PageCopy& page : GroupCopy::last_pages(index))
        if (count < kLooks && !page.entries.empty()) blocks[count++] = tid_block(page.entries.front().item);
    const FormData_pg_class& form = *table->rd_rel;
    if (count == 0) {
        if (form.relpages <= 0 || form.relallvisible < kMostly * form.relpages) return false;  // a partitioned table has -1
        for (; count < std::min<std::size_t>(kLooks, static_cast<std::size_t>(form.relpages)); ++count)
            blocks[count] = static_cast<BlockNumber>(count);
    }
    Buffer map = InvalidBuffer;
    const auto visible =
        std::count_if(blocks.begin(), blocks.begin() + count, [&](BlockNumber block) { return VM_ALL_VISIBLE(table, block, &map); });
    if (BufferIsValid(map)) ReleaseBuffer(map);
    return 2 * static_cast<std::size_t>(visible) > count;
}

}  // namespace

void expect_values(IndexScanDesc scan, std::size_t rows) {
    state_of(scan)->expected = rows;
}

void get_values(IndexScanDesc scan, Datum* values, bool* nulls) {
    const ScanState* state = state_of(scan);
    if (state->fallback != nullptr) {
        state->fallback->get_values(values, nulls);
        return;
    }
    if (state->kept != nullptr) {
        index_deform_tuple(state->kept_row, RelationGetDescr(scan->indexRelation), values, nulls);
        return;
    }
    const auto columns = static_cast<std::size_t>(state->index->groups + state->index->keys);
    std::copy_n(state->candidates->values(), columns, values);
    std::copy_n(state->candidates->nulls(), columns, nulls);
}

Step next_candidate(IndexScanDesc scan) {
    ScanState* state = state_of(scan);
    MemoryContext caller = MemoryContextSwitchTo(state->context);
    if (state->direction == NoMovementScanDirection) begin(scan, ForwardScanDirection, false);
    if (state->candidates == nullptr) elog(ERROR, "a topk scan without a group has no candidates");
    Step step;
    do step = state->candidates->next();
    while (step == Step::kFiltered);
    MemoryContextSwitchTo(caller);
    return step;
}

const Key& cut_of(IndexScanDesc scan) {
    return state_of(scan)->candidates->cut();
}

const Key* known_cut_of(IndexScanDesc scan) {
    return state_of(scan)->candidates->known_cut();
}

extern "C" IndexScanDesc topk_beginscan(Relation relation, int keys, int orderbys) {
    IndexScanDesc scan = RelationGetIndexScan(relation, keys, orderbys);
    auto* state = static_cast<ScanState*>(palloc0(sizeof(ScanState)));
    state->context = AllocSetContextCreate(CurrentMemoryContext, "topk scan", ALLOCSET_DEFAULT_SIZES);
    scan->opaque = state;
    scan->xs_itupdesc = scan->xs_hitupdesc = RelationGetDescr(relation);
    return scan;
}

extern "C" void topk_rescan(IndexScanDesc scan, ScanKey keys, int, ScanKey, int) {
    close(scan);
    if (keys != nullptr && scan->numberOfKeys > 0)
        memmove(scan->keyData, keys, static_cast<std::size_t>(scan->numberOfKeys) * sizeof(ScanKeyData));
}

// The rows are read, so any column can be returned. But only where the table's pages are all-visible does the executor leave out reading a
// row once more; where they are not, making a tuple of each would be all that comes of it.
extern "C" bool topk_canreturn(Relation index, int) {
    Relation table = RelationIdGetRelation(index->rd_index->indrelid);
    const bool visible = are_leaders_visible(index, table);
    RelationClose(table);
    return visible;
}

extern "C" bool topk_gettuple(IndexScanDesc scan, ScanDirection direction) {
    ScanState* state = state_of(scan);
    MemoryContext caller = MemoryContextSwitchTo(state->context);
    if (state->direction == NoMovementScanDirection) begin(scan, direction, true);
    if (direction != state->direction) elog(ERROR, "a topk scan cannot change its direction");
    scan->xs_recheck = false;  // what comes has met the conditions in the scan's snapshot
    if (state->returned_large != nullptr) heap_freetuple(state->returned_large);
    state->returned_large = nullptr;
    const bool found = find_row(scan);
    MemoryContextSwitchTo(caller);
    return found;
}

extern "C" void topk_endscan(IndexScanDesc scan) {
    ScanState* state = state_of(scan);
    close(scan);
    MemoryContextDelete(state->context);
    pfree(state);
}

}  // namespace topk
