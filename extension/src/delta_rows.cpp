// topk.delta_rows: the deltas of a flush as a table, in key order, for the upsert of topk.flush.
#include "arguments.h"
#include "delta.h"

namespace topk {

namespace {

TimestampTz timestamp_from_ms(std::int64_t ms) {
    return ms * 1000 - kUnixEpochOffsetMicros;
}

void put_row(const ReturnSetInfo* result, TimestampTz start, const DeltaEntry& entry) {
    Datum values[3] = {TimestampTzGetDatum(start), 0, Int64GetDatum(entry.views)};
    bool nulls[3] = {};
    // On the stack: a palloc an entry would cost as much as storing it.
    alignas(std::int32_t) char id[VARHDRSZ + kMaxVideoIdBytes];
    SET_VARSIZE(id, VARHDRSZ + entry.id.size());
    memcpy(VARDATA(id), entry.id.data(), entry.id.size());
    values[1] = PointerGetDatum(id);
    tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

}  // namespace

TOPK_SQL_FUNCTION(topk_delta_rows) {
    const Bytes deltas = bytes_argument(fcinfo, 0);
    const auto* result = reinterpret_cast<ReturnSetInfo*>(fcinfo->resultinfo);
    require_utf8_database();
    check_deltas(deltas);
    InitMaterializedSRF(fcinfo, 0);
    DeltaReader reader(deltas);
    DeltaHour hour;
    DeltaEntry entry;
    while (reader.next_hour(&hour)) {
        CHECK_FOR_INTERRUPTS();
        const TimestampTz start = timestamp_from_ms(hour.start_ms);
        while (reader.next_entry(&entry)) put_row(result, start, entry);
    }
    return 0;
}

}  // namespace topk
