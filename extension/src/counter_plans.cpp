// The session's table of plans by counter.
#include "counter_plans.h"

namespace topk {

namespace {

// Room for two quoted identifiers and the dot.
constexpr std::size_t kQualifiedName = 2 * (2 * NAMEDATALEN + 2) + 2;

struct Entry {
    Oid hour_table;  // the key; an oid that comes again for another table fails the comparison of names or is re-planned
    char hours[kQualifiedName];
    char late[kQualifiedName];
    Statement statements[kCounterPlans];
};

HTAB* entries = nullptr;

HTAB* make_entries() {
    HASHCTL control = {};
    control.keysize = sizeof(Oid);
    control.entrysize = sizeof(Entry);
    return hash_create("topk counter plans", 16, &control, HASH_ELEM | HASH_BLOBS);
}

const char* keep(char* sql) {
    return MemoryContextStrdup(TopMemoryContext, sql);
}

void forget(Entry* entry) {
    for (Statement& statement : entry->statements) {
        if (statement.plan != nullptr) SPI_freeplan(statement.plan);
        if (statement.sql != nullptr) pfree(const_cast<char*>(statement.sql));
        statement = {nullptr};
    }
}

const char* sql_of(const Entry& entry, CounterPlan plan) {
    switch (plan) {
        case CounterPlan::kAddDeltas:
            return keep(
                psprintf("INSERT INTO %s AS h (window_start, video_id, views)"
                         " SELECT d.window_start, d.video_id, d.views FROM topk.delta_rows($1) d"
                         " ON CONFLICT (window_start, video_id) DO UPDATE SET views = h.views + EXCLUDED.views",
                         entry.hours));
        case CounterPlan::kAddLate:
            return keep(
                psprintf("WITH wanted AS (SELECT w.span COLLATE \"C\", w.window_start, l.video_id COLLATE \"C\", sum(l.views)"
                         " FROM unnest($1) l JOIN unnest($2, $3, $4) w (hour_start, span, window_start) ON w.hour_start = l.hour_start"
                         " GROUP BY 1, 2, 3),"
                         " stored AS (INSERT INTO %s AS t (span, window_start, video_id, views)"
                         " SELECT * FROM wanted ORDER BY 1, 2, 3"
                         " ON CONFLICT (span, window_start, video_id) DO UPDATE SET views = t.views + EXCLUDED.views RETURNING 1)"
                         " SELECT (SELECT count(*) FROM stored), (SELECT count(*) FROM wanted)",
                         entry.late));
    }
    return nullptr;
}

}  // namespace

Statement& counter_statement(const Counter& counter, CounterPlan plan) {
    if (entries == nullptr) entries = make_entries();
    const char* hours = table_name(counter, counter.hour_table);
    const char* late = table_name(counter, counter.late_table);
    bool found;
    auto* entry = static_cast<Entry*>(hash_search(entries, &counter.hour_table, HASH_ENTER, &found));
    if (!found) std::fill(std::begin(entry->statements), std::end(entry->statements), Statement{nullptr});
    if (!found || strcmp(entry->hours, hours) != 0 || strcmp(entry->late, late) != 0) {
        if (found) forget(entry);
        snprintf(entry->hours, sizeof(entry->hours), "%s", hours);
        snprintf(entry->late, sizeof(entry->late), "%s", late);
    }
    Statement& statement = entry->statements[static_cast<int>(plan)];
    if (statement.sql == nullptr) statement = {sql_of(*entry, plan), CURSOR_OPT_GENERIC_PLAN};
    return statement;
}

}  // namespace topk
