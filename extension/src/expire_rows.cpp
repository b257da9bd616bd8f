// topk.delete_expired: deletes some of what expired by rows: final lists of hours, late views and dead letters, whose sums are kept, and
// days of the day roll-up with their late additions.
#include "counter_lock.h"
#include "expiry.h"
#include "retention.h"

namespace topk {

namespace {

// Enough for a tenth of a second or so.
constexpr std::int64_t kRowsOfAStep = 20000;

// What delete_some has to do, as it does it: lists of hours, late views, dead letters.
Statement deletable_statement = {
    "SELECT EXISTS (SELECT FROM topk.counter_data c JOIN topk.leaderboard_window_data w ON w.counter = c.name"
    "  WHERE c.name = $1 AND w.span = 'hour' AND w.window_start < " TOPK_KEPT_FROM("hour_list_retention") ")"
    " OR EXISTS (SELECT FROM topk.late_views_data l WHERE l.counter = $1 AND l.first_seen < $2 AND l.last_seen < $2)"
    " OR EXISTS (SELECT FROM topk.dead_letter_data l WHERE l.counter = $1 AND l.recorded_at < $2)"};

Statement hour_lists_statement = {
    "WITH doomed AS MATERIALIZED (SELECT w.window_start FROM topk.counter_data c JOIN topk.leaderboard_window_data w ON w.counter = c.name"
    "  WHERE c.name = $1 AND w.span = 'hour' AND w.window_start < " TOPK_KEPT_FROM(
        "hour_list_retention") " ORDER BY w.window_start LIMIT $2),"
    " ranks AS (DELETE FROM topk.leaderboard_data l USING doomed d"
    "  WHERE l.counter = $1 AND l.span = 'hour' AND l.window_start = d.window_start)"
    " DELETE FROM topk.leaderboard_window_data w USING doomed d"
    "  WHERE w.counter = $1 AND w.span = 'hour' AND w.window_start = d.window_start"};

// A flush may be adding to rows that were about to expire: these stay.
Statement late_statement = {
    "WITH doomed AS MATERIALIZED (SELECT l.ctid FROM topk.late_views_data l"
    "  WHERE l.counter = $1 AND l.first_seen < $2 AND l.last_seen < $2 ORDER BY l.first_seen LIMIT $3 FOR UPDATE SKIP LOCKED),"
    " gone AS (DELETE FROM topk.late_views_data l USING doomed d WHERE l.ctid = d.ctid RETURNING l.hour_start, l.views, l.records),"
    " booked AS (INSERT INTO topk.expired_late_data AS e (counter, hour_start, views, records)"
    "  SELECT $1, hour_start, sum(views), sum(records) FROM gone GROUP BY hour_start"
    "  ON CONFLICT (counter, hour_start) DO UPDATE SET views = e.views + EXCLUDED.views, records = e.records + EXCLUDED.records)"
    " SELECT count(*) FROM gone"};

Statement dead_statement = {
    "WITH doomed AS MATERIALIZED (SELECT l.ctid FROM topk.dead_letter_data l"
    "  WHERE l.counter = $1 AND l.recorded_at < $2 ORDER BY l.recorded_at LIMIT $3 FOR UPDATE SKIP LOCKED),"
    " gone AS (DELETE FROM topk.dead_letter_data l USING doomed d WHERE l.ctid = d.ctid RETURNING l.topic, l.partition),"
    " booked AS (INSERT INTO topk.expired_dead_data AS e (counter, topic, partition, letters)"
    "  SELECT $1, topic, partition, count(*) FROM gone GROUP BY topic, partition"
    "  ON CONFLICT (counter, topic, partition) DO UPDATE SET letters = e.letters + EXCLUDED.letters)"
    " SELECT count(*) FROM gone"};

/// Behind which row the session's next step looks for rows of a table that expired. What it deleted before stays in the index, dead, as
/// long as somebody's snapshot is older, and every step would step over all of it. Only a hint: the step may have been rolled back.
struct Resume {
    Oid table;
    TimestampTz window;
    char* video_id;  ///< in TopMemoryContext
};
Resume resume = {InvalidOid, 0, nullptr};

bool has_resume(Oid table) {
    return resume.table == table && resume.video_id != nullptr;
}

void resume_behind(Oid table, TimestampTz window, const char* video_id) {
    char* kept = MemoryContextStrdup(TopMemoryContext, video_id);
    if (resume.video_id != nullptr) pfree(resume.video_id);
    resume = {table, window, kept};
}

/// Rows of one of the counter's tables that expired, in the order of its key.
struct Expired {
    Oid table;
    const char* name;
    const char* condition;
    TimestampTz before;

    Argument window() const { return time_value(has_resume(table) ? resume.window : DT_NOBEGIN); }
    Argument video_id() const { return text_value(has_resume(table) ? resume.video_id : ""); }
};

constexpr const char* kExpiredRows = "FROM %s WHERE %s window_start < $1 AND (window_start, video_id) > ($2, $3)";

/// Requires: the owner's rights.
bool has_rows(const Expired& rows) {
    const char* from = psprintf(kExpiredRows, rows.name, rows.condition);
    const auto look = [&] {
        return run_once(psprintf("SELECT %s LIMIT 1", from), {time_value(rows.before), rows.window(), rows.video_id()}, Snapshot::kFresh) >
               0;
    };
    if (look()) return true;
    if (!has_resume(rows.table)) return false;
    resume.table = InvalidOid;
    return look();
}

/// Requires: the owner's rights.
std::uint64_t delete_rows(const Expired& rows) {
    const char* from = psprintf(kExpiredRows, rows.name, rows.condition);
    const std::uint64_t found =
        run_once(psprintf("WITH gone AS (DELETE FROM %s WHERE ctid = ANY (ARRAY(SELECT ctid %s ORDER BY window_start, video_id LIMIT $4"
                          " FOR UPDATE SKIP LOCKED))"
                          " RETURNING window_start::timestamptz, video_id::text)"
                          " SELECT window_start, video_id, count(*) OVER () FROM gone ORDER BY window_start DESC, video_id DESC LIMIT 1",
                          rows.name, from),
                 {time_value(rows.before), rows.window(), rows.video_id(), int8_value(kRowsOfAStep)}, Snapshot::kFresh);
    if (found == 0) return 0;
    resume_behind(rows.table, DatumGetTimestampTz(cell(0, 1).value), text_cell(0, 2));
    return static_cast<std::uint64_t>(DatumGetInt64(cell(0, 3).value));
}

std::uint64_t delete_some(const Counter& counter) {
    const Argument name = text_value(counter.name);
    const Argument rows = int8_value(kRowsOfAStep);
    std::uint64_t deleted = 0;
    TimestampTz days = DT_NOBEGIN;
    bool is_free = true;
    const auto of_extension = [&] {
        const ExpiryFrontiers frontiers = read_expiry_frontiers(counter);
        days = frontiers.days;
        run(deletable_statement, {name, time_value(frontiers.late_until)}, Snapshot::kFresh);
        if (!DatumGetBool(cell(0, 1).value)) return;
        is_free = begin_expiry(counter);
        if (!is_free) return;
        deleted = run(hour_lists_statement, {name, int8_value(kRowsOfAStep / 1000)}, Snapshot::kFresh);
        for (Statement* statement : {&late_statement, &dead_statement}) {
            if (deleted > 0) return;
            run(*statement, {name, time_value(frontiers.late_until), rows}, Snapshot::kFresh);
            deleted = static_cast<std::uint64_t>(DatumGetInt64(cell(0, 1).value));
        }
    };
    as_user(extension_owner(), of_extension);
    if (deleted > 0 || !is_free || TIMESTAMP_NOT_FINITE(days)) return deleted;
    // Before the tables, as topk.drop_counter locks them
    as_user(extension_owner(), [&] { is_free = begin_expiry(counter); });
    if (!is_free) return 0;
    const struct {
        Oid table;
        const char* condition;
    } kinds[] = {{counter.rollups[kDayRollup], ""}, {counter.late_table, "span = 'day' AND"}};
    for (const auto& kind : kinds) {
        const Expired rows = {kind.table, table_name(counter, kind.table), kind.condition, days};
        bool has_some = false;
        as_user(counter.owner, [&] { has_some = has_rows(rows); });
        if (!has_some) continue;
        as_user(counter.owner, [&] { deleted = delete_rows(rows); });
        if (deleted > 0) return deleted;
    }
    return 0;
}

}  // namespace

TOPK_SQL_FUNCTION(topk_delete_expired) {
    std::uint64_t deleted = 0;
    administer_expiry(fcinfo, [&](const Counter& counter) { deleted = delete_some(counter); });
    PG_RETURN_INT64(static_cast<std::int64_t>(deleted));
}

}  // namespace topk
