"""topk.flush adds natively what it adds by SQL: the same batches, by several sessions at once, with aborts, savepoints, deletions, VACUUM, old
snapshots and immediate stops in between."""
import random

import pytest
import settings
from database import Database, assert_no_crash
from upserts import CHUNK, Upserts


def told(upserts):
    return ", ".join(f"{kind}: {number}" for kind, number in sorted(upserts.counts.items()))


@pytest.mark.parametrize("layout", ["hot", "full", "indexed"])
def test_any_mix_of_paths(start, major, count_up, layout):
    """Rows that have room for HOT updates, that have none, and that have an index which forbids them."""
    server = start()
    upserts = Upserts(Database(server), f"{settings.SEED}/{major}/{layout}")
    upserts.create(100 if layout == "full" else 70, layout == "indexed")
    for native in (0.5, 1):
        upserts.native = native
        upserts.run(settings.UPSERTS // 6)
        upserts.check()
    assert upserts.counts["native"] and upserts.counts["SQL"] and upserts.counts["one by one"] and upserts.counts["old snapshots"]
    count_up(told(upserts))
    assert_no_crash(server)


def test_flushes_never_deadlock(start, major, count_up):
    """Neither among themselves nor with those by SQL, whatever keys they share."""
    server = start()
    upserts = Upserts(Database(server), f"{settings.SEED}/{major}/order", native=0.8, deletes=False, videos=50)
    upserts.create()
    upserts.run(settings.UPSERTS // 2)
    upserts.check()
    assert upserts.counts["one by one"]
    count_up(told(upserts))
    assert_no_crash(server)


@pytest.mark.parametrize("deletes", [True, False])
def test_flushes_of_several_chunks(start, major, count_up, deletes):
    """Each in a subtransaction of its own: what one has locked stays while the next is begun, done again, or rolled back with all."""
    server = start()
    upserts = Upserts(Database(server), f"{settings.SEED}/{major}/chunks/{deletes}", native=0.8, deletes=deletes, videos=8000, sizes=(300, CHUNK + 900, 3 * CHUNK))
    upserts.create()
    upserts.run(settings.UPSERTS // 8)
    upserts.check()
    assert upserts.counts["of several chunks"] and upserts.counts["one by one in flushes of several chunks"]
    count_up(told(upserts))
    assert_no_crash(server)


def test_crash_under_flushes(start, major, count_up):
    """What was committed is there after recovery, what was not is not."""
    server = start()
    upserts = Upserts(Database(server), f"{settings.SEED}/{major}/crash", native=0.8)
    upserts.create()
    rng = random.Random(f"{settings.SEED}/crash")
    for _ in range(settings.CRASHES):
        goal = upserts.counts["transactions"] + rng.randint(10, 60)

        def stop():
            while upserts.counts["transactions"] < goal and not upserts.failure:
                upserts.stopping.wait(0.01)
            upserts.broken_is_fine = True
            server.stop("immediate")

        upserts.broken_is_fine = False
        upserts.run(until=stop)
        server.start()
        upserts.check()
    count_up(f"{settings.CRASHES} immediate stops, {told(upserts)}")
    assert_no_crash(server)
