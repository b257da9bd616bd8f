// Progress rows under contention: making and retiring them, and locking one that a stopped client may hold.
// A client can stop between executing a flush and ending its transaction; its backend then holds row locks without
// end. So rows are polled for, and after a while the backend recorded as the row's owner is terminated.
#pragma once

#include "counter.h"
#include "pg.h"

namespace topk {

/// A Kafka partition of a counter.
struct ProgressKey {
    const char* counter;
    const char* topic;
    std::int32_t partition;
};

/// Locks the row FOR UPDATE. Polls; after two seconds terminates the backend that owns the row if that very session
/// still lives and holds the lock, and belongs to `only_member` unless that is empty; ten seconds later raises 55P03. Failure: 42704 if
/// there is no such row (any more). Each poll sees what was committed before it. Afterwards row 0 of the result holds (epoch, cluster_id,
/// group_id, member, next_offset). The caller frees the result. Requires: SPI connected, the extension owner's rights; rows are locked in
/// order.
void lock_progress_row(const ProgressKey& key, const char* only_member = "");

/// The same, but false if there is no such row (any more).
bool find_and_lock_progress_row(const ProgressKey& key, const char* only_member = "");

/// Whether there is such a row, by now.
bool has_progress_row(const ProgressKey& key);

/// Takes LockPurpose::kProgress of the counter for this transaction; polls, and raises 55P03 after twelve seconds, or 42704 if the counter
/// was dropped meanwhile. Requires: the extension owner's rights.
void lock_progress_creation(const Counter& counter);

/// Puts retired partitions from `first` to `last` of its topic back where they were, under the next epoch and without an owner, for a group
/// (null: the one they had). Requires: lock_progress_creation.
void restore_retired_rows(const ProgressKey& first, std::int32_t last, const char* group_id);

}  // namespace topk
