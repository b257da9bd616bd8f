"""Any list through the index equals a sort of the heap under the same snapshot, whatever else is going on."""
import settings
from database import Database, assert_no_crash
from storm import Storm


def assert_exercised(storm, database):
    """A run that met nothing proves nothing."""
    counts = storm.progress.counts
    hot, = database.query("SELECT sum(n_tup_hot_upd) FROM pg_stat_user_tables")[0]
    happened = {"HOT updates": hot, "conflicts": counts["transaction SerializationFailure"] + counts["transaction LockNotAvailable"]}
    for kind in ("transaction rollback", "transaction prepare", "vacuum", "vacuum_full", "reindex", "reindex_concurrently", "replace_index"):
        happened[kind] = counts[kind]
    if settings.METHOD == "topk":
        happened |= {kind: counts[kind] for kind in ("refill", "check", "thresholds", "histories", "paged_groups")}
    from_index = sum(count for kind, count in counts.items() if kind.startswith("plan with the index: top"))
    others = sum(count for kind, count in counts.items() if kind.startswith("plan without the index: top"))
    print(f"{happened}\n{storm.summary()}")
    assert all(happened.values()), happened
    assert from_index > 4 * others, f"{from_index} lists through the index, {others} not"


def test_lists_equal_the_heap(start, major):
    server = start()
    database = Database(server)
    storm = Storm(database.connect, f"{settings.SEED}/{major}", settings.METHOD)
    readers = settings.READERS // len(settings.MAJORS)
    storm.create()
    storm.run(readers, limit=60 + readers)
    database.check_indexes()
    database.compare_lists(settings.SEED)
    database.execute("VACUUM")
    database.check_indexes()
    database.compare_lists(settings.SEED + 1)
    assert_exercised(storm, database)
    assert_no_crash(server)
