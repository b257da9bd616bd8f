// ambuild: every version in the table goes in, whoever may see it, by its HOT root. Core's table_index_build_scan would skip recently dead
// HOT versions, and old snapshots would then miss rows. The pages are written to WAL at the end, whole.
#include "am.h"
#include "insert.h"
#include "populate.h"

namespace topk {

namespace {

/// What is read when the candidates are exhausted is sorted by tuplesort, which knows orders by btree's operator classes.
void check_order(Relation relation, int column) {
    const Oid type = relation->rd_opcintype[column];
    const auto is_known = [&](std::int16_t strategy) {
        return can_sort_by(get_opfamily_member(relation->rd_opfamily[column], type, type, strategy));
    };
    if (is_known(BTLessStrategyNumber) && is_known(BTGreaterStrategyNumber)) return;
    ereport(ERROR, (errcode(ERRCODE_UNDEFINED_FUNCTION),
                    errmsg("index \"%s\" cannot order type %s", RelationGetRelationName(relation), format_type_be(type)),
                    errdetail("No btree operator class has the operators by which its operator class for topk orders."),
                    errhint("Create a btree operator class with the same operators.")));
}

/// Groups are found by hashes. Arrays, ranges and composite types have one if what they are made of has one in core.
void check_group(Relation relation, int column) {
    const RegProcedure function = index_getprocid(relation, static_cast<AttrNumber>(column + 1), kHashProc);
    constexpr RegProcedure kOfMembers[] = {F_HASH_ARRAY_EXTENDED, F_HASH_RECORD_EXTENDED, F_HASH_RANGE_EXTENDED,
                                           F_HASH_MULTIRANGE_EXTENDED};
    if (std::find(std::begin(kOfMembers), std::end(kOfMembers), function) == std::end(kOfMembers)) return;
    const Oid type = TupleDescAttr(RelationGetDescr(relation), column)->atttypid;
    if (OidIsValid(lookup_type_cache(type, TYPECACHE_HASH_EXTENDED_PROC)->hash_extended_proc)) return;
    ereport(ERROR, (errcode(ERRCODE_UNDEFINED_FUNCTION),
                    errmsg("type %s cannot be a group column of index \"%s\"", format_type_be(type), RelationGetRelationName(relation)),
                    errdetail("What it is made of has no hash function."),
                    errhint("Group by a column of another type, such as a text made of it.")));
}

void check_definition(Relation heap, Relation relation, const IndexInfo* info) {
    const auto refuse = [](const char* what) {
        ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED), errmsg("access method \"topk\" does not support %s", what),
                        errhint("Put plain columns into the index: (group, ..., score DESC, tie-breaker, ...).")));
    };
    if (info->ii_Expressions != NIL) refuse("expressions");
    if (info->ii_Predicate != NIL) refuse("partial indexes");
    if (info->ii_ExclusionOps != nullptr) refuse("exclusion constraints");
    if (heap->rd_tableam != GetHeapamTableAmRoutine())
        ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                        errmsg("access method \"topk\" does not support table \"%s\"", RelationGetRelationName(heap)),
                        errdetail("It reads row versions where they lie, and knows only the table access method \"heap\"."),
                        errhint("ALTER TABLE ... SET ACCESS METHOD heap.")));
    if (group_columns(relation) < 0)
        ereport(ERROR, (errcode(ERRCODE_INVALID_OBJECT_DEFINITION), errmsg("index \"%s\" has no score", RelationGetRelationName(relation)),
                        errdetail("The score is the first column that is declared DESC; the columns before it are the group."),
                        errhint("Declare it as in (window_start, views DESC, video_id).")));
    if (RelationGetDescr(relation)->natts - group_columns(relation) >= INDEX_MAX_KEYS)
        ereport(ERROR, (errcode(ERRCODE_TOO_MANY_COLUMNS), errmsg("index \"%s\" has too many columns", RelationGetRelationName(relation)),
                        errdetail("Score and tie-breakers can be at most %d columns.", INDEX_MAX_KEYS - 1)));
    for (int column = 0; column < RelationGetDescr(relation)->natts; ++column) check_order(relation, column);
    for (int column = 0; column < group_columns(relation); ++column) check_group(relation, column);
}

#ifdef TOPK_TEST_CORE_BUILD_SCAN
void add_core_tuple(Relation, ItemPointer tid, Datum* values, bool* nulls, bool, void* state) {
    auto& index = *static_cast<OpenIndex*>(state);
    insert_version(index, hash_group(index, values, nulls), bound_of(index, values + index.groups, nulls + index.groups), *tid, true);
}
#endif

/// Returns the number of live rows.
double add_all(OpenIndex& index, [[maybe_unused]] IndexInfo* info) {
#ifdef TOPK_TEST_CORE_BUILD_SCAN
    return table_index_build_scan(index.heap, index.relation, info, true, true, add_core_tuple, &index, nullptr);
#else
    return insert_all_versions(index, nullptr, nullptr);
#endif
}

}  // namespace

extern "C" IndexBuildResult* topk_build(Relation heap, Relation relation, IndexInfo* info) {
    check_definition(heap, relation, info);
    if (RelationGetNumberOfBlocks(relation) != 0) elog(ERROR, "index \"%s\" already contains data", RelationGetRelationName(relation));
    pgstat_progress_update_param(PROGRESS_CREATEIDX_SUBPHASE, PROGRESS_CREATEIDX_SUBPHASE_INITIALIZE);
    OpenIndex* index = open_index_for_build(relation, heap);
    index->building = true;
    create_directory(*index);
    const double live = add_all(*index, info);
    if (RelationNeedsWAL(relation)) log_newpage_range(relation, MAIN_FORKNUM, 0, RelationGetNumberOfBlocks(relation), true);
    auto* result = static_cast<IndexBuildResult*>(palloc0(sizeof(IndexBuildResult)));
    result->heap_tuples = live;
    result->index_tuples = live;
    return result;
}

extern "C" void topk_buildempty(Relation relation) {
    for (BlockNumber block = kMetaBlock; block <= kFirstBucketBlock; ++block) {
        Buffer buffer = extend_index(relation, INIT_FORKNUM);
        alignas(MAXIMUM_ALIGNOF) PGAlignedBlock page;
        fill_directory_page(block, page.data);
        seal_page(page.data);
        START_CRIT_SECTION();
        memcpy(BufferGetPage(buffer), page.data, BLCKSZ);
        MarkBufferDirty(buffer);
        log_newpage_buffer(buffer, true);
        END_CRIT_SECTION();
        UnlockReleaseBuffer(buffer);
    }
}

}  // namespace topk
