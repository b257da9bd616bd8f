// amgettuple: candidates first, then the fallback. What the candidates emit ranks strictly above what they leave out.
#include "am.h"
#include "fallback.h"
#include "scan.h"

namespace topk {

namespace {

struct ScanState {
    MemoryContext context;  // reset by rescan
    OpenIndex* index;
    CandidateScan* candidates;
    Fallback* fallback;
    ScanDirection direction;
    std::size_t expected;  // 0 if nobody told
    bool done;
    IndexTuple empty;  // null until an index-only scan asks for it
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
bool hash_condition(const OpenIndex& index, const ScanKeyData& key, std::uint64_t* hash) {
    const int column = key.sk_attno - 1;
    if (key.sk_flags & SK_SEARCHNULL) {
        *hash = hash_column(*hash, true, 0);
        return true;
    }
    if (key.sk_strategy != BTEqualStrategyNumber || (key.sk_flags & (SK_ISNULL | SK_SEARCHNOTNULL)) != 0) return false;
    const Oid left = index.relation->rd_opcintype[column];
    const Oid right = OidIsValid(key.sk_subtype) ? key.sk_subtype : left;
    const Oid function = get_opfamily_proc(index.relation->rd_opfamily[column], left, right, kHashProc);
    if (!OidIsValid(function)) return false;
    *hash = hash_column(
        *hash, false,
        DatumGetUInt64(OidFunctionCall2Coll(function, index.relation->rd_indcollation[column], key.sk_argument, Int64GetDatum(0))));
    return true;
}

/// The hash of the group that the conditions fix; false if they leave it open.
bool hash_of_group(const OpenIndex& index, const Conditions& conditions, std::uint64_t* hash) {
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

void begin(IndexScanDesc scan, ScanDirection direction) {
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
    std::uint64_t hash;
    const bool in_group = hash_of_group(*state->index, conditions, &hash);
    if (in_group && ScanDirectionIsForward(direction))
        state->candidates = new (palloc(sizeof(CandidateScan))) CandidateScan(*state->index, hash, scan, state->expected);
    else
        state->fallback = new (palloc(sizeof(Fallback))) Fallback(*state->index, scan, direction, in_group, nullptr);
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
            state->done = true;
            return false;
        }
        const int groups = state->index->groups;
        if (step == Step::kRow) {
            scan->xs_heaptid = state->candidates->root();
            return true;
        }
        if (ends_at(scan, key_of(*state->index, state->candidates->values() + groups, state->candidates->nulls() + groups))) {
            state->done = true;
            return false;
        }
    }
}

void close(ScanState* state) {
    if (state->candidates != nullptr) state->candidates->close();
    if (state->fallback != nullptr) state->fallback->close();
    state->candidates = nullptr;
    state->fallback = nullptr;
    state->index = nullptr;
    state->direction = NoMovementScanDirection;
    state->done = false;
    state->expected = 0;
    state->empty = nullptr;
    MemoryContextReset(state->context);
}

/// The planner may choose an index-only scan for a query that needs no column, such as count(*), of any access method.
IndexTuple empty_tuple(Relation index) {
    std::array<Datum, INDEX_MAX_KEYS> values = {};
    std::array<bool, INDEX_MAX_KEYS> nulls;
    nulls.fill(true);
    return index_form_tuple(RelationGetDescr(index), values.data(), nulls.data());
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
    const auto columns = static_cast<std::size_t>(state->index->groups + state->index->keys);
    std::copy_n(state->candidates->values(), columns, values);
    std::copy_n(state->candidates->nulls(), columns, nulls);
}

Step next_candidate(IndexScanDesc scan) {
    ScanState* state = state_of(scan);
    MemoryContext caller = MemoryContextSwitchTo(state->context);
    if (state->direction == NoMovementScanDirection) begin(scan, ForwardScanDirection);
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
    return scan;
}

extern "C" void topk_rescan(IndexScanDesc scan, ScanKey keys, int, ScanKey, int) {
    close(state_of(scan));
    if (keys != nullptr && scan->numberOfKeys > 0)
        memmove(scan->keyData, keys, static_cast<std::size_t>(scan->numberOfKeys) * sizeof(ScanKeyData));
}

extern "C" bool topk_gettuple(IndexScanDesc scan, ScanDirection direction) {
    ScanState* state = state_of(scan);
    MemoryContext caller = MemoryContextSwitchTo(state->context);
    if (state->direction == NoMovementScanDirection) begin(scan, direction);
    if (direction != state->direction) elog(ERROR, "a topk scan cannot change its direction");
    scan->xs_recheck = false;  // what comes has met the conditions in the scan's snapshot
    bool found = false;
    if (!state->done && state->fallback == nullptr) found = find_candidate(scan);
    if (!state->done && !found) {
        ItemPointerData root;
        found = state->fallback->next(&root);
        if (found)
            scan->xs_heaptid = root;
        else
            state->done = true;
    }
    if (found && scan->xs_want_itup) {
        if (state->empty == nullptr) state->empty = empty_tuple(scan->indexRelation);
        scan->xs_itup = state->empty;
        scan->xs_itupdesc = RelationGetDescr(scan->indexRelation);
    }
    MemoryContextSwitchTo(caller);
    return found;
}

extern "C" void topk_endscan(IndexScanDesc scan) {
    ScanState* state = state_of(scan);
    close(state);
    MemoryContextDelete(state->context);
    pfree(state);
}

}  // namespace topk
