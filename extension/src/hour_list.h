// The partitions of hours, and the list of one hour, straight from the topk index of its partition.
#pragma once

#include "counter.h"

namespace topk {

struct Ranked {
    char* video_id;
    std::int64_t views;
};

/// The partition of the hour table that holds the instant; InvalidOid if there is none. The table stays locked: it is not taken away.
Oid partition_at(const Counter& counter, TimestampTz instant);

struct Partition {
    Oid table;
    TimestampTz start;
    TimestampTz end;
};

/// The partitions of the hour table that overlap [start, end), ascending. palloc'ed. False if there is a default partition, too. Who reads
/// them locks the hour table himself, before.
bool partitions_within(const Counter& counter, TimestampTz start, TimestampTz end, std::span<Partition>* partitions);

/// Makes the session read anew which partitions there are. Snapshots see a transaction a moment before it tells other sessions to forget
/// what their caches hold: one can see the hours that were stored with a partition, and not find the partition.
void forget_partitions(const Counter& counter);

/// The start of the stored hour that contains the instant, in the caller's snapshot; false if no hour is stored there.
bool stored_hour_at(const Counter& counter, TimestampTz instant, TimestampTz* start);

/// The k greatest of an hour: views descending, then video id bytewise. palloc'ed. False if the partition has no fitting topk index.
/// Requires: an active snapshot, the caller's right to read the hour table checked, no row-level security.
bool read_hour_list(const Counter& counter, TimestampTz start, std::int32_t k, std::span<Ranked>* list);

}  // namespace topk
