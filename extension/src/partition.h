// Day partitions of the hour table, made by maintenance two days ahead, or when the first hour of a day is flushed.
#pragma once

#include "counter.h"
#include "hours.h"
#include "pg.h"

namespace topk {

/// True if a partition of the counter's hour table takes rows of this instant. A relation cache look-up.
/// Failure: 55000 if the table was dropped, or is not partitioned as create_counter does it.
bool has_partition(const Counter& counter, TimestampTz start);

/// Makes the partition for the day of an hour unless there is one by now, and stores the day's hours in topk.hour_map.
/// The partition is made standalone and then attached: readers and writers of other partitions are not held up.
/// Takes LockPurpose::kPartitions until the transaction ends. Requires: SPI connected, no row of this hour written yet.
/// Failure: 22023 if no hour of the counter begins at start; 55000 if it has expired.
void create_partition(const Counter& counter, TimestampTz start);

/// The same for who may keep flushes waiting meanwhile, by this lock or another: ten seconds at most for each lock, or the session's
/// lock_timeout. Failure: 55P03, too.
void create_partition_in_time(const Counter& counter, TimestampTz start);

/// Stores the hours of every partition that is there, of a table which came with its partitions: from a dump of the owner's
/// tables alone, for one. Those of partitions without bounds, or of more than a year, are left out. Requires: SPI connected.
void store_hours_of_partitions(const Counter& counter);

}  // namespace topk
