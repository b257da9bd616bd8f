// aminsert: called for every version but those that leave the index's columns as they were in their HOT chain.
#include "am.h"
#include "insert.h"

namespace topk {

extern "C" bool topk_insert(Relation relation, Datum* values, bool* nulls, ItemPointer tid, Relation heap, IndexUniqueCheck, bool,
                            IndexInfo* info) {
    auto* index = static_cast<OpenIndex*>(info->ii_AmCache);
    if (index == nullptr) {
        MemoryContext caller = MemoryContextSwitchTo(info->ii_Context);
        index = open_index(relation, heap);
        MemoryContextSwitchTo(caller);
        info->ii_AmCache = index;
    }
    index->relation = relation;
    index->heap = heap;
    insert_version(*index, hash_group(*index, values, nulls), bound_of(*index, values + index->groups, nulls + index->groups), *tid, false);
    return false;
}

}  // namespace topk
