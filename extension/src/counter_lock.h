// Heavyweight locks of the advisory class under a private tag, held until the transaction ends.
// Order, for whoever takes several: registry row -> progress (creation) -> progress rows by (topic, partition) -> seal ->
// partitions -> table locks.
// The queue of a heavyweight lock is fair: a sealer is not starved by a stream of flushes, as with row share locks.
#pragma once

#include "pg.h"

namespace topk {

/// Field 4 of our tags. pg_advisory_lock uses 1 and 2 there; this keeps our tags out of every user's reach.
constexpr std::uint16_t kPrivateClass = 0x544b;

/// What a lock of ours protects. Part of the lock's tag: never renumber while servers run.
enum class LockPurpose : std::uint32_t {
    kSeal = 1,        ///< the frontier: shared by flushes, exclusive for who moves it
    kPartitions = 2,  ///< creation of partitions of one counter
    kProgress = 3,    ///< creation of progress rows of one counter, and which group it has
    kName = 4,        ///< creation of a counter; the key is a hash of the name, not a table
};

/// Waits for the lock. key is the hour table, except for kName.
void lock_counter(Oid key, LockPurpose purpose, LOCKMODE mode);
/// How long lock_seal waits: ten seconds, or the session's lock_timeout if that is less.
int seal_wait_ms();
/// Takes the seal lock exclusively. Flushes queue behind who waits for it, so nobody does without end: a client that stopped in the middle
/// of a flush keeps it until its partition is claimed. Failure: 55P03, naming the counter, after ten seconds or the caller's lock_timeout.
void lock_seal(Oid hour_table, const char* counter_name);
/// Takes the lock if it is free.
bool try_lock_counter(Oid key, LockPurpose purpose, LOCKMODE mode);

}  // namespace topk
