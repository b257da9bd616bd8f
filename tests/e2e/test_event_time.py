"""Random streams in event time through kill -9 of members, stops of PostgreSQL and kills of the broker, with sealing by
`--maintain` all the while. Two counters read one topic: one decides by the records alone, and its split into in time and late is
recounted; the other is also advanced by the clock, and the sum is the same."""
import random
import time

from harness import kafka, recount, sealed, settings, streams, transactions
from harness.wait import wait_until

PARTITIONS, HOURS = 6, 60
TIMEOUTS = ("session.timeout.ms=2000", "heartbeat.interval.ms=400")
# counter → how it is made. An idle timeout of an hour: never advanced by the clock in this test
COUNTERS = {"video_views": dict(time_zone="Asia/Kolkata", lateness="90 s", idle_timeout="1 hour"),
            "restless": dict(time_zone="America/St_Johns", lateness="0 s", idle_timeout="1 s")}
# A second is more than an hour of the stream: who goes back with records unflushed must also take the watermark back.
FLUSHES = {"video_views": "1s", "restless": "100ms"}


class Group:
    """A counter with its members, started again at once when they are killed."""

    def __init__(self, launcher, database, topic, counter):
        self.launcher, self.database, self.topic, self.counter = launcher, database, topic, counter
        self.sealed = sealed.SealedHours(database, counter)
        self.members = {name: self._start(name) for name in ("alpha", "beta")}

    def _start(self, name):
        return self.launcher.ingest(self.database, self.topic, "--maintain", "--startup-timeout", "60s", name=f"{self.counter}-{name}",
                                    counter=self.counter, kafka=TIMEOUTS, flush_interval=FLUSHES[self.counter])

    def kill(self, name):
        self.members[name].kill()
        self.members[name] = self._start(name)

    def total(self):
        return sum(offset or 0 for offset in self.database.next_offsets(self.topic.name, self.counter).values())


def let_work(groups, seconds):
    """For a while, and until every counter has flushed; what is sealed is looked at on the way."""
    over, before = time.monotonic() + seconds, [group.total() for group in groups]

    def done():
        for group in groups:
            group.sealed.look()
        return time.monotonic() > over and all(group.total() > then for group, then in zip(groups, before))
    wait_until(done, seconds + 60, "flushes of every counter since the last fault", every=0.2)


def do(kind, rng, groups, postgres, broker):
    if kind == "kill":
        rng.choice(groups).kill(rng.choice(["alpha", "beta"]))
    elif kind == "database":
        postgres.stop("immediate")
        if rng.random() < 0.5:
            rng.choice(groups).kill(rng.choice(["alpha", "beta"]))
        postgres.start()
    else:
        broker.kill()
        broker.start()


def faults(rng):
    kinds = ["kill"] * settings.TIME_KILLS + ["database"] * settings.TIME_DATABASE_STOPS + ["broker"] * settings.TIME_BROKER_KILLS
    rng.shuffle(kinds)
    return kinds


def test_streams_through_faults(empty_database, broker, postgres, launcher, test_name):
    database, rng = empty_database, random.Random(settings.SEED)
    for counter, options in COUNTERS.items():
        database.create_counter(counter, **options)
    topic, schedule = broker.create_topic(test_name, PARTITIONS), faults(rng)
    groups = [Group(launcher, database, topic, counter) for counter in COUNTERS]
    half = len(schedule) // 2
    for number, kinds in enumerate((schedule[:half], schedule[half:])):
        # The second half goes on where the first ended.
        made = [streams.Stream(settings.SEED + 2 * number + twin, HOURS - 30 * number, seconds=4 * len(kinds) + 5, until=28 * (1 - number) + 2)
                for twin in range(2)]
        with transactions.TransactionalProducer(topic, settings.SEED + number, f"{topic.name}-writer", events=made[0]), \
                kafka.SteadyProducer(topic, settings.SEED + number, rate=600, malformed=0.02, source=made[1]):
            for kind in kinds:
                let_work(groups, rng.uniform(0.5, 2.5))
                do(kind, rng, groups, postgres, broker)
            let_work(groups, 1)
        if number == 0:
            wait_until(lambda: any(row["clock_advanced_at"] for row in database.progress(topic.name, "restless").values()), 40,
                       "a partition advanced by the clock in the silence", every=0.2)
    for group in groups:
        database.wait_for_offsets(topic.name, topic.ends(), 60, group.counter)
        check(group, database, topic, launcher)
    splits = {group.counter: (sum(recount.stored_in_time(database, group.counter).values()), sum(recount.stored_late(database, group.counter).values()))
              for group in groups}
    assert all(in_time and late for in_time, late in splits.values()), splits


def check(group, database, topic, launcher):
    assert [process.terminate() for process in group.members.values()] == [0, 0]
    database.execute("CALL topk.seal(%s)", group.counter)
    assert group.sealed.look() is not None, "nothing was sealed"
    # The restless one's watermarks jump to the clock in the first silence: what comes then is late.
    assert len({hour for hour, _ in group.sealed.kept}) > (5 if group.counter == "restless" else HOURS / 4), "few hours with views were sealed"
    found = recount.assert_equal(database, topic, group.counter)
    clocked = any(row["clock_advanced_at"] for row in database.progress(topic.name, group.counter).values())
    assert clocked == (group.counter == "restless")
    if not clocked:
        expected = min(found.watermarks.values()) - recount.counter_of(database, group.counter).lateness_ms
        frontier = recount.counter_of(database, group.counter).hours.hour_of(expected)[0]
        assert group.sealed.through == frontier, "the frontier is the start of the hour that all partitions have passed by the lateness"
        recount.assert_split_equal(found, database, group.counter)
    verified = launcher.verify(database, topic, counter=group.counter)
    assert verified.exit_code == 0, verified.log_text()
