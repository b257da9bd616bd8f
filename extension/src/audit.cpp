// topk.audit: the tables compared with the books, which were written apart. Reads only, in the caller's snapshot, one pass of
// aggregates over each table; what a check finds is explained in extension/README.md.
// The counter's tables are summed with their owner's rights, topk.* with the extension owner's; only sums go from one to the other.
#include "arguments.h"
#include "audit_sums.h"
#include "counter.h"

namespace topk {

namespace {

// The end of every check. It is fed by `subject` (check_name, place, subject, expected, found, detail), where place orders the
// subjects of a check, and answers with a line a check, then one for each subject that differs.
#define TOPK_VERDICT(checks)                                                                                                \
    ", verdict AS MATERIALIZED (SELECT s.*, s.expected IS NOT DISTINCT FROM s.found AS ok FROM subject s)"                  \
    " SELECT r.check_name, r.subject, r.expected, r.found, r.ok, r.detail FROM ("                                           \
    "  SELECT c.turn, c.check_name, 0::int8 AS place, NULL AS subject, count(v.ok)::numeric AS expected,"                   \
    "   (count(*) FILTER (WHERE v.ok))::numeric AS found, coalesce(bool_and(v.ok), true) AS ok,"                            \
    "   format('%s %s, %s differ', count(v.ok), c.what, count(*) FILTER (WHERE NOT v.ok)) AS detail"                        \
    "  FROM (VALUES " checks                                                                                                \
    ") c (turn, check_name, what) LEFT JOIN verdict v ON v.check_name = c.check_name GROUP BY c.turn, c.check_name, c.what" \
    "  UNION ALL SELECT c.turn, v.check_name, v.place, v.subject, v.expected, v.found, false, v.detail"                     \
    "  FROM verdict v JOIN (VALUES " checks                                                                                 \
    ") c (turn, check_name, what) ON c.check_name = v.check_name WHERE NOT v.ok) r"                                         \
    " ORDER BY r.turn, r.place"

// A row of the history is followed by the row it was reset to. Going forward the books stay open where they ended, and what
// lies between is lost; going back they begin at the new offset. Their order is that of the epochs, which every reset raises; a clock
// may have been set back between two of them. A retired partition (reset_to is NULL) is followed by none, or goes on where it was when it
// comes back; one that was never read begins anywhere.
Statement offsets_statement = {
    "WITH kept AS ("
    "  SELECT topic, partition, epoch, start_offset, next_offset, counted, late, dead, skipped, lost, reset_to, reset_at"
    "  FROM topk.progress_history_data WHERE counter = $1"
    "  UNION ALL SELECT topic, partition, epoch, start_offset, next_offset, counted, late, dead, skipped, lost, NULL, NULL"
    "  FROM topk.kafka_progress_data WHERE counter = $1),"
    " book AS (SELECT *, format('partition %s of topic \"%s\"', partition, topic) AS name, row_number() OVER w AS place,"
    "  coalesce(start_offset::text, 'none') AS began, coalesce(next_offset::text, 'none') AS ended,"
    "  CASE WHEN reset_to IS NULL THEN 'retirement' ELSE 'reset' END || ' at ' || reset_at AS closed,"
    "  reset_to IS NOT NULL OR next_offset IS NOT NULL AND lead(epoch) OVER w IS NOT NULL AS reopened,"
    "  lag(greatest(reset_to::numeric - next_offset, 0), 1, 0) OVER w AS given_up, lead(start_offset) OVER w AS reopened_at"
    "  FROM kept WINDOW w AS (PARTITION BY topic, partition ORDER BY epoch)),"
    " total AS (SELECT topic, partition, sum(dead) AS dead FROM kept GROUP BY topic, partition),"
    " letter AS (SELECT topic, partition, sum(dead) AS dead FROM"
    "  (SELECT topic, partition, count(*) AS dead FROM topk.dead_letter_data WHERE counter = $1 GROUP BY topic, partition"
    "   UNION ALL SELECT * FROM unnest($2, $3, $4)) l (topic, partition, dead) GROUP BY topic, partition),"
    " late AS (SELECT topic, sum(late) AS records FROM kept GROUP BY topic),"
    " booked AS (SELECT topic, sum(late_records) AS records FROM topk.hour_book_data WHERE counter = $1 GROUP BY topic),"
    " subject AS ("
    "  SELECT 'offsets' AS check_name, row_number() OVER (ORDER BY topic, partition, place) AS place,"
    "   name || coalesce(' until its ' || closed, '') AS subject,"
    "   coalesce(next_offset::numeric - start_offset, 0) AS expected, counted::numeric + late + dead + skipped + lost AS found,"
    "   format('offsets from %s to %s; counted %s, late %s, dead %s, skipped %s, lost %s',"
    "    began, ended, counted, late, dead, skipped, lost) AS detail FROM book"
    "  UNION ALL SELECT 'resets', row_number() OVER (ORDER BY topic, partition, place), name || ' from its ' || closed,"
    "   least(next_offset, reset_to), reopened_at, format('the books ended at %s; it %s', ended,"
    "    coalesce('was reset to ' || reset_to, 'was to go on there'))"
    "  FROM book WHERE reset_at IS NOT NULL AND reopened"
    "  UNION ALL SELECT 'lost offsets', row_number() OVER (ORDER BY topic, partition, place),"
    "   name || coalesce(' until its ' || closed, ''), given_up, lost, 'given up by the reset before, and lost in the books'"
    "  FROM book"
    "  UNION ALL SELECT 'dead letters', row_number() OVER (ORDER BY topic, partition),"
    "   format('partition %s of topic \"%s\"', partition, topic), coalesce(t.dead, 0), coalesce(l.dead, 0),"
    "   'dead in the books, and rows of topk.dead_letter'"
    "  FROM total t FULL JOIN letter l USING (topic, partition)"
    "  UNION ALL SELECT 'late records', row_number() OVER (ORDER BY topic), format('topic \"%s\"', topic),"
    "   coalesce(l.records, 0), coalesce(b.records, 0), 'late in the books of its partitions, and in the book of hours'"
    "  FROM late l FULL JOIN booked b USING (topic))" TOPK_VERDICT(
        "(1, 'offsets', 'books of partitions'), (2, 'resets', 'resets'), (3, 'lost offsets', 'books of partitions'),"
        " (4, 'dead letters', 'partitions'), (5, 'late records', 'topics')")};

// What flushes and corrections brought to the hours whose rows have expired is for the day roll-up to hold.
Statement hours_statement = {
    "WITH book AS (SELECT hour_start, sum(views) AS views, sum(late_views) AS late_views, sum(late_records) AS late_records"
    "  FROM topk.hour_book_data WHERE counter = $1 GROUP BY hour_start),"
    " corrected AS (SELECT hour_start, sum(delta) AS views FROM topk.correction_data WHERE counter = $1 GROUP BY hour_start),"
    " late AS (SELECT hour_start, sum(views) AS views, sum(records) AS records FROM"
    "  (SELECT hour_start, views, records FROM topk.late_views_data WHERE counter = $1 UNION ALL SELECT * FROM unnest($4, $5, $6))"
    "  l (hour_start, views, records) GROUP BY hour_start),"
    " subject AS ("
    "  SELECT 'views' AS check_name, row_number() OVER (ORDER BY hour_start) AS place, 'hour ' || hour_start AS subject,"
    "   coalesce(b.views, 0) + coalesce(c.views, 0) AS expected, coalesce(h.views, 0) AS found,"
    "   format('booked %s, corrected by %s, and the sum of the hour table', coalesce(b.views, 0), coalesce(c.views, 0)) AS detail"
    "  FROM (SELECT * FROM book WHERE views <> 0) b FULL JOIN corrected c USING (hour_start)"
    "  FULL JOIN unnest($2, $3) h (hour_start, views) USING (hour_start) WHERE hour_start >= $7"
    "  UNION ALL SELECT v.check_name, row_number() OVER (PARTITION BY v.check_name ORDER BY hour_start), 'hour ' || hour_start,"
    "   v.expected, v.found, 'late in the book of hours, and in topk.late_views'"
    "  FROM (SELECT * FROM book WHERE late_records <> 0 OR late_views <> 0) b FULL JOIN late l USING (hour_start),"
    "  LATERAL (VALUES ('late views', coalesce(b.late_views, 0), coalesce(l.views, 0)),"
    "   ('late records by hour', coalesce(b.late_records, 0), coalesce(l.records, 0))) v (check_name, expected, found))" TOPK_VERDICT(
        "(1, 'views', 'hours'), (2, 'late views', 'hours'), (3, 'late records by hour', 'hours')")};

// Late additions to a day go with its rows.
Statement late_windows_statement = {
    "WITH taken AS (SELECT hour_start, sum(late_views) AS late_views, sum(late_in_day) AS in_day, sum(late_in_month) AS in_month"
    "  FROM topk.hour_book_data WHERE counter = $1 AND late_views <> 0 GROUP BY hour_start),"
    " booked AS (SELECT w.span, w.window_start, sum(w.views) AS views"
    "  FROM taken t JOIN unnest($2, $3, $4) l (hour_start, day_start, month_start) ON l.hour_start = t.hour_start,"
    "  LATERAL (VALUES ('day', l.day_start, t.in_day), ('month', l.month_start, t.in_month),"
    "   ('all_time', '-infinity'::timestamptz, t.late_views)) w (span, window_start, views) WHERE w.views <> 0 GROUP BY 1, 2),"
    " subject AS (SELECT 'late windows' AS check_name, row_number() OVER (ORDER BY span, window_start) AS place,"
    "  span || CASE WHEN span = 'all_time' THEN '' ELSE ' ' || window_start END AS subject, coalesce(b.views, 0) AS expected,"
    "  coalesce(s.views, 0) AS found, 'late in the book of hours, and late in the window''s table' AS detail"
    "  FROM booked b FULL JOIN unnest($5, $6, $7) s (span, window_start, views) USING (span, window_start)"
    "  WHERE span <> 'day' OR window_start >= $8)" TOPK_VERDICT("(1, 'late windows', 'windows')")};

// A roll-up holds what the markers have passed: of finished hours what the books and corrections say, of the hour or day at hand what its
// own table has up to the marker. $2, $3, $4 are the sums of roll-ups; $5, $6 where the day's marker is, and the sum of that hour's rows
// that it has passed; $7, $8 and $9, $10 the same of month and all time, and of days; $11 how far days have expired. A day is of the first
// month that its hours name.
Statement rollups_statement = {
    "WITH brought AS (SELECT hour_start, sum(views) AS views FROM ("
    "   SELECT hour_start, views FROM topk.hour_book_data WHERE counter = $1"
    "   UNION ALL SELECT hour_start, delta FROM topk.correction_data WHERE counter = $1) b GROUP BY hour_start),"
    " day AS (SELECT m.day_start, min(m.month_start) AS month_start, coalesce(sum(b.views) FILTER (WHERE m.hour_start < $5), 0)"
    "   + coalesce(max($6) FILTER (WHERE m.hour_start = $5), 0) AS views"
    "  FROM topk.hour_map m LEFT JOIN brought b ON b.hour_start = m.hour_start WHERE m.counter = $1 GROUP BY m.day_start),"
    " taken AS (SELECT 'day' AS span, day_start AS window_start, views FROM day"
    "  UNION ALL SELECT 'month', month_start,"
    "   sum(CASE WHEN day_start < $7 THEN views WHEN day_start = $7 THEN $8 ELSE 0 END) FROM day GROUP BY month_start"
    "  UNION ALL SELECT 'all_time', '-infinity', sum(CASE WHEN day_start < $9 THEN views WHEN day_start = $9 THEN $10 ELSE 0 END) FROM "
    "day),"
    " subject AS (SELECT c.check_name, row_number() OVER (ORDER BY span, window_start) AS place,"
    "  span || CASE WHEN span = 'all_time' THEN '' ELSE ' ' || window_start END AS subject, coalesce(t.views, 0) AS expected,"
    "  coalesce(s.views, 0) AS found, 'booked and corrected up to the marker, and the sum of the roll-up' AS detail"
    "  FROM (SELECT * FROM taken WHERE views <> 0) t FULL JOIN unnest($2, $3, $4) s (span, window_start, views) USING (span, window_start)"
    "  JOIN (VALUES ('day', 'day roll-up'), ('month', 'month roll-up'), ('all_time', 'all-time roll-up')) c (grain, check_name) ON c.grain "
    "= span"
    "  WHERE span <> 'day' OR window_start >= $11)" TOPK_VERDICT(
        "(1, 'day roll-up', 'days'), (2, 'month roll-up', 'months'), (3, 'all-time roll-up', 'windows')")};

/// Sums must be of all rows: they would not be with policies that apply to the owner. A reader whom policies keep from rows is not
/// told sums of them.
void refuse_policies(const Counter& counter) {
    refuse_forced_policies(counter, "Sums are read with the owner's rights; the policies would leave rows out.");
    if (has_policies(counter, GetUserId()) && !has_access(counter, "admin", Snapshot::kCaller))
        ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE), errmsg("permission denied for counter \"%s\"", counter.name),
                        errdetail("An audit tells sums of rows that row-level security may keep from role \"%s\".",
                                  GetUserNameFromId(GetUserId(), false)),
                        errhint("The counter's owner can give it 'admin' with topk.grant_access.")));
}

/// What the checks are fed: sums read as the counter's owner, and the markers that tell what roll-ups should have.
struct Evidence {
    Sums hours;
    Sums late;
    Sums rollups;
    Markers markers;
    Argument at_marker[kRollups];
};

Evidence gather(const Counter& counter) {
    Evidence evidence = {};
    evidence.markers = read_markers(counter, Snapshot::kCaller);
    as_user(counter.owner, [&] {
        evidence.hours = sum_hours(counter);
        evidence.late = sum_late(counter);
        evidence.rollups = sum_rollups(counter);
        for (const Rollup rollup : {kDayRollup, kMonthRollup, kAllTimeRollup})
            evidence.at_marker[rollup] = sum_at_marker(counter, rollup, evidence.markers.of[rollup]);
    });
    return evidence;
}

// Each check requires the extension owner's rights, and leaves its rows to be put.

void check_offsets(const Counter& counter) {
    const Sums dead = expired_dead(counter);
    run(offsets_statement, {text_value(counter.name), dead.columns[0], dead.columns[1], dead.columns[2]}, Snapshot::kCaller);
}

void check_hours(const Counter& counter, const Sums& hours) {
    const Sums gone = expired_late(counter);
    run(hours_statement,
        {text_value(counter.name), hours.columns[0], hours.columns[1], gone.columns[0], gone.columns[1], gone.columns[2],
         time_value(counter.hours_expired_through)},
        Snapshot::kCaller);
}

void check_late_windows(const Counter& counter, const Sums& late) {
    const Sums labels = label_late_hours(counter);
    run(late_windows_statement,
        {text_value(counter.name), labels.columns[0], labels.columns[1], labels.columns[2], late.columns[0], late.columns[1],
         late.columns[2], time_value(counter.days_expired_through)},
        Snapshot::kCaller);
}

void check_rollups(const Counter& counter, const Evidence& evidence) {
    const auto window = [&](Rollup rollup) { return time_value(evidence.markers.of[rollup].window); };
    run(rollups_statement,
        {text_value(counter.name), evidence.rollups.columns[0], evidence.rollups.columns[1], evidence.rollups.columns[2],
         window(kDayRollup), evidence.at_marker[kDayRollup], window(kMonthRollup), evidence.at_marker[kMonthRollup], window(kAllTimeRollup),
         evidence.at_marker[kAllTimeRollup], time_value(counter.days_expired_through)},
        Snapshot::kCaller);
}

void audit(const Counter& counter, const ReturnSetInfo* result) {
    const Evidence evidence = gather(counter);
    as_user(extension_owner(), [&] {
        check_offsets(counter);
        put_rows(result);
        check_hours(counter, evidence.hours);
        put_rows(result);
        check_late_windows(counter, evidence.late);
        put_rows(result);
        check_rollups(counter, evidence);
        put_rows(result);
    });
}

}  // namespace

TOPK_SQL_FUNCTION(topk_audit) {
    const char* name = text_argument(fcinfo, 0, "counter");
    InitMaterializedSRF(fcinfo, 0);
    const auto* result = reinterpret_cast<ReturnSetInfo*>(fcinfo->resultinfo);
    with_spi([&] {
        const Counter counter = find_counter(name, Snapshot::kCaller);
        require_access(counter, {"read", "admin"}, Snapshot::kCaller);
        refuse_policies(counter);
        audit(counter, result);
    });
    return 0;
}

// As the SQL of 1.1 calls it: the library of 1.0, which knows no roll-ups, has no such name.
TOPK_SQL_FUNCTION(topk_audit_1_1) {
    return topk_audit(fcinfo);
}

// As the SQL of 1.2 calls it: older libraries know no retired partitions.
TOPK_SQL_FUNCTION(topk_audit_1_2) {
    return topk_audit(fcinfo);
}

}  // namespace topk
