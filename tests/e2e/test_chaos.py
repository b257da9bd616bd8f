"""A million events through kill -9 of members, immediate stops of PostgreSQL and kills of the broker: nothing is lost
and nothing counts twice. The faults come in a seeded random order while records are being produced and ingested."""
import random
import time
from datetime import datetime, timedelta, timezone

from harness import kafka, members, recount, settings
from harness.wait import wait_until

PARTITIONS = 8
TIMEOUTS = ("session.timeout.ms=2000", "heartbeat.interval.ms=400")


class Group:
    """Two members under a supervisor that starts a killed one again at once, as systemd would."""

    def __init__(self, launcher, database, topic):
        self.launcher, self.database, self.topic = launcher, database, topic
        self.unexpected_exits = []
        self.members = {name: self._start(name) for name in ("alpha", "beta")}

    def _start(self, name):
        return self.launcher.ingest(self.database, self.topic, "--startup-timeout", "60s", name=name, kafka=TIMEOUTS,
                                    flush_interval="100ms")

    def kill(self, name):
        self.tend()
        self.members[name].kill()
        self.members[name] = self._start(name)

    def tend(self):
        for name, process in self.members.items():
            if not process.alive():
                self.unexpected_exits.append((name, process.exit_code))
                self.members[name] = self._start(name)


def faults(rng):
    """The seeded schedule: (kind of fault, seconds to let the group work before it)."""
    kinds = ["kill"] * settings.KILLS + ["database"] * settings.DATABASE_STOPS + ["broker"] * settings.BROKER_KILLS
    rng.shuffle(kinds)
    return [(kind, settings.FAULT_INTERVAL * rng.uniform(0.3, 1.3)) for kind in kinds]


def let_work(group, seconds):
    """Lets the group work for a while, and until it has flushed something: a fault counts only in the middle of work."""
    def total():
        group.tend()
        return sum(offset or 0 for offset in group.database.next_offsets(group.topic.name).values())
    pause_over, before = time.monotonic() + seconds, total()
    wait_until(lambda: total() > before and time.monotonic() > pause_over, seconds + 60, "any flush since the last fault", every=0.1)


def produce(launcher, topic, seconds):
    """All events within about `seconds`; their event times run over three days, so that day partitions appear under way."""
    span = timedelta(days=3)
    start = datetime.now(timezone.utc) - span
    return launcher.produce(
        topic, "--count", str(settings.EVENTS), "--rate", f"{settings.EVENTS / seconds:.1f}/s", "--seed", str(settings.SEED),
        "--videos", "50000", "--zipf", "1.0", "--start", f"{start:%Y-%m-%dT%H:%M:%SZ}",
        "--time-scale", f"{span.total_seconds() / seconds:.1f}", "--disorder", "10min")


def test_chaos(empty_database, broker, postgres, launcher, test_name):
    rng, database = random.Random(settings.SEED), empty_database
    database.create_counter(lateness="5 days")  # nothing is late: all goes the way of the counts
    topic = broker.create_topic(test_name, PARTITIONS)
    schedule = faults(rng)
    producer = produce(launcher, topic, seconds=sum(pause for _, pause in schedule) + 8 * settings.BROKER_KILLS)
    group = Group(launcher, database, topic)
    killed_owners = 0
    with kafka.SteadyProducer(topic, settings.SEED, rate=200, malformed=0.05):
        for kind, pause in schedule:
            let_work(group, pause)
            if kind == "kill":
                name = rng.choice(["alpha", "beta"])
                killed_owners += members.owns(database, topic, name)
                group.kill(name)
            elif kind == "database":
                postgres.stop("immediate")
                if rng.random() < 0.5:
                    group.kill(rng.choice(["alpha", "beta"]))
                postgres.start()
            else:
                broker.kill()
                broker.start()
        assert producer.wait(180) == 0
    database.wait_for_offsets(topic.name, topic.ends(), 120)
    group.tend()
    assert [process.terminate() for process in group.members.values()] == [0, 0]
    assert group.unexpected_exits == []
    assert killed_owners >= settings.KILLS / 2, f"only {killed_owners} of {settings.KILLS} kills hit a member that owned partitions"
    found = recount.assert_equal(database, topic)
    assert sum(found.good.values()) >= settings.EVENTS
    verified = launcher.verify(database, topic)
    assert verified.exit_code == 0, verified.log_text()
