// Adding a version to the index.
#pragma once

#include "directory.h"
#include "versions.h"

namespace topk {

/// Makes sure that the version of this key is found, if it ranks above its page's insert threshold: its row's entry is added, or raised,
/// and never lowered. tid: the version's, or its root's if is_root. Requires: the version already lies in the table.
void insert_version(OpenIndex& index, std::uint64_t hash, const Key& key, ItemPointerData tid, bool is_root);

/// Inserts a version that a physical scan found, if is_wanted(the hash of its group) and its group can still be read.
template <typename Wanted>
void insert_found(OpenIndex& index, const Version& version, Wanted&& is_wanted) {
    survives_longjmp<std::remove_reference_t<Wanted>>();
    MemoryContext caller = MemoryContextSwitchTo(index.scratch);
    std::array<Datum, INDEX_MAX_KEYS> values;
    std::array<bool, INDEX_MAX_KEYS> nulls;
    if (read_values(index, version, index.groups, values.data(), nulls.data())) {
        const std::uint64_t hash = hash_group(index, values.data(), nulls.data());
        if (is_wanted(hash)) insert_version(index, hash, bound_of(index, &values[index.groups], &nulls[index.groups]), version.root, true);
    }
    MemoryContextSwitchTo(caller);
    MemoryContextReset(index.scratch);
}

}  // namespace topk
