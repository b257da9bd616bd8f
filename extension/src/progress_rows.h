// Progress rows under contention: creating them, and locking one that a stopped client may hold.
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

/// Takes LockPurpose::kProgress of the counter for this transaction; polls, and raises 55P03 after twelve seconds.
void lock_progress_creation(const Counter& counter);

}  // namespace topk
