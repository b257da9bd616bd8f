// The differences between PostgreSQL 15 and 18. The only file that may look at PG_VERSION_NUM.
#pragma once

#if PG_VERSION_NUM < 150000 || PG_VERSION_NUM >= 190000
#error "topk builds against PostgreSQL 15 to 18"
#endif

namespace topk {

/// PostgreSQL 16 replaced pg_namespace_aclcheck by object_aclcheck.
inline bool has_schema_usage(Oid schema, Oid role) {
#if PG_VERSION_NUM >= 160000
    return object_aclcheck(NamespaceRelationId, schema, role, ACL_USAGE) == ACLCHECK_OK;
#else
    return pg_namespace_aclcheck(schema, role, ACL_USAGE) == ACLCHECK_OK;
#endif
}

/// A new page at the end of the index, exclusively locked.
inline Buffer extend_index(Relation index, ForkNumber fork = MAIN_FORKNUM) {
#if PG_VERSION_NUM >= 160000
    BufferManagerRelation relation = {};
    relation.rel = index;
    return ExtendBufferedRel(relation, fork, nullptr, EB_LOCK_FIRST);
#else
    const bool shared = !RELATION_IS_LOCAL(index);
    if (shared) LockRelationForExtension(index, ExclusiveLock);
    // Locked before anybody can see it: VACUUM would take it for a left-over of a crash and give it to somebody else, who may wait for us.
    Buffer buffer = ReadBufferExtended(index, fork, P_NEW, RBM_ZERO_AND_LOCK, nullptr);
    if (shared) UnlockRelationForExtension(index, ExclusiveLock);
    return buffer;
#endif
}

/// PostgreSQL 16 leaves updates HOT that change only columns of summarizing indexes; aminsert then gets heap-only tuples.
#if PG_VERSION_NUM >= 160000
constexpr bool kSummarizing = true;
#else
constexpr bool kSummarizing = false;
#endif

/// PostgreSQL 18 shows the number of searches in EXPLAIN ANALYZE.
inline void count_scan(IndexScanDesc scan) {
    pgstat_count_index_scan(scan->indexRelation);
#if PG_VERSION_NUM >= 180000
    if (scan->instrument != nullptr) ++scan->instrument->nsearches;
#endif
}

inline void vacuum_point() {
#if PG_VERSION_NUM >= 180000
    vacuum_delay_point(false);
#else
    vacuum_delay_point();
#endif
}

inline IndexScanDesc begin_index_scan(Relation table, Relation index, SnapshotData* snapshot, int keys) {
#if PG_VERSION_NUM >= 180000
    return index_beginscan(table, index, snapshot, nullptr, keys, 0);
#else
    return index_beginscan(table, index, snapshot, keys, 0);
#endif
}

inline Oid primary_key_index(Relation table) {
#if PG_VERSION_NUM >= 180000
    return RelationGetPrimaryKeyIndex(table, false);
#else
    return RelationGetPrimaryKeyIndex(table);
#endif
}

/// The leaf where a key is or would be, share-locked; invalid while the index is empty. Returns what _bt_freestack frees.
inline BTStack search_leaf(Relation index, [[maybe_unused]] Relation table, BTScanInsert key, Buffer* leaf) {
#if PG_VERSION_NUM >= 170000
    return _bt_search(index, table, key, leaf, BT_READ);
#elif PG_VERSION_NUM >= 160000
    return _bt_search(index, table, key, leaf, BT_READ, nullptr);
#else
    return _bt_search(index, key, leaf, BT_READ, nullptr);
#endif
}

/// Which indexes need an entry for a new version.
enum class NewEntries { kNone, kSummarizing, kAll };

/// heap_update that waits for others; tells which indexes need entries for the new version.
inline TM_Result update_tuple(Relation table, ItemPointer old, HeapTuple version, CommandId command, NewEntries* entries) {
    TM_FailureData failure;
    LockTupleMode mode;
#if PG_VERSION_NUM >= 160000
    TU_UpdateIndexes updates;
    const TM_Result result = heap_update(table, old, version, command, InvalidSnapshot, true, &failure, &mode, &updates);
    *entries = updates == TU_All ? NewEntries::kAll : updates == TU_Summarizing ? NewEntries::kSummarizing : NewEntries::kNone;
#else
    const TM_Result result = heap_update(table, old, version, command, InvalidSnapshot, true, &failure, &mode);
    *entries = HeapTupleIsHeapOnly(version) ? NewEntries::kNone : NewEntries::kAll;
#endif
    return result;
}

inline bool is_summarizing([[maybe_unused]] Relation index) {
#if PG_VERSION_NUM >= 160000
    return index->rd_indam->amsummarizing;
#else
    return false;
#endif
}

/// Lets an index go of what it keeps from one insertion to the next: from PostgreSQL 17 on BRIN keeps pages pinned.
inline void end_insertions([[maybe_unused]] Relation index, [[maybe_unused]] IndexInfo* info) {
#if PG_VERSION_NUM >= 170000
    index_insert_cleanup(index, info);
#endif
}

/// False, and where it is, if a row with the key of the row in the slot is there; waits for whoever is inserting or deleting one.
inline bool is_free_key(ResultRelInfo* table, TupleTableSlot* row, EState* state, List* key_indexes, ItemPointer found) {
#if PG_VERSION_NUM >= 180000
    ItemPointerData none;
    ItemPointerSetInvalid(&none);
    return ExecCheckIndexConstraints(table, row, state, found, &none, key_indexes);
#else
    return ExecCheckIndexConstraints(table, row, state, found, key_indexes);
#endif
}

/// The entries of a row inserted speculatively. False if one with the same key has come meanwhile.
inline bool insert_speculative_entries(ResultRelInfo* table, TupleTableSlot* row, EState* state, List* key_indexes) {
    bool conflicts = false;
#if PG_VERSION_NUM >= 160000
    ExecInsertIndexTuples(table, row, state, false, true, &conflicts, key_indexes, false);
#else
    ExecInsertIndexTuples(table, row, state, false, true, &conflicts, key_indexes);
#endif
    return !conflicts;
}

inline bool is_enforced([[maybe_unused]] const ConstrCheck& check) {
#if PG_VERSION_NUM >= 180000
    return check.ccenforced;
#else
    return true;
#endif
}

/// Raises 72000 (snapshot_too_old) if old_snapshot_threshold let something be removed from the page that the snapshot would see.
inline void refuse_old_snapshot([[maybe_unused]] SnapshotData* snapshot, [[maybe_unused]] Relation relation, [[maybe_unused]] Page page) {
#if PG_VERSION_NUM < 170000
    TestForOldSnapshot(snapshot, relation, page);
#endif
}

/// The same for a block of a table.
inline void refuse_old_snapshot([[maybe_unused]] SnapshotData* snapshot, [[maybe_unused]] Relation heap,
                                [[maybe_unused]] BlockNumber block) {
#if PG_VERSION_NUM < 170000
    if (old_snapshot_threshold < 0) return;
    Buffer buffer = ReadBuffer(heap, block);
    LockBuffer(buffer, BUFFER_LOCK_SHARE);
    TestForOldSnapshot(snapshot, heap, BufferGetPage(buffer));
    UnlockReleaseBuffer(buffer);
#endif
}

/// True if old_snapshot_threshold lets rows be removed that a snapshot would see.
inline bool snapshots_grow_too_old() {
#if PG_VERSION_NUM < 170000
    return old_snapshot_threshold >= 0;
#else
    return false;
#endif
}

/// Where a relation's pages are stored; never the same again after it was written anew.
inline auto file_of(Relation relation) {
#if PG_VERSION_NUM >= 160000
    return relation->rd_locator;
#else
    return relation->rd_node;
#endif
}
using FileLocator = decltype(file_of(nullptr));
inline bool is_same_file(const FileLocator& a, const FileLocator& b) {
    static_assert(std::has_unique_object_representations_v<FileLocator>);
    return memcmp(&a, &b, sizeof(FileLocator)) == 0;
}

/// True if the file was made in this transaction: it may still be emptied in place.
inline bool is_file_new(Relation relation) {
#if PG_VERSION_NUM >= 160000
    const SubTransactionId written = relation->rd_firstRelfilelocatorSubid;
#else
    const SubTransactionId written = relation->rd_firstRelfilenodeSubid;
#endif
    return relation->rd_createSubid != InvalidSubTransactionId || written != InvalidSubTransactionId;
}

/// The btree family in which an operator is "less than"; false if it is in none.
inline bool find_less_family(Oid less, Oid* family, Oid* type) {
#if PG_VERSION_NUM >= 180000
    CompareType comparison;
    return get_ordering_op_properties(less, family, type, &comparison) && comparison == COMPARE_LT;
#else
    std::int16_t strategy;
    return get_ordering_op_properties(less, family, type, &strategy) && strategy == BTLessStrategyNumber;
#endif
}

/// True if sorts can go by the operator: it is "less than" or "greater than" in a btree family.
inline bool can_sort_by(Oid order) {
    Oid family, type;
#if PG_VERSION_NUM >= 180000
    CompareType comparison;
#else
    std::int16_t comparison;
#endif
    return OidIsValid(order) && get_ordering_op_properties(order, &family, &type, &comparison);
}

/// True if the user owns the table or index.
inline bool owns_relation(Oid relation, Oid user) {
#if PG_VERSION_NUM >= 160000
    return object_ownercheck(RelationRelationId, relation, user);
#else
    return pg_class_ownercheck(relation, user);
#endif
}

#if PG_VERSION_NUM >= 180000
/// No equality: logical replication would take the index for one that finds a row by its key.
inline StrategyNumber strategy_of_comparison(CompareType comparison, Oid) {
    switch (comparison) {
        case COMPARE_LT:
            return BTLessStrategyNumber;
        case COMPARE_LE:
            return BTLessEqualStrategyNumber;
        case COMPARE_GE:
            return BTGreaterEqualStrategyNumber;
        case COMPARE_GT:
            return BTGreaterStrategyNumber;
        default:
            return InvalidStrategy;
    }
}
#endif

/// What only some versions have in IndexAmRoutine.
inline void set_version_fields([[maybe_unused]] IndexAmRoutine* am) {
#if PG_VERSION_NUM >= 160000
    am->amsummarizing = true;
#endif
#if PG_VERSION_NUM >= 180000
    am->amconsistentequality = true;
    am->amconsistentordering = true;
    // Not amtranslatestrategy: the families would take part in plans that have nothing to do with the index.
    am->amtranslatecmptype = strategy_of_comparison;
#endif
}

}  // namespace topk
