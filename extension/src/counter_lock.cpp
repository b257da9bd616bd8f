// The private lock tag.
#include "counter_lock.h"

namespace topk {

namespace {

// pg_advisory_lock uses 1 and 2 here; this keeps our tags out of every user's reach.
constexpr std::uint16_t kPrivateClass = 0x544b;

LockAcquireResult acquire(Oid key, LockPurpose purpose, LOCKMODE mode, bool no_wait) {
    LOCKTAG tag;
    SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, key, static_cast<std::uint32_t>(purpose), kPrivateClass);
    return LockAcquire(&tag, mode, false, no_wait);
}

}  // namespace

void lock_counter(Oid key, LockPurpose purpose, LOCKMODE mode) {
    acquire(key, purpose, mode, false);
}

bool try_lock_counter(Oid key, LockPurpose purpose, LOCKMODE mode) {
    return acquire(key, purpose, mode, true) != LOCKACQUIRE_NOT_AVAIL;
}

}  // namespace topk
