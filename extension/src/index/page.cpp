// Reading, checking, allocating and changing pages.
#include "page.h"

namespace topk {

namespace {

/// Pages this backend has checked already, by block and stored checksum. Kept in the relcache entry, which forgets it
/// when it likes: reach it through the relation each time.
struct CheckedPages {
    bool meta;
    struct {
        BlockNumber block;
        std::uint32_t crc;
    } pages[512];
};

CheckedPages* checked_pages(Relation relation) {
    if (relation->rd_amcache == nullptr) {
        auto* fresh = static_cast<CheckedPages*>(MemoryContextAllocZero(relation->rd_indexcxt, sizeof(CheckedPages)));
        for (auto& page : fresh->pages) page.block = InvalidBlockNumber;
        relation->rd_amcache = fresh;
    }
    return static_cast<CheckedPages*>(relation->rd_amcache);
}

bool has_sane_bounds(Page page) {
    const auto* header = reinterpret_cast<PageHeader>(page);
    return header->pd_lower >= SizeOfPageHeaderData && header->pd_lower <= header->pd_upper && header->pd_upper <= header->pd_special &&
           header->pd_special <= BLCKSZ - sizeof(PageTail) && PageGetPageSize(page) == BLCKSZ;
}

std::uint32_t checksum(Page page) {
    const auto* header = reinterpret_cast<PageHeader>(page);
    const auto* bytes = static_cast<const char*>(page);
    constexpr std::size_t kFrom = offsetof(PageHeaderData, pd_lower);
    pg_crc32c crc;
    INIT_CRC32C(crc);
    COMP_CRC32C(crc, bytes + kFrom, header->pd_lower - kFrom);
    COMP_CRC32C(crc, bytes + header->pd_upper, BLCKSZ - sizeof(PageTail) - header->pd_upper);
    COMP_CRC32C(crc, bytes + BLCKSZ - sizeof(PageTail) + sizeof(crc), sizeof(PageTail) - sizeof(crc));
    FIN_CRC32C(crc);
    return crc;
}

}  // namespace

void refuse_damage(const OpenIndex& index, BlockNumber block, const char* what) {
    ereport(ERROR, (errcode(ERRCODE_INDEX_CORRUPTED),
                    errmsg("block %u of index \"%s\" is damaged: %s", block, RelationGetRelationName(index.relation), what),
                    errhint("Please REINDEX it.")));
    pg_unreachable();
}

void check_page(OpenIndex& index, Buffer buffer) {
    Page page = BufferGetPage(buffer);
    const BlockNumber block = BufferGetBlockNumber(buffer);
    const std::uint32_t stored = page_tail(page)->crc;
    auto& known = checked_pages(index.relation)->pages[block % std::size(CheckedPages{}.pages)];
    if (index.building || (known.block == block && known.crc == stored && has_sane_bounds(page))) return;
    if (PageIsNew(page)) refuse_damage(index, block, "it is empty");
    if (page_tail(page)->page_id != kPageId) refuse_damage(index, block, "it does not belong to a topk index");
    if (!has_sane_bounds(page) || checksum(page) != stored) refuse_damage(index, block, "its checksum is wrong");
    known = {block, stored};
}

bool is_unchanged(const OpenIndex& index, PageState* state, std::uint32_t looks) {
    constexpr std::uint32_t kQuickly = 16;  // all but every 16th time
    if (XLogRecPtrIsInvalid(state->lsn)) return false;
    if (looks % kQuickly == 0 || !ReadRecentBuffer(file_of(index.relation), MAIN_FORKNUM, state->block, state->buffer)) {
        CHECK_FOR_INTERRUPTS();
        if (state->block >= RelationGetNumberOfBlocks(index.relation)) return false;
        state->buffer = ReadBuffer(index.relation, state->block);
    }
    const XLogRecPtr lsn = BufferGetLSNAtomic(state->buffer);
    ReleaseBuffer(state->buffer);
#ifdef TOPK_TEST_TRUST_INDEX
    return true;
#endif
    return lsn == state->lsn;
}

bool is_unused(Page page) {
    return PageIsNew(page) || (page_tail(page)->page_id == kPageId && page_kind(page) == PageKind::kFree);
}

void seal_page(Page page) {
    page_tail(page)->crc = checksum(page);
}

void check_meta(OpenIndex& index) {
    if (checked_pages(index.relation)->meta) return;
    if (RelationGetNumberOfBlocks(index.relation) <= kFirstBucketBlock) refuse_damage(index, kMetaBlock, "the index is too short");
    Buffer buffer = lock_page(index, kMetaBlock, BUFFER_LOCK_SHARE);
    Page page = BufferGetPage(buffer);
    if (page_kind(page) != PageKind::kMeta || page_contents<MetaPage>(page)->magic != kMagic)
        refuse_damage(index, kMetaBlock, "it is not a metapage");
    const std::uint32_t version = page_contents<MetaPage>(page)->version;
    if (version != kFormatVersion)
        ereport(ERROR, (errcode(ERRCODE_INDEX_CORRUPTED),
                        errmsg("index \"%s\" has format %u, this library reads format %u", RelationGetRelationName(index.relation), version,
                               kFormatVersion),
                        errhint("Please REINDEX it.")));
    UnlockReleaseBuffer(buffer);
    checked_pages(index.relation)->meta = true;
}

Buffer lock_page(OpenIndex& index, BlockNumber block, int mode) {
    Buffer buffer = ReadBuffer(index.relation, block);
    relock_page(index, buffer, mode);
    return buffer;
}

void relock_page(OpenIndex& index, Buffer buffer, int mode) {
    LockBuffer(buffer, mode);
    check_page(index, buffer);
}

Buffer allocate_page(OpenIndex& index) {
    for (;;) {
        const BlockNumber block = index.building ? InvalidBlockNumber : GetFreeIndexPage(index.relation);
        if (block == InvalidBlockNumber) return extend_index(index.relation);
        Buffer buffer = ReadBuffer(index.relation, block);
        // Somebody else may have been given the same page.
        if (ConditionalLockBuffer(buffer)) {
            if (is_unused(BufferGetPage(buffer))) return buffer;
            LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
        }
        ReleaseBuffer(buffer);
    }
}

void init_contents_page(Page page, PageKind kind, std::size_t contents) {
    PageInit(page, BLCKSZ, sizeof(PageTail));
    memset(PageGetContents(page), 0, contents);
    reinterpret_cast<PageHeader>(page)->pd_lower = static_cast<LocationIndex>(MAXALIGN(SizeOfPageHeaderData) + contents);
    *page_tail(page) = {0, kind, kPageId};
}

Change::Change(OpenIndex& index) : index_(index), state_(index.building ? nullptr : GenericXLogStart(index.relation)) {}

Page Change::edit(Buffer buffer, bool whole) {
    Page page = index_.building ? BufferGetPage(buffer) : GenericXLogRegisterBuffer(state_, buffer, whole ? GENERIC_XLOG_FULL_IMAGE : 0);
    buffers_[count_] = buffer;
    pages_[count_++] = page;
    return page;
}

void Change::commit() {
    for (int i = 0; i < count_; ++i) {
        seal_page(pages_[i]);
        if (index_.building) MarkBufferDirty(buffers_[i]);
    }
    if (!index_.building) GenericXLogFinish(state_);
}

IndexTuple find_role(Page page, OffsetNumber role) {
    const OffsetNumber count = item_count(page);
    // Roles come first.
    for (OffsetNumber offset = FirstOffsetNumber; offset <= count; ++offset) {
        IndexTuple item = item_at(page, offset);
        if (tid_block(item) != InvalidBlockNumber) return nullptr;
        if (tid_offset(item) == role) return item;
    }
    return nullptr;
}

OffsetNumber first_entry(Page page) {
    const OffsetNumber count = item_count(page);
    OffsetNumber offset = FirstOffsetNumber;
    while (offset <= count && tid_block(item_at(page, offset)) == InvalidBlockNumber) ++offset;
    return offset;
}

void sort_best_first(OpenIndex& index, const ItemList& items) {
    std::sort(items.begin(), items.end(), [&](IndexTuple a, IndexTuple b) { return compare_items(index, a, b) < 0; });
}

OffsetNumber place_of(OpenIndex& index, Page page, IndexTuple item, OffsetNumber from, OffsetNumber until) {
    while (from < until) {
        const auto middle = static_cast<OffsetNumber>((from + until) / 2);
        if (compare_items(index, item_at(page, middle), item) <= 0)
            from = static_cast<OffsetNumber>(middle + 1);
        else
            until = middle;
    }
    return from;
}

OffsetNumber find_entry(Page page, std::uint64_t hash, ItemPointerData root) {
    const bool shared = page_kind(page) == PageKind::kBucket;
    const OffsetNumber count = item_count(page);
    for (OffsetNumber offset = FirstOffsetNumber; offset <= count; ++offset) {
        IndexTuple item = item_at(page, offset);
        if (memcmp(&item->t_tid, &root, sizeof(root)) == 0 && (!shared || hash_in(item) == hash)) return offset;
    }
    return InvalidOffsetNumber;
}

ItemList copy_items(Page page) {
    const OffsetNumber count = item_count(page);
    ItemList items(std::max<std::size_t>(count, 1));
    for (OffsetNumber offset = FirstOffsetNumber; offset <= count; ++offset) items.add(CopyIndexTuple(item_at(page, offset)));
    return items;
}

void write_items(Page page, const ItemTail& tail, const ItemList& items) {
    PageInit(page, BLCKSZ, sizeof(ItemTail));
    *item_tail(page) = tail;
    const auto add = [page](IndexTuple item) {
        if (PageAddItem(page, reinterpret_cast<Item>(item), IndexTupleSize(item), InvalidOffsetNumber, false, false) == InvalidOffsetNumber)
            elog(ERROR, "items do not fit a page");
    };
    for (IndexTuple item : items)
        if (tid_block(item) == InvalidBlockNumber) add(item);
    for (IndexTuple item : items)
        if (tid_block(item) != InvalidBlockNumber) add(item);
}

IndexTuple with_role(IndexTuple item, OffsetNumber role) {
    ItemPointerSetBlockNumber(&item->t_tid, InvalidBlockNumber);
    ItemPointerSetOffsetNumber(&item->t_tid, role);
    return item;
}

ItemTail new_tail(PageKind kind) {
    ItemTail tail = {};
    tail.head = InvalidBlockNumber;
    tail.tail = {0, kind, kPageId};
    return tail;
}

}  // namespace topk
