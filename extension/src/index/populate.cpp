// Reading the table physically, and inserting each version.
#include "populate.h"

#include "insert.h"

namespace topk {

double insert_all_versions(OpenIndex& index, IndexBulkDeleteCallback callback, void* state) {
    double live = 0;
    BufferAccessStrategy strategy = GetAccessStrategy(BAS_BULKREAD);
    PhysicalScan scan(index, strategy);
    MemoryContext page_context = AllocSetContextCreate(CurrentMemoryContext, "topk build", ALLOCSET_DEFAULT_SIZES);
    pgstat_progress_update_param(PROGRESS_SCAN_BLOCKS_TOTAL, scan.pages());
    MemoryContext caller = MemoryContextSwitchTo(page_context);
    for (std::span<Version> versions; scan.next_page(&versions);) {
        CHECK_FOR_INTERRUPTS();
        for (Version& version : versions) {
            insert_found(index, version, [](std::uint64_t) { return true; });
            if (callback != nullptr) callback(&version.root, state);
            live += version.live;
        }
        MemoryContextReset(page_context);
        pgstat_progress_update_param(PROGRESS_SCAN_BLOCKS_DONE, scan.done());
        pgstat_progress_update_param(PROGRESS_CREATEIDX_TUPLES_DONE, static_cast<std::int64_t>(live));
    }
    MemoryContextSwitchTo(caller);
    MemoryContextDelete(page_context);
    FreeAccessStrategy(strategy);
    return live;
}

}  // namespace topk
