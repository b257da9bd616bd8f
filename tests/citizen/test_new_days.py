"""Days that begin while lists are asked for. A commit is seen in snapshots a moment before other sessions are told that the hour table has one
partition more: the list of such a snapshot has the new day's views, and is no error."""
import threading
from datetime import datetime, timedelta, timezone

import pytest
from database import Database
from feed import Feed

START = datetime(2026, 1, 1, tzinfo=timezone.utc)
DAYS, READERS, SECONDS = 200, 4, 60


class Reader(threading.Thread):
    """Asks for all time again and again; every answer holds what was committed before, and nothing that is yet to be flushed."""

    def __init__(self, database, writer):
        super().__init__(daemon=True)
        self.database, self.writer, self.ended = Database(database.server, database.name), writer, threading.Event()
        self.failure, self.moved, self.asked = None, 0, 0

    def run(self):
        try:
            last = 0
            while not self.ended.is_set():
                committed = self.writer.committed
                rows = self.database.query("SELECT views FROM topk.top('all_time', 10, NULL, 'c')")
                begun = self.writer.begun
                views = rows[0][0] if rows else 0
                assert max(committed, last) <= views <= begun, (committed, last, views, begun)
                self.moved += views > last
                last, self.asked = views, self.asked + 1
        except BaseException as failure:
            self.failure = failure
        finally:
            self.database.close()


class Writer:
    """A view a day. Every other partition is made ahead, the rest by the flush."""

    def __init__(self, database):
        self.database, self.feed, self.begun, self.committed = database, Feed(database, "c"), 0, 0

    def write(self):
        day = START + timedelta(days=self.begun)
        if self.begun % 2:
            self.database.execute("SELECT topk.make_partitions('c', %s, %s)", day, day + timedelta(hours=1))
        self.begun += 1
        self.feed.flush({(day, "a"): 1})
        self.committed += 1


@pytest.mark.parametrize("default", [False, True], ids=["", "beside_a_default_partition"])
def test_lists_while_days_begin(new_database, default):
    database = new_database("d")
    database.execute("SELECT topk.create_counter('c')")
    if default:  # made by hand: lists are added up then
        database.execute("CREATE TABLE c_rest PARTITION OF c_hour DEFAULT")
    writer = Writer(database)
    readers = [Reader(database, writer) for _ in range(READERS)]
    for reader in readers:
        reader.start()
    for _ in range(DAYS):
        writer.write()
    for reader in readers:
        reader.ended.set()
        reader.join(SECONDS)
    assert [reader.failure for reader in readers] == [None] * READERS
    assert all(reader.moved > 3 for reader in readers), [(reader.moved, reader.asked) for reader in readers]
    assert database.query("SELECT * FROM topk.audit('c') WHERE NOT ok") == []
