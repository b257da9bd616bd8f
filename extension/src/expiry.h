// What the three parts of topk.expire_step share: how far expiry has come, who does it, and who may.
//   topk.advance_expiry (expire.cpp) moves the frontiers; topk.delete_expired (expire_rows.cpp) and topk.drop_expired_hours
// (expire_hours.cpp) take away what lies before them, in later transactions. So whoever could miss a row knows from the frontier in his
// snapshot that it expired: rows are deleted as any are, and a partition is dropped when no snapshot is left that is older than the
// frontier it lies before. Locks: the registry row (shared, or to move a frontier), then the counter's expiry, if it is free; a partition's
// in the usual order. Nobody waits for a lock while holding rows that others want: rows in use are left for the next step.
#pragma once

#include "arguments.h"
#include "counter.h"

namespace topk {

/// Of a counter's expiry, by its registry row.
struct ExpiryFrontiers {
    TimestampTz hours;  ///< hours_expired_through
    TimestampTz days;
    TimestampTz hours_until;  ///< what is older may expire
    TimestampTz days_until;
    bool has_mover;
    FullTransactionId mover;  ///< of `hours`
    bool are_overdue;         ///< hours, by now
    TimestampTz late_until;   ///< late views and dead letters that are older expire
    bool was_refused;         ///< somebody kept a table that was to be dropped, a moment ago
};

/// Requires: the extension owner's rights.
ExpiryFrontiers read_expiry_frontiers(const Counter& counter);

/// True if every snapshot that is in use, or may come, sees the last move of the hours' frontier. Requires: the extension owner's rights.
bool is_seen_by_all(const ExpiryFrontiers& frontiers);

/// False if somebody else expires the counter: he does it all. Keeps the counter from being dropped. Requires: the extension owner's
/// rights.
bool begin_expiry(const Counter& counter);

/// Runs body(counter) if the caller may administer the counter that the first argument names.
template <typename Body>
void administer_expiry(FunctionCallInfo fcinfo, Body&& body) {
    survives_longjmp<std::remove_reference_t<Body>>();
    require_read_committed("topk.expire");
    const char* name = text_argument(fcinfo, 0, "counter");
    with_spi([&] {
        const Counter counter = find_counter(name, Snapshot::kFresh);
        require_access(counter, {"admin"}, Snapshot::kFresh);
        refuse_forced_policies(counter, "Rows expire with the owner's rights; the policies could hide them.");
        body(counter);
    });
}

}  // namespace topk
