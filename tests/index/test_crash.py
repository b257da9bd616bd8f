"""The server is stopped in immediate mode under writers; after recovery index and heap agree again."""
import collections
import random

import settings
from database import Database, assert_no_crash
from maintenance import Maintainer
from storm import Session, Storm


def tidy(storm, database):
    """A CREATE or REINDEX CONCURRENTLY that was cut off leaves an invalid index."""
    session = Session("tidy", database.connect())
    maintainer = Maintainer(session, storm, random.Random(0), waits=True)
    for shape in storm.shapes:
        maintainer.tidy(shape)
    session.connection.close()


def test_crash_under_writers(start, major, count_up):
    server = start()
    database = Database(server)
    rng = random.Random(f"{settings.SEED}/crash")
    Storm(database.connect, settings.SEED, settings.METHOD).create(rows=800)
    counts = collections.Counter()
    for number in range(settings.CRASHES):
        storm = Storm(database.connect, f"{settings.SEED}/{major}/crash/{number}", settings.METHOD)
        storm.start_writers()
        storm.progress.wait("write", rng.randint(50, 400), limit=60)
        storm.broken_is_fine = True
        server.stop("immediate")
        storm.stop()
        if storm.failure:
            raise storm.failure
        assert storm.progress.counts["transaction commit"] > 0
        counts += storm.progress.counts
        server.start()
        database.finish_prepared()
        tidy(storm, database)
        database.check_indexes()
        database.compare_lists(f"{settings.SEED}/{number}", count=12)
    count_up(f"{settings.CRASHES} immediate stops under 4 writers, write: {counts['write']}, maintenance: {counts['maintenance']}, "
             f"lists compared after them: {settings.CRASHES * 12 * len(storm.shapes)}")
    assert_no_crash(server)


def test_unlogged_table_after_a_crash(start, major):
    """Recovery empties the table; its index must be an empty index then, and work."""
    server = start()
    database = Database(server)
    option = " WITH (k = 2)" if settings.METHOD == "topk" else ""
    database.execute(f"CREATE UNLOGGED TABLE fleeting (g int, score int, id int PRIMARY KEY); "
                     f"CREATE INDEX fleeting_top ON fleeting USING {settings.METHOD} (g, score DESC, id){option}; "
                     "INSERT INTO fleeting SELECT n % 3, n, n FROM generate_series(1, 5000) n")
    top = "SET enable_seqscan = off; SET enable_sort = off; SELECT id FROM fleeting WHERE g = 1 ORDER BY score DESC, id LIMIT 3"
    assert [row for row, in database.query(top)] == [4999, 4996, 4993]
    server.stop("immediate")
    server.start()
    assert database.query(top) == []
    database.execute("INSERT INTO fleeting SELECT n % 3, n, n FROM generate_series(1, 600) n")
    assert [row for row, in database.query(top)] == [598, 595, 592]
    if settings.METHOD == "topk":
        database.execute("SELECT topk.index_check('fleeting_top')")
    assert_no_crash(server)
