// Argument checks shared by the SQL functions.
#include "arguments.h"

namespace topk {

void require_argument(FunctionCallInfo fcinfo, int index, const char* name) {
    if (PG_ARGISNULL(index)) ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("argument \"%s\" must not be null", name)));
}

char* text_argument(FunctionCallInfo fcinfo, int index, const char* name) {
    require_argument(fcinfo, index, name);
    return text_to_cstring(PG_GETARG_TEXT_PP(index));
}

char* nonempty_text_argument(FunctionCallInfo fcinfo, int index, const char* name) {
    char* value = text_argument(fcinfo, index, name);
    if (value[0] == '\0') ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("argument \"%s\" must not be empty", name)));
    return value;
}

Bytes bytes_argument(FunctionCallInfo fcinfo, int index) {
    const bytea* value = PG_GETARG_BYTEA_PP(index);
    return {reinterpret_cast<const std::uint8_t*>(VARDATA_ANY(value)), VARSIZE_ANY_EXHDR(value)};
}

TimestampTz instant_argument(FunctionCallInfo fcinfo, int index, const char* name) {
    require_argument(fcinfo, index, name);
    const TimestampTz value = PG_GETARG_TIMESTAMPTZ(index);
    if (TIMESTAMP_NOT_FINITE(value))
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("argument \"%s\" must be finite", name)));
    return value;
}

DeltaSummary check_deltas(Bytes deltas) {
    DeltaReader reader(deltas);
    DeltaSummary summary = {};
    DeltaHour hour;
    DeltaEntry entry;
    while (reader.next_hour(&hour)) {
        CHECK_FOR_INTERRUPTS();
        if (hour.start_ms < kFirstMs || hour.start_ms >= kEndMs)
            ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("deltas are malformed: an hour is not of the years 1 to 9999"),
                            errdetail("The hour starts %lld ms after 1970-01-01 UTC.", static_cast<long long>(hour.start_ms))));
        while (reader.next_entry(&entry)) ++summary.entries;
        ++summary.hours;
    }
    if (reader.fault() != nullptr)
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("deltas are malformed: %s", reader.fault()),
                        errdetail("The fault is at byte %zu of %zu.", reader.fault_offset(), deltas.size())));
    return summary;
}

void require_utf8_database() {
    if (GetDatabaseEncoding() != PG_UTF8)
        ereport(ERROR,
                (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("database encoding %s is not supported", GetDatabaseEncodingName()),
                 errdetail("Video ids are UTF-8 and stored as they come."), errhint("Create the database with ENCODING 'UTF8'.")));
}

void require_read_committed(const char* function) {
    if (XactIsoLevel != XACT_READ_COMMITTED)
        ereport(ERROR, (errcode(ERRCODE_ACTIVE_SQL_TRANSACTION), errmsg("%s must run at isolation level read committed", function),
                        errhint("Set default_transaction_isolation to 'read committed' when connecting.")));
}

}  // namespace topk
