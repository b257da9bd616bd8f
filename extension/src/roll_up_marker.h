// How far roll-ups have come, topk.roll_up_marker. A marker is a position in a table ordered by (window_start, video_id), ids bytewise:
// rows up to it are in the roll-up, and those beyond are not. A finished window's marker is (its end, ''), since ids are never empty.
// Of the day roll-up it is a position in the hour table; of month and all time, one in the day roll-up.
#pragma once

#include "counter.h"

namespace topk {

struct Marker {
    TimestampTz window;
    const char* video_id;

    /// True if all rows of the window are in the roll-up, and none is to come.
    bool has_finished(TimestampTz start) const { return start < window; }
    /// True if rows of the window may be in the roll-up.
    bool has_begun(TimestampTz start) const { return start < window || (start == window && *video_id != '\0'); }
};

/// Of this session.
inline bool is_changing_roll_ups = false;

struct Markers {
    Marker of[kRollups];
};

/// The counter's markers; (-infinity, '') where there is none: the counter, or the SQL of the extension, is of a version without
/// roll-ups. kCaller reads them straight from the table, whatever the caller's rights; kFresh requires SPI connected. palloc'ed ids.
Markers read_markers(const Counter& counter, Snapshot snapshot);

/// The same as committed by now, and locks the rows, in the order day, month, all time, until the transaction ends; missing rows are
/// made. Nothing is rolled up meanwhile. Requires: SPI connected. Failure: 55P03, naming the counter, after ten seconds or the caller's
/// lock_timeout; 42704 if the counter was dropped.
Markers lock_markers(const Counter& counter);
/// The same for one of them.
Marker lock_marker(const Counter& counter, Rollup rollup);

/// Runs a step of the roll-up, or a correction, unless one is running in this session: a trigger of the owner could call the other, which
/// would find the markers locked by itself, and the sums on the way.
template <typename Body>
void with_no_other_change(const char* function, Body&& body) {
    survives_longjmp<std::remove_reference_t<Body>>();
    if (is_changing_roll_ups)
        ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                        errmsg("%s cannot be called from within topk.roll_up or topk.correct", function),
                        errhint("Look for a trigger on the counter's tables that calls it.")));
    is_changing_roll_ups = true;
    PG_TRY();
    { body(); }
    PG_FINALLY();
    { is_changing_roll_ups = false; }
    PG_END_TRY();
}

/// True if the row is in the roll-up.
bool is_rolled_up(const Marker& marker, TimestampTz window, const char* video_id);

}  // namespace topk
