// Adding a version to the index.
#pragma once

#include "directory.h"

namespace topk {

/// Makes sure that the version of this key is found, if it ranks above its page's insert threshold: its row's entry is added, or raised,
/// and never lowered. tid: the version's, or its root's if is_root. Requires: the version already lies in the table.
void insert_version(OpenIndex& index, std::uint64_t hash, const Key& key, ItemPointerData tid, bool is_root);

}  // namespace topk
