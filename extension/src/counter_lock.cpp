// The private lock tag.
#include "counter_lock.h"

namespace topk {

namespace {

LockAcquireResult acquire(Oid key, LockPurpose purpose, LOCKMODE mode, bool no_wait) {
    LOCKTAG tag;
    SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, key, static_cast<std::uint32_t>(purpose), kPrivateClass);
    return LockAcquire(&tag, mode, false, no_wait);
}

constexpr int kLongestWaitMs = 10000;

}  // namespace

void lock_counter(Oid key, LockPurpose purpose, LOCKMODE mode) {
    acquire(key, purpose, mode, false);
}

int bounded_wait_ms() {
    return LockTimeout > 0 ? std::min(LockTimeout, kLongestWaitMs) : kLongestWaitMs;
}

void refuse_locked_row(const char* counter_name, int waited_ms) {
    ereport(ERROR, (errcode(ERRCODE_LOCK_NOT_AVAILABLE), errmsg("could not lock the registry row of counter \"%s\"", counter_name),
                    errdetail("A change of the counter has been in flight for %d ms.", waited_ms),
                    errhint("Look for an open transaction in pg_locks and pg_stat_activity, and try again.")));
    pg_unreachable();
}

void lock_seal(Oid hour_table, const char* counter_name, LOCKMODE mode) {
    const auto refuse = [&](int waited_ms) {
        ereport(ERROR, (errcode(ERRCODE_LOCK_NOT_AVAILABLE), errmsg("could not lock the frontier of counter \"%s\"", counter_name),
                        errdetail("A flush, or another change of the frontier, has been in flight for %d ms.", waited_ms),
                        errhint("Look for it in pg_locks, and try again. A claim ends a client that stopped in the middle of a flush.")));
    };
    with_bounded_wait([&] { lock_counter(hour_table, LockPurpose::kSeal, mode); }, refuse);
}

bool try_lock_counter(Oid key, LockPurpose purpose, LOCKMODE mode) {
    return acquire(key, purpose, mode, true) != LOCKACQUIRE_NOT_AVAIL;
}

}  // namespace topk
