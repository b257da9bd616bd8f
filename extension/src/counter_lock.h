// Heavyweight locks of the advisory class under a private tag, held until the transaction ends.
// Order, for whoever takes several: registry row -> progress (creation) -> progress rows by (topic, partition) -> roll-up markers (day,
// month, all time) -> seal -> partitions -> table locks. Lists, expiry and prepared sums are taken if they are free: nobody waits for them.
// The queue of a heavyweight lock is fair: a sealer is not starved by a stream of flushes, as with row share locks.
#pragma once

#include "pg.h"

namespace topk {

/// Field 4 of our tags. pg_advisory_lock uses 1 and 2 there; this keeps our tags out of every user's reach.
constexpr std::uint16_t kPrivateClass = 0x544b;

/// What a lock of ours protects. Part of the lock's tag: never renumber while servers run.
enum class LockPurpose : std::uint32_t {
    kSeal = 1,          ///< the frontier: shared by flushes, exclusive for who moves it
    kPartitions = 2,    ///< creation of partitions of one counter
    kProgress = 3,      ///< creation of progress rows of one counter, and which group it has
    kName = 4,          ///< creation of a counter; the key is a hash of the name, not a table
    kLists = 6,         ///< who makes the lists of one counter
    kExpiry = 7,        ///< who takes away what expired of one counter: taken only if it is free
    kPreparedSums = 8,  ///< who prepares sums of one counter: taken only if it is free
};

/// Waits for the lock. key is the hour table, except for kName.
void lock_counter(Oid key, LockPurpose purpose, LOCKMODE mode);
/// How long to wait where others queue behind who waits: ten seconds, or the session's lock_timeout if that is less.
int bounded_wait_ms();
/// Runs body with that lock_timeout; where a lock is not had by then, refuse(milliseconds) raises the error that says which.
template <typename Body, typename Refuse>
void with_bounded_wait(Body&& body, Refuse&& refuse) {
    survives_longjmp<std::remove_reference_t<Body>>();
    survives_longjmp<std::remove_reference_t<Refuse>>();
    const MemoryContext caller = CurrentMemoryContext;
    // volatile: read after a longjmp.
    const volatile int wait_ms = bounded_wait_ms();
    const int nest_level = NewGUCNestLevel();
    set_config_option("lock_timeout", psprintf("%d", wait_ms), PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
    PG_TRY();
    { body(); }
    PG_CATCH();
    {
        if (geterrcode() != ERRCODE_LOCK_NOT_AVAILABLE) PG_RE_THROW();
        MemoryContextSwitchTo(caller);
        FlushErrorState();
        refuse(wait_ms);
    }
    PG_END_TRY();
    AtEOXact_GUC(false, nest_level);
}
/// Raises 55P03: somebody kept the registry's row of the counter that long.
[[noreturn]] void refuse_locked_row(const char* counter_name, int waited_ms);
/// Runs body, which locks or changes the registry's row of the counter: a client that did so and stopped keeps it from nobody without end.
template <typename Body>
void with_bounded_row_wait(const char* counter_name, Body&& body) {
    with_bounded_wait(body, [&](int waited_ms) { refuse_locked_row(counter_name, waited_ms); });
}
/// Takes the seal lock, exclusively: flushes queue behind who waits for it, so nobody does without end, for a client that stopped in the
/// middle of a flush keeps it until its partition is claimed. Or shared, against who moves the frontier or corrects. Failure: 55P03, naming
/// the counter, after ten seconds or the caller's lock_timeout.
void lock_seal(Oid hour_table, const char* counter_name, LOCKMODE mode = ExclusiveLock);
/// Takes the lock if it is free.
bool try_lock_counter(Oid key, LockPurpose purpose, LOCKMODE mode);

}  // namespace topk
