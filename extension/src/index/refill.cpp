// Refill: which groups need it, and its three steps.
#include "refill.h"

#include "insert.h"
#include "versions.h"

namespace topk {

namespace {

constexpr int kMaxPoorRefills = 6;

/// Rewrites a group page with another promise.
template <typename Body>
void change_promise(OpenIndex& index, BlockNumber block, const GroupHead& group, Body&& body) {
    survives_longjmp<std::remove_reference_t<Body>>();
    Buffer buffer;
    if (!lock_group_page(index, block, group.head, group.hash, BUFFER_LOCK_EXCLUSIVE, &buffer))
        refuse_damage(index, block, "it is not its group's");
    Page page = BufferGetPage(buffer);
    Promise promise = read_promise(page);
    body(&promise);
    ItemTail tail = *item_tail(page);
    ItemList items;
    add_promise(promise, &items, &tail);
    for (IndexTuple item : copy_items(page))
        if (is_entry(item)) items.add(item);
    if (items.bytes() > kItemSpace) {  // a threshold longer than the one it replaces: leave the page's promise, it holds too
        UnlockReleaseBuffer(buffer);
        return;
    }
    Change change(index);
    write_items(change.edit(buffer), tail, items);
    change.commit();
    UnlockReleaseBuffer(buffer);
}

/// Insert thresholds to nothing, so that every version is let in. The head's lock keeps pages from splitting and skip bounds from rising.
/// The skip bound goes first: it is never above a threshold, also if a crash ends this in the middle.
void open_group(OpenIndex& index, const GroupHead& group) {
    Buffer head;
    if (!lock_head(index, group.head, group.hash, BUFFER_LOCK_EXCLUSIVE, &head)) return;
    Change change(index);
    head_page(change.edit(head))->skip_size = 0;
    change.commit();
    for (BlockNumber block : pages_of(*head_page(BufferGetPage(head))))
        change_promise(index, block, group, [](Promise* promise) { promise->insert = nullptr; });
    UnlockReleaseBuffer(head);
}

void publish_group(OpenIndex& index, const GroupHead& group) {
    Buffer head;
    if (!lock_head(index, group.head, group.hash, BUFFER_LOCK_EXCLUSIVE, &head)) return;
    for (BlockNumber block : pages_of(*head_page(BufferGetPage(head))))
        change_promise(index, block, group, [](Promise* promise) { promise->read = promise->insert; });
    UnlockReleaseBuffer(head);
    update_skip(index, group.hash, group.head);
}

/// Sets the pause before the next refill.
void note_outcome(OpenIndex& index, const GroupHead& group, bool poor) {
    Buffer head;
    if (!lock_head(index, group.head, group.hash, BUFFER_LOCK_EXCLUSIVE, &head)) return;
    const HeadPage* content = head_page(BufferGetPage(head));
    if (poor || content->poor_refills > 0) {
        Change change(index);
        HeadPage* fresh = head_page(change.edit(head));
        fresh->poor_refills = static_cast<std::uint8_t>(poor ? std::min<int>(fresh->poor_refills + 1, kMaxPoorRefills) : 0);
        fresh->refill_pause = static_cast<std::uint8_t>((1 << fresh->poor_refills) - 1);
        change.commit();
    }
    UnlockReleaseBuffer(head);
}

bool is_wanted(std::span<const GroupHead> sorted, std::uint64_t hash) {
    return std::binary_search(sorted.begin(), sorted.end(), GroupHead{hash, 0},
                              [](const GroupHead& a, const GroupHead& b) { return a.hash < b.hash; });
}

/// Rows on a page with a current version above the cut, until there are `limit`.
std::size_t count_current(OpenIndex& index, const GroupHead& group, Page page, IndexTuple cut, std::size_t limit) {
    std::size_t found = 0;
    const OffsetNumber count = item_count(page);
    for (OffsetNumber offset = FirstOffsetNumber; offset <= count && found < limit; ++offset) {
        IndexTuple item = item_at(page, offset);
        if (!is_entry(item)) continue;
        const RowState state = row_state(index, group.hash, item);
        found += state.current != nullptr && above(index, key_in(index, state.current), key_in(index, cut));
    }
    return found;
}

}  // namespace

std::span<GroupHead> list_heads(OpenIndex& index) {
    const BlockNumber blocks = RelationGetNumberOfBlocks(index.relation);
    std::size_t capacity = 64, count = 0;
    auto* heads = static_cast<GroupHead*>(palloc(capacity * sizeof(GroupHead)));
    for (BlockNumber block = kFirstBucketBlock; block < blocks; ++block) {
        CHECK_FOR_INTERRUPTS();
        Buffer buffer = ReadBuffer(index.relation, block);
        LockBuffer(buffer, BUFFER_LOCK_SHARE);
        Page page = BufferGetPage(buffer);
        if (!PageIsNew(page)) {  // a page that somebody is about to write
            check_page(index, buffer);
            if (page_kind(page) == PageKind::kHead) {
                if (count == capacity) heads = static_cast<GroupHead*>(repalloc_huge(heads, (capacity *= 2) * sizeof(GroupHead)));
                heads[count++] = {head_page(page)->hash, block};
            }
        }
        UnlockReleaseBuffer(buffer);
    }
    std::sort(heads, heads + count, [](const GroupHead& a, const GroupHead& b) { return a.hash < b.hash; });
    return {heads, count};
}

bool needs_refill(OpenIndex& index, const GroupHead& group) {
    MemoryContext caller = MemoryContextSwitchTo(index.scratch);
    IndexTuple cut = nullptr;
    visit_pages(index, group, [&](Page page) {
        IndexTuple threshold = find_role(page, Role::kReadThreshold);
        if (threshold != nullptr && (cut == nullptr || above(index, key_in(index, threshold), key_in(index, cut))))
            cut = CopyIndexTuple(threshold);
        return true;
    });
    const auto k = static_cast<std::size_t>(option_k(index.relation));
    std::size_t found = 0;
    if (cut != nullptr)
        visit_pages(index, group, [&](Page page) {
            found += count_current(index, group, page, cut, k - found);
            return found < k;
        });
    const bool needed = cut != nullptr && found < k;
    MemoryContextSwitchTo(caller);
    MemoryContextReset(index.scratch);
    return needed;
}

bool is_refill_due(OpenIndex& index, const GroupHead& group) {
    Buffer head;
    if (!lock_head(index, group.head, group.hash, BUFFER_LOCK_EXCLUSIVE, &head)) return false;
    const bool due = head_page(BufferGetPage(head))->refill_pause == 0;
    if (!due) {
        Change change(index);
        --head_page(change.edit(head))->refill_pause;
        change.commit();
    }
    UnlockReleaseBuffer(head);
    return due;
}

void refill(OpenIndex& index, std::span<GroupHead> groups, BufferAccessStrategy strategy) {
    if (groups.empty()) return;
    MemoryContext page_context = AllocSetContextCreate(CurrentMemoryContext, "topk refill", ALLOCSET_DEFAULT_SIZES);
    MemoryContext caller = MemoryContextSwitchTo(page_context);
    for (const GroupHead& group : groups) {
        CHECK_FOR_INTERRUPTS();
        open_group(index, group);
        MemoryContextReset(page_context);
    }
    PhysicalScan scan(index, strategy);
    MemoryContext step_context = AllocSetContextCreate(page_context, "topk refill step", ALLOCSET_DEFAULT_SIZES);
    MemoryContextSwitchTo(step_context);
    // It sleeps before it reads a page, not after: nothing keeps what a page's versions have in TOAST tables.
    for (std::span<Version> versions; vacuum_point(), scan.next_page(&versions);) {
        for (const Version& version : versions)
            insert_found(index, version, [groups](std::uint64_t hash) { return is_wanted(groups, hash); });
        MemoryContextReset(step_context);
    }
    for (const GroupHead& group : groups) {
        CHECK_FOR_INTERRUPTS();
        publish_group(index, group);
        note_outcome(index, group, needs_refill(index, group));
        MemoryContextReset(step_context);
    }
    MemoryContextSwitchTo(caller);
    MemoryContextDelete(page_context);
}

}  // namespace topk
