// From the hash of a group to its candidates. Directory nodes resolve the hash kSlotBits bits at a time, as extendible hashing
// does; buckets hold the entries of many small groups, all of them, and pointers to the heads of groups that have pages of their own.
// A bucket that is full gives its largest group pages of its own, or splits.
#pragma once

#include "page.h"

namespace topk {

/// Makes the metapage, the root and the first bucket of an empty index.
void create_directory(OpenIndex& index);
/// The same pages in memory, for the init fork of an unlogged index.
void fill_directory_page(BlockNumber block, Page page);

/// Locks the bucket where the group belongs.
Buffer lock_bucket(OpenIndex& index, std::uint64_t hash, int mode);

/// The bucket's pointer to the head of a group's own pages; InvalidOffsetNumber if the group has none.
OffsetNumber find_pointer(Page bucket, std::uint64_t hash);

/// The head of a group that has pages of its own, else InvalidBlockNumber with the bucket in *bucket, locked in share mode.
BlockNumber find_head(OpenIndex& index, std::uint64_t hash, Buffer* bucket);

/// Makes room in the bucket of a group that found none. The caller then begins anew: its group may have moved.
void grow_bucket(OpenIndex& index, std::uint64_t hash);

}  // namespace topk
