// Checks of late[], dead[] and progress[].
#include "flush_arguments.h"

#include "arguments.h"

namespace topk {

namespace {

// Positions in the composite types of topk--1.0.sql.
enum LateField { kLateHour, kLateVideo, kLateViews, kLateRecords, kLateFields };
enum DeadField { kDeadPartition, kDeadOffset, kDeadTimestamp, kDeadReason, kDeadKey, kDeadPayload, kDeadFields };
enum ProgressField {
    kPartition,
    kEpoch,
    kFrom,
    kTo,
    kLastOffset,
    kLastTimestamp,
    kLastCrc,
    kWatermark,
    kCounted,
    kLate,
    kDead,
    kSkipped,
    kProgressFields
};
constexpr int kMaxFields = 12;
static_assert(kLateFields <= kMaxFields && kDeadFields <= kMaxFields && kProgressFields == kMaxFields);

/// Where an argument is at fault, for messages.
struct Place {
    const char* array;
    std::size_t index;  ///< from 1, as in SQL
};

[[noreturn]] void refuse(const Place& place, const char* what) {
    ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("%s[%zu]: %s", place.array, place.index, what)));
    pg_unreachable();
}

/// The fields of one element of an array of a composite type.
struct Fields {
    Datum values[kMaxFields];
    bool nulls[kMaxFields];
    Place place;

    void require(int field, const char* name) const {
        if (nulls[field]) refuse(place, psprintf("%s must not be null", name));
    }
    std::int64_t int8(int field, const char* name) const {
        require(field, name);
        return DatumGetInt64(values[field]);
    }
    std::int64_t at_least(int field, const char* name, std::int64_t least) const {
        const std::int64_t value = int8(field, name);
        if (value < least) refuse(place, psprintf("%s must not be less than " INT64_FORMAT, name, least));
        return value;
    }
    std::int32_t partition(int field) const {
        require(field, "partition");
        const std::int32_t value = DatumGetInt32(values[field]);
        if (value < 0) refuse(place, "partition must not be negative");
        return value;
    }
};

/// Calls visit(fields) for each element; returns their number. Raises 22023 for NULL elements and more dimensions.
template <typename Visit>
std::size_t for_each_element(ArrayType* array, const char* name, Visit&& visit) {
    survives_longjmp<std::remove_reference_t<Visit>>();
    if (ARR_NDIM(array) > 1)
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("argument \"%s\" must have one dimension", name)));
    Datum* elements;
    bool* nulls;
    int count;
    deconstruct_array(array, ARR_ELEMTYPE(array), -1, false, TYPALIGN_DOUBLE, &elements, &nulls, &count);
    TupleDesc descriptor = lookup_rowtype_tupdesc_copy(ARR_ELEMTYPE(array), -1);
    for (int i = 0; i < count; ++i) {
        CHECK_FOR_INTERRUPTS();
        Fields fields;
        fields.place = {name, static_cast<std::size_t>(i) + 1};
        if (nulls[i]) refuse(fields.place, "the element must not be null");
        HeapTupleHeader header = DatumGetHeapTupleHeader(elements[i]);
        HeapTupleData tuple = {};
        tuple.t_len = HeapTupleHeaderGetDatumLength(header);
        tuple.t_data = header;
        heap_deform_tuple(&tuple, descriptor, fields.values, fields.nulls);
        visit(static_cast<const Fields&>(fields));
    }
    return static_cast<std::size_t>(count);
}

Bytes text_bytes(Datum value) {
    const text* detoasted = DatumGetTextPP(value);
    return {reinterpret_cast<const std::uint8_t*>(VARDATA_ANY(detoasted)), VARSIZE_ANY_EXHDR(detoasted)};
}

void read_deltas(FunctionCallInfo fcinfo, FlushArguments* flush) {
    require_argument(fcinfo, 2, "deltas");
    flush->deltas = PointerGetDatum(PG_GETARG_BYTEA_PP(2));
    flush->delta_bytes = bytes_argument(fcinfo, 2);
    const DeltaSummary summary = check_deltas(flush->delta_bytes);
    flush->delta_entries = summary.entries;
    auto* hours = static_cast<TimestampTz*>(palloc(summary.hours * sizeof(TimestampTz) + 1));
    auto* book = static_cast<BookHour*>(palloc(summary.hours * sizeof(BookHour) + 1));
    DeltaReader reader(flush->delta_bytes);
    DeltaHour hour;
    DeltaEntry entry;
    for (std::size_t i = 0; reader.next_hour(&hour); ++i) {
        hours[i] = hour.start_ms * 1000 - kUnixEpochOffsetMicros;
        book[i] = {hours[i], 0, 0, 0, 0, 0};
        while (reader.next_entry(&entry)) add_views(hours[i], &book[i].views, entry.views);
    }
    flush->delta_hours = {hours, summary.hours};
    flush->book = {book, summary.hours};
}

/// Any later one is cut to the clock. From an earlier one not every lateness could be taken.
void check_watermark(const Place& place, TimestampTz watermark) {
    if (TIMESTAMP_IS_NOEND(watermark)) refuse(place, "watermark must not be infinity");
    if (!TIMESTAMP_IS_NOBEGIN(watermark) && watermark < kFirstMs * 1000 - kUnixEpochOffsetMicros)
        refuse(place, "watermark must not be before the year 1");
}

void read_progress(FunctionCallInfo fcinfo, FlushArguments* flush) {
    require_argument(fcinfo, 5, "progress");
    ArrayType* array = PG_GETARG_ARRAYTYPE_P(5);
    flush->progress = PointerGetDatum(array);
    const int capacity = ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array));
    if (capacity == 0) ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("argument \"progress\" must not be empty")));
    auto* partitions = static_cast<Progress*>(palloc(static_cast<std::size_t>(capacity) * sizeof(Progress)));
    std::size_t count = 0;
    for_each_element(array, "progress", [&](const Fields& fields) {
        const Progress progress = {fields.partition(kPartition), fields.at_least(kEpoch, "epoch", 0),
                                   fields.at_least(kFrom, "from_offset", 0), fields.int8(kTo, "to_offset")};
        if (count > 0 && progress.partition <= partitions[count - 1].partition) refuse(fields.place, "partitions do not ascend");
        if (progress.to_offset < progress.from_offset) refuse(fields.place, "to_offset is less than from_offset");
        if (fields.nulls[kLastOffset] != fields.nulls[kLastTimestamp] || fields.nulls[kLastOffset] != fields.nulls[kLastCrc])
            refuse(fields.place, "last_offset, last_timestamp_ms and last_crc must be null together");
        if (!fields.nulls[kLastOffset]) {
            const std::int64_t last = fields.int8(kLastOffset, "last_offset");
            if (last < progress.from_offset || last >= progress.to_offset)
                refuse(fields.place, "last_offset is not in [from_offset, to_offset)");
            if (fields.at_least(kLastCrc, "last_crc", 0) > PG_UINT32_MAX) refuse(fields.place, "last_crc exceeds 32 bits");
        }
        if (!fields.nulls[kWatermark]) check_watermark(fields.place, DatumGetTimestampTz(fields.values[kWatermark]));
        fields.at_least(kCounted, "counted", 0);
        fields.at_least(kLate, "late", 0);
        fields.at_least(kDead, "dead", 0);
        fields.at_least(kSkipped, "skipped", 0);
        partitions[count++] = progress;
    });
    flush->partitions = {partitions, count};
}

void read_late(FunctionCallInfo fcinfo, FlushArguments* flush) {
    if (PG_ARGISNULL(3)) return;
    ArrayType* array = PG_GETARG_ARRAYTYPE_P(3);
    flush->late = PointerGetDatum(array);
    const auto capacity = static_cast<std::size_t>(ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array)));
    auto* hours = static_cast<TimestampTz*>(palloc(capacity * sizeof(TimestampTz) + 1));
    auto* book = static_cast<BookHour*>(palloc(capacity * sizeof(BookHour) + 1));
    std::size_t count = 0;
    for_each_element(array, "late", [&](const Fields& fields) {
        fields.require(kLateHour, "hour_start");
        const TimestampTz hour = DatumGetTimestampTz(fields.values[kLateHour]);
        if (TIMESTAMP_NOT_FINITE(hour)) refuse(fields.place, "hour_start must be finite");
        fields.require(kLateVideo, "video_id");
        const std::size_t length = text_bytes(fields.values[kLateVideo]).size();
        if (length == 0 || length > kMaxVideoIdBytes) refuse(fields.place, "video_id is not 1 to 256 bytes long");
        book[count] = {hour, 0, fields.at_least(kLateViews, "views", 1), fields.at_least(kLateRecords, "records", 1), 0, 0};
        hours[count++] = hour;
    });
    flush->book = merge_hours(flush->book, {book, count});
    std::sort(hours, hours + count);
    flush->late_hours = {hours, std::unique(hours, hours + count)};
}

void read_dead(FunctionCallInfo fcinfo, FlushArguments* flush) {
    if (PG_ARGISNULL(4)) return;
    ArrayType* array = PG_GETARG_ARRAYTYPE_P(4);
    flush->dead = PointerGetDatum(array);
    flush->dead_count = for_each_element(array, "dead", [&](const Fields& fields) {
        const std::int32_t partition = fields.partition(kDeadPartition);
        const std::int64_t offset = fields.int8(kDeadOffset, "offset");
        const auto found = std::lower_bound(flush->partitions.begin(), flush->partitions.end(), partition,
                                            [](const Progress& progress, std::int32_t wanted) { return progress.partition < wanted; });
        if (found == flush->partitions.end() || found->partition != partition) refuse(fields.place, "its partition is not in progress");
        if (offset < found->from_offset || offset >= found->to_offset)
            refuse(fields.place, "its offset is not in [from_offset, to_offset) of its partition");
        fields.require(kDeadReason, "reason");
        if (text_bytes(fields.values[kDeadReason]).empty()) refuse(fields.place, "reason must not be empty");
        if (!fields.nulls[kDeadPayload] && text_bytes(fields.values[kDeadPayload]).size() > kMaxDeadPayloadBytes)
            refuse(fields.place, "payload exceeds 4096 bytes");
    });
}

}  // namespace

FlushArguments read_flush_arguments(FunctionCallInfo fcinfo) {
    FlushArguments flush = {};
    flush.counter = nonempty_text_argument(fcinfo, 0, "counter");
    flush.topic = nonempty_text_argument(fcinfo, 1, "topic");
    read_deltas(fcinfo, &flush);
    read_progress(fcinfo, &flush);
    read_late(fcinfo, &flush);
    read_dead(fcinfo, &flush);
    return flush;
}

}  // namespace topk
