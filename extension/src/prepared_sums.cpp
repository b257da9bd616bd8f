// Finding and reading prepared sums.
#include "prepared_sums.h"

#include "registry_rows.h"

namespace topk {

namespace {

constexpr const char* kTable = "prepared_sum_data";

RowKey instant_key(AttrNumber column, StrategyNumber strategy, RegProcedure function, TimestampTz value) {
    return {column, strategy, function, InvalidOid, TimestampTzGetDatum(value)};
}

/// The elements of an array, copied: a small one lies in the table's page, which is let go when the row was read.
std::span<Datum> elements(Datum array, Oid type, int length, bool by_value, char align) {
    Datum* values;
    bool* nulls;
    int count;
    deconstruct_array(DatumGetArrayTypePCopy(array), type, length, by_value, align, &values, &nulls, &count);
    return {values, static_cast<std::size_t>(count)};
}

std::span<PreparedSum> sums_of(Datum video_ids, Datum views) {
    const std::span<Datum> ids = elements(video_ids, TEXTOID, -1, false, TYPALIGN_INT);
    const std::span<Datum> counts = elements(views, INT8OID, sizeof(std::int64_t), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE);
    if (ids.size() != counts.size()) elog(ERROR, "prepared sums have %zu video ids and %zu views", ids.size(), counts.size());
    auto* sums = static_cast<PreparedSum*>(palloc(std::max<std::size_t>(ids.size(), 1) * sizeof(PreparedSum)));
    for (std::size_t i = 0; i < ids.size(); ++i) {
        const text* id = DatumGetTextPP(ids[i]);
        sums[i] = {{VARDATA_ANY(id), VARSIZE_ANY_EXHDR(id)}, DatumGetInt64(counts[i])};
    }
    return {sums, ids.size()};
}

/// Visits the rows of hours since `since` that hold, those that reach furthest first, until visit returns true.
template <typename Visit>
bool visit_valid(const Counter& counter, TimestampTz since, TimestampTz until, Visit&& visit) {
    if (!has_registry_table(kTable)) return false;
    const RowKey from = instant_key(2, BTEqualStrategyNumber, F_TIMESTAMPTZ_EQ, since);
    const RowKey to = instant_key(3, BTLessEqualStrategyNumber, F_TIMESTAMPTZ_LE, std::min(until, counter.sealed_through));
    return read_registry_row(kTable, {text_key(1, counter.name), from, to}, [&](HeapTuple tuple, TupleDesc desc) {
        const TimestampTz end = DatumGetTimestampTz(registry_value(tuple, desc, "until"));
        const std::int64_t corrections = DatumGetInt64(registry_value(tuple, desc, "corrections"));
        return corrections == corrections_within(counter, since, end) && visit(tuple, desc, end);
    });
}

}  // namespace

std::int64_t corrections_within(const Counter& counter, TimestampTz since, TimestampTz until) {
    std::int64_t corrections = 0;
    const RowKey from = instant_key(3, BTGreaterEqualStrategyNumber, F_TIMESTAMPTZ_GE, since);
    const RowKey to = instant_key(3, BTLessStrategyNumber, F_TIMESTAMPTZ_LT, until);
    for (const char* span : {"hour", "day", "month"})
        read_registry_row("window_revision_data", {text_key(1, counter.name), text_key(2, span), from, to},
                          [&](HeapTuple tuple, TupleDesc desc) {
                              corrections += DatumGetInt32(registry_value(tuple, desc, "revision"));
                              return false;
                          });
    return corrections;
}

bool find_prepared_sums(const Counter& counter, TimestampTz since, TimestampTz until, PreparedSums* found) {
    return visit_valid(counter, since, until, [&](HeapTuple tuple, TupleDesc desc, TimestampTz end) {
        const std::span<PreparedSum> sums = sums_of(registry_value(tuple, desc, "video_ids"), registry_value(tuple, desc, "views"));
        *found = {since, end, DatumGetBool(registry_value(tuple, desc, "complete")), sums};
        return true;
    });
}

bool has_prepared_sums(const Counter& counter, TimestampTz since, TimestampTz until) {
    return visit_valid(counter, since, until, [&](HeapTuple, TupleDesc, TimestampTz end) { return end == until; });
}

}  // namespace topk
