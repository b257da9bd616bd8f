// Creation of day partitions: for a flush, for an operator, and ahead of time by maintenance.
#include "partition.h"

#include "arguments.h"
#include "calendar.h"
#include "counter_lock.h"
#include "cover.h"
#include "hour_list.h"

namespace topk {

namespace {

/// Nobody means hours by more, and all of them are in memory.
constexpr TimestampTz kLongest = 366 * USECS_PER_DAY;
// Time for an operator to notice that maintenance fails.
constexpr int kDaysAhead = 2;

Statement store_hours_statement = {
    "INSERT INTO topk.hour_map (counter, hour_start, hour_end, day_start, month_start)"
    " SELECT $1, h.* FROM unnest($2, $3, $4, $5) h"
    " ON CONFLICT (counter, hour_start) DO NOTHING"};

/// The hours of the partition: those around `start` with its day that come from the same source. Stored and computed
/// hours never share a partition, since the one of the stored hours may exist already.
Hours partition_hours(const Counter& counter, TimestampTz start) {
    constexpr std::int64_t kReach = 2 * USECS_PER_DAY;
    const Hours hours = load_hours(counter, start - kReach, start + kReach, Snapshot::kFresh);
    const auto found = std::find_if(hours.begin(), hours.end(), [start](const Hour& hour) { return hour.start == start; });
    if (found == hours.end())
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                        errmsg("%s is not the start of an hour of counter \"%s\"", timestamptz_to_str(start), counter.name),
                        errdetail("The counter's time zone is %s.", counter.time_zone), errhint("Take the hours from topk.hours.")));
    const auto same = [&](const Hour& hour) { return hour.day_start == found->day_start && hour.stored == found->stored; };
    auto first = found;
    auto last = found + 1;
    while (first != hours.begin() && same(*(first - 1))) --first;
    while (last != hours.end() && same(*last)) ++last;
    return {first, last};
}

bool is_taken(const char* name, Oid schema) {
    return OidIsValid(get_relname_relid(name, schema)) ||
           SearchSysCacheExists2(TYPENAMENSP, CStringGetDatum(name), ObjectIdGetDatum(schema));
}

/// <name>_hour_YYYYMMDD; with _2, _3 ... where a change of time zone data left part of a day in a partition of that name,
/// or somebody else took the name (a table makes a type of its name, too).
char* partition_name(const Counter& counter, TimestampTz day_start) {
    const LocalDate date = local_date(counter.zone, seconds_from(day_start));
    const Oid schema = get_rel_namespace(counter.hour_table);
    char* const base = psprintf("%s_hour_%04d%02d%02d", counter.name, date.year, date.month, date.day);
    char* name = base;
    for (int copy = 2; is_taken(name, schema); ++copy) {
        CHECK_FOR_INTERRUPTS();
        name = psprintf("%s_%d", base, copy);
    }
    return name;
}

/// An instant, in whole seconds, as a literal that reads the same under every TimeZone and DateStyle.
char* literal(TimestampTz instant) {
    pg_tm parts;
    fsec_t fraction;
    if (timestamp2tm(instant, nullptr, &parts, &fraction, nullptr, nullptr) != 0)
        ereport(ERROR, (errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE), errmsg("timestamp out of range")));
    const bool before_christ = parts.tm_year <= 0;
    return psprintf("'%04d-%02d-%02d %02d:%02d:%02d+00%s'", before_christ ? 1 - parts.tm_year : parts.tm_year, parts.tm_mon, parts.tm_mday,
                    parts.tm_hour, parts.tm_min, parts.tm_sec, before_christ ? " BC" : "");
}

void attach_new_table(const Counter& counter, Hours hours) {
    const char* parent = table_name(counter, counter.hour_table);
    const char* schema = get_namespace_name(get_rel_namespace(counter.hour_table));
    const char* child = quote_qualified_identifier(schema, partition_name(counter, hours.front().day_start));
    run_utility(psprintf("CREATE TABLE %s (LIKE %s INCLUDING ALL) WITH (fillfactor = 70)", child, parent));
    run_utility(psprintf("ALTER TABLE %s ATTACH PARTITION %s FOR VALUES FROM (%s) TO (%s)", parent, child, literal(hours.front().start),
                         literal(hours.back().end)));
}

ArrayType* instants(Hours hours, TimestampTz Hour::*member) {
    auto* values = static_cast<Datum*>(palloc(hours.size() * sizeof(Datum)));
    std::transform(hours.begin(), hours.end(), values, [member](const Hour& hour) { return TimestampTzGetDatum(hour.*member); });
    return construct_array(values, static_cast<int>(hours.size()), TIMESTAMPTZOID, sizeof(TimestampTz), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE);
}

/// Enters hours into the map.
void store_hours(const Counter& counter, Hours hours) {
    if (hours.empty()) return;
    const auto column = [hours](TimestampTz Hour::*member) {
        return Argument{TIMESTAMPTZARRAYOID, PointerGetDatum(instants(hours, member))};
    };
    as_user(extension_owner(), [&] {
        run(store_hours_statement,
            {text_value(counter.name), column(&Hour::start), column(&Hour::end), column(&Hour::day_start), column(&Hour::month_start)},
            Snapshot::kFresh);
    });
}

/// Today's hours that are left, and those of the next two days.
Hours hours_ahead(const Counter& counter) {
    const TimestampTz now = GetCurrentTransactionStartTimestamp();
    TimestampTz end = now;
    for (int day = 0; day <= kDaysAhead; ++day) end = window_at(counter, Span::kDay, end, Snapshot::kFresh).end;
    return load_hours(counter, now, end, Snapshot::kFresh);
}

}  // namespace

bool has_partition(const Counter& counter, TimestampTz start) {
    return OidIsValid(partition_at(counter, start));
}

void create_partition(const Counter& counter, TimestampTz start) {
    lock_counter(counter.hour_table, LockPurpose::kPartitions, ExclusiveLock);
    // Whoever held the lock may have made the partition: forget what the caches knew, and read the map anew.
    AcceptInvalidationMessages();
    if (start < counter.hours_expired_through) refuse_expired_hour(counter, start);
    const Hours hours = partition_hours(counter, start);
    if (!has_partition(counter, start)) as_user(counter.owner, [&] { attach_new_table(counter, hours); });
    if (!hours.front().stored) store_hours(counter, hours);
}

void create_partition_in_time(const Counter& counter, TimestampTz start) {
    const auto refuse = [&](int waited_ms) {
        ereport(ERROR, (errcode(ERRCODE_LOCK_NOT_AVAILABLE),
                        errmsg("could not lock the hour table of counter \"%s\" in %d ms", counter.name, waited_ms),
                        errdetail("A partition for hour %s is to be made.", timestamptz_to_str(start)),
                        errhint("Try again. If that does not help, look in pg_locks for who keeps the table.")));
    };
    with_bounded_wait([&] { create_partition(counter, start); }, refuse);
}

void store_hours_of_partitions(const Counter& counter) {
    std::span<Partition> partitions;
    partitions_within(counter, DT_NOBEGIN, DT_NOEND, &partitions);
    for (const Partition& partition : partitions) {
        if (TIMESTAMP_NOT_FINITE(partition.start) || TIMESTAMP_NOT_FINITE(partition.end) || partition.end - partition.start > kLongest)
            continue;
        Hours hours = load_hours(counter, partition.start, partition.end, Snapshot::kFresh);
        // What begins before the partition, or goes on after it, is in two of them.
        if (!hours.empty() && hours.front().start < partition.start) hours = hours.subspan(1);
        if (!hours.empty() && hours.back().end > partition.end) hours = hours.first(hours.size() - 1);
        store_hours(counter, hours);
    }
}

TOPK_SQL_FUNCTION(topk_make_partitions) {
    const char* name = text_argument(fcinfo, 0, "counter");
    const TimestampTz since = instant_argument(fcinfo, 1, "since");
    const TimestampTz until = instant_argument(fcinfo, 2, "until");
    if (until < since || until - since > kLongest)
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                        errmsg("argument \"until\" must not be before \"since\", nor more than 366 days after it")));
    std::int32_t made = 0;
    with_spi([&] {
        const Counter counter = find_counter(name, Snapshot::kFresh);
        require_access(counter, {"admin"}, Snapshot::kFresh);
        for (const Hour& hour : load_hours(counter, since, until, Snapshot::kFresh)) {
            if (has_partition(counter, hour.start)) continue;
            create_partition_in_time(counter, hour.start);
            ++made;
        }
    });
    PG_RETURN_INT32(made);
}

TOPK_SQL_FUNCTION(topk_make_partition_ahead) {
    require_read_committed("topk.make_partition_ahead");
    const char* name = text_argument(fcinfo, 0, "counter");
    bool made = false;
    with_spi([&] {
        const Counter counter = find_counter(name, Snapshot::kFresh);
        require_access(counter, {"admin"}, Snapshot::kFresh);
        const Hours hours = hours_ahead(counter);
        const auto missing =
            std::find_if(hours.begin(), hours.end(), [&](const Hour& hour) { return !has_partition(counter, hour.start); });
        // Not while somebody makes partitions of the counter right now.
        made = missing != hours.end() && try_lock_counter(counter.hour_table, LockPurpose::kPartitions, ExclusiveLock);
        if (made) create_partition_in_time(counter, missing->start);
    });
    PG_RETURN_BOOL(made);
}

}  // namespace topk
