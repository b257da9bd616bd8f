// Summing and storing.
#include "hour_book.h"

namespace topk {

namespace {

Statement book_statement = {
    "INSERT INTO topk.hour_book_data AS b"
    "  (counter, topic, partition, hour_start, views, late_views, late_records, late_in_day, late_in_month)"
    " SELECT $1, $2, $3, h.* FROM unnest($4, $5, $6, $7, $8, $9) h"
    " ON CONFLICT (counter, hour_start, topic, partition) DO UPDATE SET views = b.views + EXCLUDED.views,"
    "  late_views = b.late_views + EXCLUDED.late_views, late_records = b.late_records + EXCLUDED.late_records,"
    "  late_in_day = b.late_in_day + EXCLUDED.late_in_day, late_in_month = b.late_in_month + EXCLUDED.late_in_month",
    CURSOR_OPT_GENERIC_PLAN};

Argument column(std::span<const BookHour> hours, std::int64_t BookHour::*member, Oid array, Oid element) {
    static_assert(sizeof(TimestampTz) == sizeof(std::int64_t));
    auto* values = static_cast<Datum*>(palloc(hours.size() * sizeof(Datum)));
    std::transform(hours.begin(), hours.end(), values, [member](const BookHour& hour) { return Int64GetDatum(hour.*member); });
    return {array, PointerGetDatum(construct_array(values, static_cast<int>(hours.size()), element, sizeof(std::int64_t), FLOAT8PASSBYVAL,
                                                   TYPALIGN_DOUBLE))};
}

}  // namespace

void add_views(TimestampTz hour, std::int64_t* sum, std::int64_t views) {
    if (pg_add_s64_overflow(*sum, views, sum))
        ereport(ERROR,
                (errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE), errmsg("the views of hour %s exceed bigint", timestamptz_to_str(hour))));
}

std::span<BookHour> merge_hours(std::span<const BookHour> left, std::span<const BookHour> right) {
    const std::size_t size = left.size() + right.size();
    auto* hours = static_cast<BookHour*>(palloc(size * sizeof(BookHour) + 1));
    std::copy(right.begin(), right.end(), std::copy(left.begin(), left.end(), hours));
    std::sort(hours, hours + size, [](const BookHour& a, const BookHour& b) { return a.start < b.start; });
    std::size_t count = 0;
    for (const BookHour& hour : std::span(hours, size)) {
        if (count == 0 || hours[count - 1].start != hour.start) {
            hours[count++] = hour;
            continue;
        }
        BookHour* into = &hours[count - 1];
        add_views(hour.start, &into->views, hour.views);
        add_views(hour.start, &into->late_views, hour.late_views);
        add_views(hour.start, &into->late_records, hour.late_records);
    }
    return {hours, count};
}

void write_hour_book(const Counter& counter, const char* topic, std::int32_t partition, std::span<const BookHour> hours) {
    if (hours.empty()) return;
    const auto sums = [&](std::int64_t BookHour::*member) { return column(hours, member, INT8ARRAYOID, INT8OID); };
    run(book_statement,
        {text_value(counter.name), text_value(topic), int4_value(partition),
         column(hours, &BookHour::start, TIMESTAMPTZARRAYOID, TIMESTAMPTZOID), sums(&BookHour::views), sums(&BookHour::late_views),
         sums(&BookHour::late_records), sums(&BookHour::late_in_day), sums(&BookHour::late_in_month)},
        Snapshot::kFresh);
}

}  // namespace topk
