// The private lock tag.
#include "counter_lock.h"

namespace topk {

namespace {

LockAcquireResult acquire(Oid key, LockPurpose purpose, LOCKMODE mode, bool no_wait) {
    LOCKTAG tag;
    SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, key, static_cast<std::uint32_t>(purpose), kPrivateClass);
    return LockAcquire(&tag, mode, false, no_wait);
}

constexpr int kSealWaitMs = 10000;

}  // namespace

void lock_counter(Oid key, LockPurpose purpose, LOCKMODE mode) {
    acquire(key, purpose, mode, false);
}

int seal_wait_ms() {
    return LockTimeout > 0 ? std::min(LockTimeout, kSealWaitMs) : kSealWaitMs;
}

void lock_seal(Oid hour_table, const char* counter_name) {
    const MemoryContext caller = CurrentMemoryContext;
    // volatile: read after a longjmp.
    const volatile int wait_ms = seal_wait_ms();
    const int nest_level = NewGUCNestLevel();
    set_config_option("lock_timeout", psprintf("%d", wait_ms), PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
    PG_TRY();
    { lock_counter(hour_table, LockPurpose::kSeal, ExclusiveLock); }
    PG_CATCH();
    {
        if (geterrcode() != ERRCODE_LOCK_NOT_AVAILABLE) PG_RE_THROW();
        MemoryContextSwitchTo(caller);
        FlushErrorState();
        ereport(ERROR, (errcode(ERRCODE_LOCK_NOT_AVAILABLE), errmsg("could not lock the frontier of counter \"%s\"", counter_name),
                        errdetail("A flush, or another change of the frontier, has been in flight for %d ms.", wait_ms),
                        errhint("Look for it in pg_locks, and try again. A claim ends a client that stopped in the middle of a flush.")));
    }
    PG_END_TRY();
    AtEOXact_GUC(false, nest_level);
}

bool try_lock_counter(Oid key, LockPurpose purpose, LOCKMODE mode) {
    return acquire(key, purpose, mode, true) != LOCKACQUIRE_NOT_AVAIL;
}

}  // namespace topk
