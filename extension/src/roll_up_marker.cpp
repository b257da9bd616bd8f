// Reading and locking markers.
#include "roll_up_marker.h"

#include "counter_lock.h"
#include "registry_rows.h"

namespace topk {

namespace {

constexpr const char* kTable = "roll_up_marker";

Statement read_statement = {"SELECT span, window_start, video_id FROM topk.roll_up_marker WHERE counter = $1"};

// The rows are few and never move: they are locked in the order of the sort.
Statement lock_statement = {
    "SELECT span, window_start, video_id FROM topk.roll_up_marker WHERE counter = $1 AND span = ANY ($2)"
    " ORDER BY array_position('{day,month,all_time}', span::text) FOR NO KEY UPDATE"};

// The lock on the registry's row comes before those on markers, and keeps the counter from being dropped until they are committed.
Statement make_statement = {
    "WITH known AS MATERIALIZED (SELECT name FROM topk.counter_data WHERE name = $1 AND hour_table = $2 FOR KEY SHARE)"
    " INSERT INTO topk.roll_up_marker (counter, span) SELECT name, span FROM known, unnest('{day,month,all_time}'::text[]) span"
    " ON CONFLICT (counter, span) DO NOTHING"};

Markers no_markers() {
    Markers markers;
    std::fill(std::begin(markers.of), std::end(markers.of), Marker{DT_NOBEGIN, ""});
    return markers;
}

void set_marker(Markers* markers, Datum span, Datum window, Datum video_id) {
    const char* name = TextDatumGetCString(span);
    const int rollup = strcmp(name, "day") == 0 ? kDayRollup : strcmp(name, "month") == 0 ? kMonthRollup : kAllTimeRollup;
    markers->of[rollup] = {DatumGetTimestampTz(window), TextDatumGetCString(video_id)};
}

/// Sets the markers that are in the last result, and returns how many.
std::uint64_t set_found(Markers* markers, std::uint64_t found) {
    for (std::uint64_t row = 0; row < found; ++row) set_marker(markers, cell(row, 1).value, cell(row, 2).value, cell(row, 3).value);
    return found;
}

/// Locks the markers of some spans ('{day,...}').
Markers lock_spans(const Counter& counter, const char* spans, std::uint64_t count) {
    Markers markers = no_markers();
    if (!has_registry_table(kTable)) return markers;
    const Argument name = text_value(counter.name);
    const Argument wanted = {TEXTARRAYOID, OidInputFunctionCall(F_ARRAY_IN, const_cast<char*>(spans), TEXTOID, -1)};
    const auto lock = [&] { return set_found(&markers, run(lock_statement, {name, wanted}, Snapshot::kFresh)) == count; };
    const auto lock_or_make = [&] {
        if (lock()) return;
        run(make_statement, {name, oid_value(counter.hour_table)}, Snapshot::kFresh);
        if (!lock()) ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("counter \"%s\" was dropped", counter.name)));
    };
    const auto refuse = [&](int waited_ms) {
        ereport(ERROR, (errcode(ERRCODE_LOCK_NOT_AVAILABLE), errmsg("could not lock the roll-up markers of counter \"%s\"", counter.name),
                        errdetail("A roll-up, or a correction, has been in flight for %d ms.", waited_ms),
                        errhint("Look for it in pg_locks, and try again.")));
    };
    with_bounded_wait([&] { as_user(extension_owner(), lock_or_make); }, refuse);
    return markers;
}

}  // namespace

Markers read_markers(const Counter& counter, Snapshot snapshot) {
    Markers markers = no_markers();
    if (!has_registry_table(kTable)) return markers;
    if (snapshot == Snapshot::kFresh) {
        as_user(extension_owner(), [&] { set_found(&markers, run(read_statement, {text_value(counter.name)}, Snapshot::kFresh)); });
        return markers;
    }
    read_registry_row(kTable, {text_key(1, counter.name)}, [&](HeapTuple tuple, TupleDesc desc) {
        set_marker(&markers, registry_value(tuple, desc, "span"), registry_value(tuple, desc, "window_start"),
                   registry_value(tuple, desc, "video_id"));
        return false;
    });
    return markers;
}

Markers lock_markers(const Counter& counter) {
    return lock_spans(counter, "{day,month,all_time}", kRollups);
}

Marker lock_marker(const Counter& counter, Rollup rollup) {
    constexpr const char* kSpans[kRollups] = {"{day}", "{month}", "{all_time}"};
    return lock_spans(counter, kSpans[rollup], 1).of[rollup];
}

bool is_rolled_up(const Marker& marker, TimestampTz window, const char* video_id) {
    return window < marker.window || (window == marker.window && strcmp(video_id, marker.video_id) <= 0);
}

}  // namespace topk
