// Finding, splitting and emptying buckets.
#include "directory.h"

#include "group.h"
#include "versions.h"

namespace topk {

namespace {

constexpr int kMaxBucketDepth = 64;

std::uint32_t slot_of(const NodePage& node, std::uint64_t hash) {
    return static_cast<std::uint32_t>(hash >> (node.level * kSlotBits)) & (kSlots - 1);
}

bool covers(Page bucket, std::uint64_t hash) {
    const ItemTail* tail = item_tail(bucket);
    return (hash & low_bits(tail->depth)) == tail->cover;
}

bool is_bucket_of(Page page, std::uint64_t hash) {
    return page_kind(page) == PageKind::kBucket && covers(page, hash);
}

/// The block of the lowest node on the way to a group, and the bucket under it.
struct Path {
    BlockNumber node;
    BlockNumber bucket;
};

/// Walks down; false if the directory changed on the way.
bool walk(OpenIndex& index, std::uint64_t hash, Path* path) {
    path->node = kRootBlock;
    for (;;) {
        Buffer buffer = lock_page(index, path->node, BUFFER_LOCK_SHARE);
        Page page = BufferGetPage(buffer);
        if (page_kind(page) != PageKind::kNode) refuse_damage(index, path->node, "it is not a directory node");
        path->bucket = node_page(page)->slots[slot_of(*node_page(page), hash)];
        UnlockReleaseBuffer(buffer);
        buffer = lock_page(index, path->bucket, BUFFER_LOCK_SHARE);
        const PageKind kind = page_kind(BufferGetPage(buffer));
        UnlockReleaseBuffer(buffer);
        if (kind == PageKind::kBucket) return true;
        if (kind != PageKind::kNode) return false;
        path->node = path->bucket;
    }
}

/// Walks down and locks the bucket and, if asked, the node above it first (exclusively).
Path lock_path(OpenIndex& index, std::uint64_t hash, int mode, Buffer* node, Buffer* bucket) {
    for (int restarts = 0; restarts < kMaxRestarts; ++restarts) {
        CHECK_FOR_INTERRUPTS();
        Path path;
        if (!walk(index, hash, &path)) continue;
        if (node != nullptr) {
            *node = lock_page(index, path.node, BUFFER_LOCK_EXCLUSIVE);
            const NodePage* content = node_page(BufferGetPage(*node));
            if (page_kind(BufferGetPage(*node)) != PageKind::kNode || content->slots[slot_of(*content, hash)] != path.bucket) {
                UnlockReleaseBuffer(*node);
                continue;
            }
        }
        *bucket = lock_page(index, path.bucket, mode);
        if (is_bucket_of(BufferGetPage(*bucket), hash)) return path;
        UnlockReleaseBuffer(*bucket);
        if (node != nullptr) UnlockReleaseBuffer(*node);
    }
    refuse_damage(index, kRootBlock, "the directory leads nowhere");
}

void init_node(Page page, std::uint32_t level, BlockNumber child) {
    init_contents_page(page, PageKind::kNode, sizeof(NodePage));
    node_page(page)->level = level;
    std::fill_n(node_page(page)->slots, kSlots, child);
}

/// The group with most bytes in a bucket.
struct Largest {
    std::uint64_t hash = 0;
    std::size_t bytes = 0;
};

Largest largest_group(const ItemList& items) {
    std::sort(items.begin(), items.end(), [](IndexTuple a, IndexTuple b) { return hash_in(a) < hash_in(b); });
    Largest largest, current;
    for (IndexTuple item : items) {
        if (is_pointer(item)) continue;
        if (hash_in(item) != current.hash) current = {hash_in(item), 0};
        current.bytes += MAXALIGN(IndexTupleSize(item)) + sizeof(ItemIdData);
        if (current.bytes > largest.bytes) largest = current;
    }
    return largest;
}

/// The items but for entries whose rows are gone.
ItemList present_items(OpenIndex& index, Page page) {
    ItemList kept;
    for (IndexTuple item : copy_items(page)) {
        if (is_entry(item) && !index.building) {
            const RowState state = row_state(index, hash_in(item), item);
            if (state.current == nullptr && state.superseded == nullptr) continue;
        }
        kept.add(item);
    }
    return kept;
}

/// Gives a group pages of its own: a head and one group page with its entries.
void promote(OpenIndex& index, Buffer bucket, const ItemList& items, std::uint64_t hash) {
    Buffer head = allocate_page(index);
    Buffer group = allocate_page(index);
    ItemList mine, others;
    for (IndexTuple item : items) (hash_in(item) == hash ? mine : others).add(item);
    others.add(make_pointer(index, hash, BufferGetBlockNumber(head)));
    sort_best_first(index, mine);
    Change change(index);
    const ItemTail tail = *item_tail(BufferGetPage(bucket));
    write_items(change.edit(bucket), tail, others);
    init_head(change.edit(head, true), hash, BufferGetBlockNumber(group));
    write_items(change.edit(group, true), group_tail(hash, BufferGetBlockNumber(head)), mine);
    change.commit();
    UnlockReleaseBuffer(group);
    UnlockReleaseBuffer(head);
}

/// Halves a bucket by the next bit of the hash, or puts a node above it if its node has no more bits; unless somebody else has since it was
/// judged at that depth.
void split_bucket(OpenIndex& index, std::uint64_t hash, int depth) {
    Buffer node, bucket;
    const Path path = lock_path(index, hash, BUFFER_LOCK_EXCLUSIVE, &node, &bucket);
    const ItemTail tail = *item_tail(BufferGetPage(bucket));
    if (tail.depth != depth) {
        UnlockReleaseBuffer(bucket);
        UnlockReleaseBuffer(node);
        return;
    }
    if (depth >= kMaxBucketDepth) refuse_damage(index, path.bucket, "its depth is out of bounds");
    Buffer spare = allocate_page(index);
    const BlockNumber fresh = BufferGetBlockNumber(spare);
    const NodePage* content = node_page(BufferGetPage(node));
    const std::uint32_t level = content->level;
    const int shift = static_cast<int>(level) * kSlotBits;
    const std::uint32_t slot = slot_of(*content, hash);
    const ItemList items = copy_items(BufferGetPage(bucket));
    ItemTail low = tail, high = tail;
    low.depth = high.depth = static_cast<std::uint16_t>(tail.depth + 1);
    high.cover |= std::uint64_t{1} << tail.depth;
    ItemList zeros, ones;
    for (IndexTuple item : items) ((hash_in(item) >> tail.depth) & 1 ? ones : zeros).add(item);

    Change change(index);
    if (tail.depth == shift + kSlotBits) {
        init_node(change.edit(spare, true), level + 1, path.bucket);
        node_page(change.edit(node))->slots[slot] = fresh;
    } else {
        NodePage* slots = node_page(change.edit(node));
        const int bits = tail.depth + 1 - shift;
        for (std::uint32_t i = 0; i < kSlots; ++i)
            if ((i & low_bits(bits)) == ((high.cover >> shift) & low_bits(bits))) slots->slots[i] = fresh;
        write_items(change.edit(bucket), low, zeros);
        write_items(change.edit(spare, true), high, ones);
    }
    change.commit();
    UnlockReleaseBuffer(bucket);
    UnlockReleaseBuffer(node);
    UnlockReleaseBuffer(spare);
}

}  // namespace

void fill_directory_page(BlockNumber block, Page page) {
    if (block == kMetaBlock) {
        init_contents_page(page, PageKind::kMeta, sizeof(MetaPage));
        *page_contents<MetaPage>(page) = {kMagic, kFormatVersion};
    } else if (block == kRootBlock) {
        init_node(page, 0, kFirstBucketBlock);
    } else {
        write_items(page, new_tail(PageKind::kBucket), ItemList());
    }
}

void create_directory(OpenIndex& index) {
    for (BlockNumber block = kMetaBlock; block <= kFirstBucketBlock; ++block) {
        Buffer buffer = extend_index(index.relation, MAIN_FORKNUM);
        Change change(index);
        fill_directory_page(block, change.edit(buffer, true));
        change.commit();
        UnlockReleaseBuffer(buffer);
    }
}

Buffer lock_bucket(OpenIndex& index, std::uint64_t hash, int mode) {
    Buffer bucket;
    lock_path(index, hash, mode, nullptr, &bucket);
    return bucket;
}

OffsetNumber find_pointer(Page bucket, std::uint64_t hash) {
    const OffsetNumber count = item_count(bucket);
    for (OffsetNumber offset = FirstOffsetNumber; offset <= count; ++offset)
        if (is_pointer(item_at(bucket, offset)) && hash_in(item_at(bucket, offset)) == hash) return offset;
    return InvalidOffsetNumber;
}

BlockNumber find_head(OpenIndex& index, std::uint64_t hash, Buffer* bucket) {
    *bucket = lock_bucket(index, hash, BUFFER_LOCK_SHARE);
    const OffsetNumber pointer = find_pointer(BufferGetPage(*bucket), hash);
    if (pointer == InvalidOffsetNumber) return InvalidBlockNumber;
    const BlockNumber head = tid_block(item_at(BufferGetPage(*bucket), pointer));
    UnlockReleaseBuffer(*bucket);
    return head;
}

void grow_bucket(OpenIndex& index, std::uint64_t hash) {
    if (!index.building) {
        Buffer seen = lock_bucket(index, hash, BUFFER_LOCK_SHARE);
        const ItemList items = copy_items(BufferGetPage(seen));
        UnlockReleaseBuffer(seen);
        prefetch_rows(index, items);
    }
    Buffer bucket = lock_bucket(index, hash, BUFFER_LOCK_EXCLUSIVE);
    Page page = BufferGetPage(bucket);
    const ItemList items = present_items(index, page);
    if (items.bytes() > kItemSpace * 3 / 4 || index.building) {
        const Largest largest = largest_group(items);
        if (largest.bytes > kItemSpace / 2) {
            promote(index, bucket, items, largest.hash);
            UnlockReleaseBuffer(bucket);
            return;
        }
        const int depth = item_tail(page)->depth;
        UnlockReleaseBuffer(bucket);
        split_bucket(index, hash, depth);
        return;
    }
    const ItemTail tail = *item_tail(page);
    Change change(index);
    write_items(change.edit(bucket), tail, items);
    change.commit();
    UnlockReleaseBuffer(bucket);
}

}  // namespace topk
