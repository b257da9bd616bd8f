"""The same on a hot standby: what it replays is what the primary wrote, and old snapshots read right during replay.

Replay waits for readers (max_standby_streaming_delay = -1) and the primary does not know them (no feedback), so that
their snapshots are older than what the primary has long cleaned up. wal_consistency_checking compares every replayed page of the
index; not the tables', because replay of a row lock drops a bit (HEAP_COMBOCID) that the primary keeps, which shows on frozen rows.
"""
import psycopg2
import pytest
import settings
from database import Database, assert_no_crash
from shapes import SHAPES
from storm import Storm

PATIENT = {"hot_standby_feedback": "off", "max_standby_streaming_delay": "-1", "max_standby_archive_delay": "-1"}


def test_lists_on_a_standby_equal_its_heap(start, major, run_directory, test_name, count_up):
    primary = start("primary", wal_consistency_checking="generic", max_wal_size="4GB")
    with primary.standby(run_directory / test_name / "standby", PATIENT) as standby:
        start.started.append(standby)
        database = Database(primary)
        there = Database(standby, create=False)
        storm = Storm(database.connect, f"{settings.SEED}/{major}/standby", settings.METHOD, connect_reader=there.connect)
        storm.create(rows=800)
        primary.wait_for_standby(standby)
        storm.run(settings.STANDBY_READERS, limit=120 + settings.STANDBY_READERS)
        database.finish_prepared()
        primary.wait_for_standby(standby)
        there.compare_lists(settings.SEED)
        if settings.METHOD == "topk":
            refuse_what_locks_out_writers(there)
        count_up(storm.summary())
        assert_no_crash(standby)
    assert_no_crash(primary)


def refuse_what_locks_out_writers(standby):
    """index_check and index_refill need a lock that no session of a standby gets."""
    for name, code in (("check", "55000"), ("refill", "25006")):
        with pytest.raises(psycopg2.Error) as refused:
            standby.execute(f"SELECT topk.index_{name}('{SHAPES[0].index}')")
        assert refused.value.pgcode == code, name
    assert standby.value(f"SELECT pages > 0 FROM topk.index_stats('{SHAPES[0].index}')")
