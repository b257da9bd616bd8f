"""Any list through the index equals a sort of the heap under the same snapshot, whatever else is going on."""
import settings
from database import Database, assert_no_crash
from storm import Storm

# A run that did not meet each of these proves nothing, and goes on until it has
MET = ["transaction rollback", "transaction prepare", "transaction SerializationFailure", "transaction LockNotAvailable",
       "vacuum", "vacuum_thoroughly", "truncated", "vacuum_full", "reindex", "reindex_table",
       "reindex_concurrently", "replace_index", "build_twice"]
MET_BY_TOPK = ["refill", "check", "thresholds", "histories", "paged_groups"]


def test_lists_equal_the_heap(start, major, count_up):
    server = start()
    database = Database(server)
    storm = Storm(database.connect, f"{settings.SEED}/{major}", settings.METHOD)
    storm.create()
    storm.run(settings.READERS, limit=120 + settings.READERS, met=MET + MET_BY_TOPK * (settings.METHOD == "topk"))
    database.check_indexes()
    database.compare_lists(settings.SEED)
    database.execute("VACUUM")
    database.check_indexes()
    database.compare_lists(settings.SEED + 1)
    hot = database.value("SELECT sum(n_tup_hot_upd)::int FROM pg_stat_user_tables")
    count_up(f"{storm.summary()}, HOT updates: {hot}")
    assert hot
    plans = storm.progress.counts
    from_index, others = plans["plan with the index: top"], plans["plan without the index: top"]
    assert from_index > 4 * others, f"{from_index} lists through the index, {others} not"
    assert_no_crash(server)
