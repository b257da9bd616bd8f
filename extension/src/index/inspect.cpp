// topk.index_check, index_stats, index_groups, index_refill: what an operator asks of an index.
#include "../arguments.h"
#include "am.h"
#include "directory.h"
#include "group.h"
#include "refill.h"
#include "toasted.h"
#include "versions.h"

namespace topk {

namespace {

struct Opened {
    Relation heap;
    Relation relation;
    OpenIndex* index;
};

/// Opens an index of ours and its table, locking the table first as everybody does. Failure: 42501 unless the caller owns it, 42809.
Opened open_argument(FunctionCallInfo fcinfo, LOCKMODE heap_mode, LOCKMODE index_mode) {
    require_argument(fcinfo, 0, "index");
    const Oid oid = PG_GETARG_OID(0);
    const auto refuse = [oid] {
        const char* name = get_rel_name(oid);
        ereport(ERROR, (errcode(name == nullptr ? ERRCODE_UNDEFINED_OBJECT : ERRCODE_WRONG_OBJECT_TYPE),
                        name == nullptr ? errmsg("there is no index with oid %u", oid) : errmsg("\"%s\" is not a topk index", name),
                        errhint("Of a partitioned index, name the partitions' indexes.")));
    };
    if (get_rel_relkind(oid) != RELKIND_INDEX) refuse();
    if (!owns_relation(oid, GetUserId())) aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_INDEX, get_rel_name(oid));
    Opened opened;
    opened.heap = table_open(IndexGetRelation(oid, false), heap_mode);
    opened.relation = index_open(oid, index_mode);
    if (opened.relation->rd_indam->ambuild != topk_build) refuse();
    if (RELATION_IS_OTHER_TEMP(opened.relation))
        ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED), errmsg("cannot read temporary tables of other sessions"),
                        errhint("Ask in the session that made the table.")));
    opened.index = open_index(opened.relation, opened.heap);
    return opened;
}

void close_argument(const Opened& opened, LOCKMODE heap_mode, LOCKMODE index_mode) {
    index_close(opened.relation, index_mode);
    table_close(opened.heap, heap_mode);
}

// --- index_check ---

void check_group_page(OpenIndex& index, const HeadPage& head, BlockNumber head_block, std::uint64_t slot) {
    Buffer buffer;
    const BlockNumber block = head.slots[slot];
    if (!lock_group_page(index, block, head_block, head.hash, BUFFER_LOCK_SHARE, &buffer))
        refuse_damage(index, block, "its group's head leads to it, but it is not the group's");
    Page page = BufferGetPage(buffer);
    const ItemTail* tail = item_tail(page);
    if (tail->depth > head.depth || (slot & low_bits(tail->depth)) != tail->cover)
        refuse_damage(index, block, "it covers other rows than its head says");
    IndexTuple insert = find_role(page, Role::kInsertThreshold);
    IndexTuple read = find_role(page, Role::kReadThreshold);
    if (insert != nullptr && (read == nullptr || above(index, key_in(index, insert), key_in(index, read))))
        refuse_damage(index, block, "its insert threshold is above its read threshold");
    if (head.skip_size > 0) {
        auto* skip = reinterpret_cast<IndexTuple>(const_cast<char*>(head.skip));
        if (insert == nullptr || above(index, key_in(index, skip), key_in(index, insert)))
            refuse_damage(index, head_block, "its skip bound is above a page's insert threshold");
    }
    const OffsetNumber count = item_count(page);
    for (OffsetNumber offset = FirstOffsetNumber; offset <= count; ++offset) {
        IndexTuple item = item_at(page, offset);
        if (is_entry(item) && (!holds_row(page, hash_root(item->t_tid)) || hash_in(item) != head.hash))
            refuse_damage(index, block, "it holds another page's entry");
        if (offset > first_entry(page) && compare_items(index, item_at(page, static_cast<OffsetNumber>(offset - 1)), item) > 0)
            refuse_damage(index, block, "its entries are out of order");
    }
    UnlockReleaseBuffer(buffer);
}

void check_head(OpenIndex& index, const GroupHead& group) {
    Buffer bucket;
    const BlockNumber block = find_head(index, group.hash, &bucket);
    if (block != group.head) refuse_damage(index, group.head, "the directory does not lead to this head");
    Buffer buffer;
    if (!lock_head(index, group.head, group.hash, BUFFER_LOCK_SHARE, &buffer)) refuse_damage(index, group.head, "it is no head");
    // A copy: pages are looked at without the head's lock, and the table is locked against writes.
    auto* head = static_cast<HeadPage*>(palloc(sizeof(HeadPage)));
    memcpy(head, head_page(BufferGetPage(buffer)), sizeof(HeadPage));
    UnlockReleaseBuffer(buffer);
    if (head->depth > kSlotBits) refuse_damage(index, group.head, "its depth is out of range");
    for (std::uint64_t slot = 0; slot <= low_bits(head->depth); ++slot) check_group_page(index, *head, group.head, slot);
    pfree(head);
}

/// Whether the page of a version keeps its promise.
bool is_covered(OpenIndex& index, Page page, std::uint64_t hash, const Key& key, const Version& version) {
    IndexTuple threshold = find_role(page, Role::kReadThreshold);
    if (threshold != nullptr && !above(index, key, key_in(index, threshold))) return true;
    const OffsetNumber offset = find_entry(page, hash, version.root);
    if (offset != InvalidOffsetNumber && !above(index, key, key_in(index, item_at(page, offset)))) return true;
    const Promise promise = read_promise(page);
    for (std::size_t i = 0; i < promise.histories.size && version.superseded_by != 0; ++i) {
        const History& history = promise.histories.items[i];
        if (version.superseded_by >= history.range.low && version.superseded_by <= history.range.high &&
            !above(index, key, key_in(index, history.bound)))
            return true;
    }
    return false;
}

void check_version(OpenIndex& index, const Version& version) {
    std::array<Datum, INDEX_MAX_KEYS> values;
    std::array<bool, INDEX_MAX_KEYS> nulls;
    if (!read_values(index, version, index.groups + index.keys, values.data(), nulls.data())) return;
    const std::uint64_t hash = hash_group(index, values.data(), nulls.data());
    // Nothing is fetched from a TOAST table under a page's lock.
    for (int column = index.groups; column < index.groups + index.keys; ++column)
        if (!nulls[column] && is_external(index, column, values[column]))
            values[column] = PointerGetDatum(PG_DETOAST_DATUM(values[column]));
    const Key key = key_of(index, &values[index.groups], &nulls[index.groups]);
    Buffer buffer;
    const BlockNumber head = find_head(index, hash, &buffer);
    if (head != InvalidBlockNumber) {
        if (!lock_head(index, head, hash, BUFFER_LOCK_SHARE, &buffer)) refuse_damage(index, head, "it is not its group's head");
        const BlockNumber block = page_of_row(*head_page(BufferGetPage(buffer)), hash_root(version.root));
        UnlockReleaseBuffer(buffer);
        if (!lock_group_page(index, block, head, hash, BUFFER_LOCK_SHARE, &buffer)) refuse_damage(index, block, "it is not its group's");
    }
    const BlockNumber block = BufferGetBlockNumber(buffer);
    const bool covered = is_covered(index, BufferGetPage(buffer), hash, key, version);
    UnlockReleaseBuffer(buffer);
    if (!covered)
        ereport(ERROR,
                (errcode(ERRCODE_INDEX_CORRUPTED),
                 errmsg("index \"%s\" misses row (%u,%u) of table \"%s\"", RelationGetRelationName(index.relation),
                        ItemPointerGetBlockNumber(&version.tuple->t_self), ItemPointerGetOffsetNumber(&version.tuple->t_self),
                        RelationGetRelationName(index.heap)),
                 errdetail("It ranks above the threshold of block %u and has no entry there.", block), errhint("Please REINDEX it.")));
}

// --- index_stats ---

struct Counts {
    std::int64_t bucket_pages, group_pages, directory_pages, free_pages, heads, candidates, thresholds, histories, small_groups;
};

int compare_hashes(const void* a, const void* b) {
    const auto left = *static_cast<const std::uint64_t*>(a), right = *static_cast<const std::uint64_t*>(b);
    return (left > right) - (left < right);
}

std::int64_t count_small_groups(Page page) {
    const OffsetNumber count = item_count(page);
    std::uint64_t hashes[MaxIndexTuplesPerPage];
    std::size_t size = 0;
    for (OffsetNumber offset = FirstOffsetNumber; offset <= count; ++offset)
        if (is_entry(item_at(page, offset))) hashes[size++] = hash_in(item_at(page, offset));
    qsort(hashes, size, sizeof(hashes[0]), compare_hashes);
    return std::unique(hashes, hashes + size) - hashes;
}

void count_page(Page page, Counts* counts) {
    const auto entries = [page] {
        std::int64_t found = 0;
        for (OffsetNumber offset = FirstOffsetNumber; offset <= item_count(page); ++offset) found += is_entry(item_at(page, offset));
        return found;
    };
    switch (page_kind(page)) {
        case PageKind::kMeta:
        case PageKind::kNode:
            ++counts->directory_pages;
            break;
        case PageKind::kBucket:
            ++counts->bucket_pages;
            counts->candidates += entries();
            counts->small_groups += count_small_groups(page);
            break;
        case PageKind::kHead:
            ++counts->heads;
            break;
        case PageKind::kGroup:
            ++counts->group_pages;
            counts->candidates += entries();
            counts->thresholds += find_role(page, Role::kReadThreshold) != nullptr;
            counts->histories += item_tail(page)->histories;
            break;
        case PageKind::kFree:
            ++counts->free_pages;
            break;
    }
}

/// The score of a threshold as text; "infinity" if it is above everything, "-infinity" if it is NULL and the last.
Datum threshold_text(OpenIndex& index, IndexTuple item, bool* is_null) {
    *is_null = item == nullptr;
    if (item == nullptr) return 0;
    const Key key = key_in(index, item);
    if (key.open_from == 0 || key.nulls[0]) {
        const bool is_last = key.open_from != 0 && !index.order[0].ssup_nulls_first;
        return CStringGetTextDatum(is_last ? "-infinity" : "infinity");
    }
    Oid output;
    bool is_varlena;
    getTypeOutputInfo(TupleDescAttr(index.key_desc, 1)->atttypid, &output, &is_varlena);
    return CStringGetTextDatum(OidOutputFunctionCall(output, key.values[0]));
}

void put_group(OpenIndex& index, const GroupHead& group, const ReturnSetInfo* result) {
    Buffer buffer;
    if (!lock_head(index, group.head, group.hash, BUFFER_LOCK_SHARE, &buffer)) return;
    const std::span<BlockNumber> pages = pages_of(*head_page(BufferGetPage(buffer)));
    UnlockReleaseBuffer(buffer);
    IndexTuple cut = nullptr;
    Counts counts = {};
    for (BlockNumber block : pages) {
        CHECK_FOR_INTERRUPTS();
        if (!lock_group_page(index, block, group.head, group.hash, BUFFER_LOCK_SHARE, &buffer)) continue;
        count_page(BufferGetPage(buffer), &counts);
        IndexTuple threshold = find_role(BufferGetPage(buffer), Role::kReadThreshold);
        if (threshold != nullptr && (cut == nullptr || above(index, key_in(index, threshold), key_in(index, cut))))
            cut = CopyIndexTuple(threshold);
        UnlockReleaseBuffer(buffer);
    }
    bool nulls[4] = {};
    Datum values[4] = {UInt64GetDatum(group.hash), Int32GetDatum(static_cast<std::int32_t>(pages.size())), Int64GetDatum(counts.candidates),
                       0};
    values[3] = threshold_text(index, cut, &nulls[3]);
    tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

}  // namespace

TOPK_SQL_FUNCTION(topk_index_check) {
    const Opened opened = open_argument(fcinfo, ShareLock, AccessShareLock);
    OpenIndex& index = *opened.index;
    for (const GroupHead& group : list_heads(index)) {
        CHECK_FOR_INTERRUPTS();
        check_head(index, group);
    }
    BufferAccessStrategy strategy = GetAccessStrategy(BAS_BULKREAD);
    PhysicalScan scan(*opened.index, strategy);
    MemoryContext caller = MemoryContextSwitchTo(index.scratch);
    for (std::span<Version> versions; scan.next_page(&versions);) {
        CHECK_FOR_INTERRUPTS();
        for (const Version& version : versions) check_version(index, version);
        MemoryContextReset(index.scratch);
    }
    MemoryContextSwitchTo(caller);
    FreeAccessStrategy(strategy);
    close_argument(opened, ShareLock, AccessShareLock);
    PG_RETURN_VOID();
}

TOPK_SQL_FUNCTION(topk_index_refill) {
    PreventCommandDuringRecovery("topk.index_refill()");
    const Opened opened = open_argument(fcinfo, ShareUpdateExclusiveLock, RowExclusiveLock);
    const std::span<GroupHead> heads = list_heads(*opened.index);
    auto* poor = std::remove_if(heads.data(), heads.data() + heads.size(),
                                [&](const GroupHead& group) { return !needs_refill(*opened.index, group); });
    const auto count = static_cast<std::size_t>(poor - heads.data());
    BufferAccessStrategy strategy = GetAccessStrategy(BAS_BULKREAD);
    refill(*opened.index, heads.first(count), strategy);
    FreeAccessStrategy(strategy);
    // The table's lock is kept until the transaction ends, as VACUUM's is.
    close_argument(opened, NoLock, NoLock);
    PG_RETURN_INT64(static_cast<std::int64_t>(count));
}

TOPK_SQL_FUNCTION(topk_index_stats) {
    const Opened opened = open_argument(fcinfo, AccessShareLock, AccessShareLock);
    OpenIndex& index = *opened.index;
    const BlockNumber blocks = RelationGetNumberOfBlocks(opened.relation);
    Counts counts = {};
    for (BlockNumber block = kMetaBlock; block < blocks; ++block) {
        CHECK_FOR_INTERRUPTS();
        Buffer buffer = ReadBuffer(opened.relation, block);
        LockBuffer(buffer, BUFFER_LOCK_SHARE);
        if (PageIsNew(BufferGetPage(buffer))) {
            ++counts.free_pages;
        } else {
            check_page(index, buffer);
            count_page(BufferGetPage(buffer), &counts);
        }
        UnlockReleaseBuffer(buffer);
    }
    TupleDesc desc;
    if (get_call_result_type(fcinfo, nullptr, &desc) != TYPEFUNC_COMPOSITE) elog(ERROR, "return type must be a row type");
    Datum values[12] = {Int32GetDatum(option_k(opened.relation)),
                        Int64GetDatum(counts.small_groups + counts.heads),
                        Int64GetDatum(counts.heads),
                        Int64GetDatum(counts.candidates),
                        Int64GetDatum(counts.thresholds),
                        Int64GetDatum(counts.histories),
                        Int64GetDatum(blocks),
                        Int64GetDatum(counts.bucket_pages),
                        Int64GetDatum(counts.group_pages + counts.heads),
                        Int64GetDatum(counts.directory_pages),
                        Int64GetDatum(counts.free_pages),
                        Int64GetDatum(static_cast<std::int64_t>(blocks) * BLCKSZ)};
    bool nulls[12] = {};
    HeapTuple tuple = heap_form_tuple(BlessTupleDesc(desc), values, nulls);
    close_argument(opened, AccessShareLock, AccessShareLock);
    PG_RETURN_DATUM(HeapTupleGetDatum(tuple));
}

TOPK_SQL_FUNCTION(topk_index_groups) {
    const Opened opened = open_argument(fcinfo, AccessShareLock, AccessShareLock);
    InitMaterializedSRF(fcinfo, 0);
    const auto* result = reinterpret_cast<ReturnSetInfo*>(fcinfo->resultinfo);
    for (const GroupHead& group : list_heads(*opened.index)) put_group(*opened.index, group, result);
    close_argument(opened, AccessShareLock, AccessShareLock);
    return 0;
}

}  // namespace topk
