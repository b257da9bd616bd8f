// Hash functions of cross-type pairs that core's hash families lack: hash_<right>_as_<left> hashes a constant of the right type to
// what the equal value of the left type hashes to. A constant that no value of the left type equals may hash to anything.
// A pair is here only if at most one left value equals a constant. That is not so for a timestamptz constant: a change of the
// clock can give one instant to two local times.
#include "../pg.h"

namespace topk {

namespace {

Datum timestamp_hash(Timestamp value, Datum seed) {
    return DirectFunctionCall2(timestamp_hash_extended, TimestampGetDatum(value), seed);
}

}  // namespace

// The conversions below are those of the comparisons (date_cmp_timestamp and so on). What overflows equals no value of the left type.

TOPK_SQL_FUNCTION(topk_hash_date_as_timestamp) {
    int overflow;
    PG_RETURN_DATUM(timestamp_hash(date2timestamp_opt_overflow(PG_GETARG_DATEADT(0), &overflow), PG_GETARG_DATUM(1)));
}

TOPK_SQL_FUNCTION(topk_hash_date_as_timestamptz) {
    int overflow;
    PG_RETURN_DATUM(timestamp_hash(date2timestamptz_opt_overflow(PG_GETARG_DATEADT(0), &overflow), PG_GETARG_DATUM(1)));
}

TOPK_SQL_FUNCTION(topk_hash_timestamp_as_timestamptz) {
    int overflow;
    PG_RETURN_DATUM(timestamp_hash(timestamp2timestamptz_opt_overflow(PG_GETARG_TIMESTAMP(0), &overflow), PG_GETARG_DATUM(1)));
}

TOPK_SQL_FUNCTION(topk_hash_timestamp_as_date) {
    const Timestamp value = PG_GETARG_TIMESTAMP(0);
    DateADT date;
    if (TIMESTAMP_IS_NOBEGIN(value)) {
        DATE_NOBEGIN(date);
    } else if (TIMESTAMP_IS_NOEND(value)) {
        DATE_NOEND(date);
    } else {
        // Both count from 2000-01-01. A time of day is cut off: such a constant equals no date.
        date = static_cast<DateADT>(value / USECS_PER_DAY);
    }
    PG_RETURN_DATUM(DirectFunctionCall2(hashint4extended, DateADTGetDatum(date), PG_GETARG_DATUM(1)));
}

// For name itself as well: core's hashnameextended hashes bytes whatever the collation, so a name would not hash as the equal
// text, nor as the equal name, where the collation is not deterministic.
TOPK_SQL_FUNCTION(topk_hash_name) {
    const Name value = PG_GETARG_NAME(0);
    struct {
        std::int32_t header;
        char data[NAMEDATALEN];
    } text;
    const std::size_t length = strlen(NameStr(*value));
    SET_VARSIZE(&text, VARHDRSZ + length);
    memcpy(text.data, NameStr(*value), length);
    PG_RETURN_DATUM(DirectFunctionCall2Coll(hashtextextended, PG_GET_COLLATION(), PointerGetDatum(&text), PG_GETARG_DATUM(1)));
}

}  // namespace topk
