"""One random schedule: streams, consumers and operators act in turn, one call at a time, and the model is told what was
committed. All of it follows from the seed."""
import random
from collections import Counter

import psycopg2
from harness.wait import wait_until
from harness.zone_hours import ZoneHours, instant

from compare import Comparison, same
from consumer import Consumer, Refused
from naive import Model
from stream import HOUR_MS, IDLE_MS, LATENESS_MS, MAX_AGE_MS, SKEW_MS, Backfill, Topic, Writer

MEMBERS = 3
# How often a step is drawn, relative to the others
STEPS = {"write": 24, "read": 24, "flush": 20, "seal": 10, "roll_up": 8, "tick": 18, "idle": 6, "rebalance": 2, "steal": 2, "correct": 4, "hold": 1, "resume": 3,
         "crash": 1, "answer_lost": 2, "never_committed": 2, "wrong_correction": 1, "add_partition": 0.6, "start_backfill": 0.5, "reset": 0.5,
         "restart": 0.25, "check": 4}
MS_FUNCTION = ("CREATE FUNCTION model_ms(timestamptz) RETURNS bigint IMMUTABLE LANGUAGE sql "
               "AS $$ SELECT CASE WHEN isfinite($1) THEN (extract(epoch FROM $1) * 1000)::bigint END $$")


class Schedule:
    def __init__(self, seed, database, zone, start, log):
        self.seed, self.rng, self.database, self.log = seed, random.Random(seed), database, log
        self.counter, self.now, self.step, hours = f"views_{seed % 10**6}", start, 0, ZoneHours(zone)
        self.model = Model(hours)
        self.writer = Writer(self.rng, hours, lambda: self.now)
        self.topics = [Topic(self.rng, "live", self.rng.randrange(2, 5))]
        self.old_days, self.done, self.sqlstates, self.born = None, Counter(), Counter(), 0
        self.query(MS_FUNCTION)
        interval = "%s * interval '1 ms'"
        self.query(f"SELECT topk.create_counter(%s, %s, {interval}, {interval}, {interval}, {interval})",
                   self.counter, zone, LATENESS_MS, SKEW_MS, MAX_AGE_MS, IDLE_MS)
        self.compare = Comparison(self.model, self.query, self.counter)
        self.owners, self.left = {}, []                    # (topic, partition) → the connection that claimed it; sessions left open
        self.members = [self._new_member() for _ in range(MEMBERS)]
        self.rebalance()

    # -- the ends of the wire -----------------------------------------------------------------------------------------

    def query(self, sql, *parameters):
        return self.database.query(sql, *parameters)

    def _connect(self):
        return self.database.cluster.connect(self.database.name, options=r"'-c default_transaction_isolation=read\\ committed'")

    def _new_member(self):
        self.born += 1
        return Consumer(f"member{self.born}", self._connect, self.counter, lambda: self.now, lazy=self.rng.random() < 0.5)

    def run(self, steps):
        try:
            for self.step in range(steps):
                name = self.rng.choices(list(STEPS), list(STEPS.values()))[0]
                self.log(f"{self.step} at {instant(self.now):%m-%dT%H:%M:%S.%f} {name}")
                getattr(self, name)()
                self.done[name] += 1
            self.finish()
        except AssertionError as error:
            raise AssertionError(f"seed {self.seed}, step {self.step}: {error}") from error

    def finish(self):
        """Everything is read to its end, and everything compared."""
        self.rebalance()
        for member in self.members:
            for topic in self.topics:
                for name, partition in sorted(member.held):
                    if name == topic.name:
                        member.read(topic, partition, 10**6)
                self._flush(member, topic)
        self.now += 2 * IDLE_MS
        for member in self.members:
            for topic in self.topics:
                self._flush(member, topic, member.idle(topic))
        self.seal()
        self.check(lists=10)
        self.compare.views()
        self.query("CALL topk.roll_up(%s)", self.counter)
        self.check(lists=10)
        self.compare.views()
        self.compare.rolled_up()
        for member in self.members:
            member.forget_connection()

    # -- streams and time ---------------------------------------------------------------------------------------------

    def tick(self):
        before = self.now
        self.now += self.rng.choices([self.rng.randrange(5000), self.rng.randrange(60_000), self.rng.randrange(10 * 60_000),
                                      self.rng.randrange(HOUR_MS), self.rng.randrange(5 * HOUR_MS)], weights=[25, 20, 25, 22, 8])[0]
        end = self.model.hours.hour_of(before - LATENESS_MS)[1]
        if before < end + LATENESS_MS - 1 and end + LATENESS_MS + 1 < self.now:
            for partition in range(len(self.topics[0].logs)):
                self.writer.write_on_the_bound(self.topics[0], partition, end)

    def write(self):
        topic = self.rng.choice(self.topics)
        if topic.name == "backfill":
            self.old_days.write(topic)
        else:
            self.writer.write(topic)

    def add_partition(self):
        """Nobody knows of it before the next claim; it may hold old records by then."""
        if len(self.topics[0].logs) < 6:
            self.topics[0].add_partition()
            old = self.now - self.rng.randrange(8 * HOUR_MS)  # perhaps sealed: then only the frontier makes them late
            self.topics[0].logs[-1].entries += [self.writer.event(old + number) for number in range(3)]
            self.writer.write(self.topics[0], partition=len(self.topics[0].logs) - 1, count=20)


    def start_backfill(self):
        """A second topic of old days, with or without holding the seal for it."""
        if len(self.topics) > 1:
            return
        if self.rng.random() < 0.6:
            self.hold()
        self.topics.append(Topic(self.rng, "backfill", self.rng.randrange(1, 3)))
        self.old_days = Backfill(self.rng, self.writer, self.now)
        self.old_days.write(self.topics[-1])
        self.rebalance()

    # -- consumers ----------------------------------------------------------------------------------------------------

    def _claim(self, member, topic, partitions):
        """What the claim must answer is known: they are all there, so all are ok."""
        answers = member.claim(topic, partitions)
        self.model.claim(topic.name, len(topic.logs), member.name, {partition: topic.logs[partition].start for partition in partitions})
        same("status of claim", dict.fromkeys(partitions, "ok"), answers)
        self._same_position(member, topic, partitions)

    def _same_position(self, member, topic, partitions):
        for partition in partitions:
            row, held = self.model.rows[topic.name, partition], member.held[topic.name, partition]
            self.owners[topic.name, partition] = member.connection
            same(f"claim of {topic.name} [{partition}]", (row.epoch, row.next, row.watermark), (held.epoch, held.committed, held.stored_watermark))
            assert member.frontier <= self.model.frontier

    def _recover(self, member):
        """After a failure: resume with own epochs; what another one has is given up."""
        for topic in self.topics:
            mine = [partition for name, partition in member.held if name == topic.name]
            if not mine:
                continue
            epochs = {partition: member.held[topic.name, partition].epoch for partition in mine}
            answers = member.claim(topic, mine, resume=True)
            self.model.learn_partitions(topic.name, len(topic.logs))
            ours = [partition for partition in mine if self.model.rows[topic.name, partition].epoch == epochs[partition]
                    and self.model.rows[topic.name, partition].member == member.name]
            same("status of resume", {partition: "ok" if partition in ours else "fenced" for partition in mine}, answers)
            self._same_position(member, topic, ours)

    def rebalance(self):
        """Kafka gives every partition to one of the members; they claim."""
        for topic in self.topics:
            for partition in range(len(topic.logs)):
                member = self.rng.choice(self.members)
                for other in self.members:
                    if other is not member and self.rng.random() < 0.7:  # the others wake up late and are fenced
                        self._give_up(other, topic, partition)
                self._claim(member, topic, [partition])

    @staticmethod
    def _give_up(member, topic, partition):
        if (topic.name, partition) in member.held:
            member.discard()
            del member.held[topic.name, partition]

    def steal(self):
        member, topic = self.rng.choice(self.members), self.rng.choice(self.topics)
        partitions = self.rng.sample(range(len(topic.logs)), self.rng.randrange(1, len(topic.logs) + 1))
        self._claim(member, topic, sorted(partitions))

    def crash(self):
        """A member is gone without a word, often with its partitions; a new one comes."""
        gone = self.rng.choice(self.members)
        if self.rng.random() < 0.5:
            gone.forget_connection()
        else:
            self.done["left its session open"] += 1
            self.left.append(gone.connection)
        self.members[self.members.index(gone)] = self._new_member()

    def read(self):
        holders = [(member, topic, partition) for member in self.members for topic in self.topics
                   for name, partition in sorted(member.held) if name == topic.name]
        for member, topic, partition in self.rng.sample(holders, min(len(holders), self.rng.randrange(1, 4))):
            member.read(topic, partition, self.rng.choice([1, 5, 20, 100, 1000]))

    # -- flush --------------------------------------------------------------------------------------------------------

    def _pick(self):
        ready = [(member, topic) for member in self.members for topic in self.topics if member.pending(topic)]
        return self.rng.choice(ready) if ready else (None, None)

    def flush(self):
        member, topic = self._pick()
        if member:
            self._flush(member, topic, member.idle(topic) if self.rng.random() < 0.2 else ())

    def idle(self):
        for member in self.members:
            for topic in self.topics:
                if quiet := member.idle(topic):
                    self._flush(member, topic, quiet, only_idle=self.rng.random() < 0.8)

    def _expected(self, member, topic, partitions):
        """The SQLSTATE with which the flush must fail, None if it must not."""
        rows = {partition: self.model.rows[topic.name, partition] for partition in partitions}
        if any(member.held[topic.name, partition].session is not member.connection for partition in partitions):
            return "TK001"
        if any(row.member != member.name or row.epoch != member.held[topic.name, partition].epoch
               or row.next != member.held[topic.name, partition].committed for partition, row in rows.items()):
            return "TK001"
        if any(self.model.sealed(self.model.hours.hour_of(hour)[1]) for hour, _ in member.deltas.get(topic.name, {})):
            return "TK002"
        return None

    def _flush(self, member, topic, idle=(), only_idle=False):
        if only_idle and member.pending(topic):
            return
        partitions = [*member.pending(topic), *idle]
        if not partitions:
            return
        expected = self._expected(member, topic, partitions)
        try:
            (frontier,), = member.call(*member.flush_call(topic, idle))
        except Refused as refusal:
            self.sqlstates[refusal.args[0]] += 1
            same("outcome of flush", expected, refusal.args[0])
            self._recover(member)
            return
        same("outcome of flush", expected, None)
        same("frontier of flush", self.model.frontier, float("-inf") if frontier is None else frontier)
        self._committed(member, topic, idle)
        member.flushed(topic, idle, frontier)

    def _committed(self, member, topic, idle=()):
        for partition in member.pending(topic):
            held = member.held[topic.name, partition]
            self.model.flush(topic.name, partition, topic.logs[partition], held.position, held.read_at)
        for partition in idle:
            self.model.idle(topic.name, partition, self.now)

    def answer_lost(self):
        """The flush is executed, its answer lost: only the database knows."""
        member, topic = self._pick()
        if not member or self._expected(member, topic, member.pending(topic)):
            return
        member.call(*member.flush_call(topic))
        self._committed(member, topic)
        self._lose_connection(member)

    def never_committed(self, stop=False):
        """The flush is executed, and its transaction ends without a commit."""
        member, topic = self._pick()
        if not member or self._expected(member, topic, member.pending(topic)):
            return self._stop_and_start() if stop else None
        member.connection.autocommit = False
        member.call(*member.flush_call(topic))
        if stop:
            self._stop_and_start()
        self._lose_connection(member)

    def _lose_connection(self, member):
        member.forget_connection()
        member.discard()
        self._recover(member)

    def restart(self):
        """The server stops without a checkpoint, half the time with a flush executed and not committed."""
        self.never_committed(stop=True)

    def _stop_and_start(self):
        self.database.close()
        self.database.cluster.stop("immediate")
        self.database.cluster.start()
        for connection in [*self.left, *(member.connection for member in self.members)]:
            if connection is not None:
                connection.close()
        for member in self.members:
            member.forget_connection()
            if self.rng.random() < 0.7:  # the others find out when they flush
                member.discard()
                self._recover(member)

    # -- operators ----------------------------------------------------------------------------------------------------

    def seal(self):
        self.query("CALL topk.seal(%s)", self.counter)
        self.model.seal()
        self.compare.frontier()

    def roll_up(self):
        """Some steps; how far they came, only the database knows. What the windows hold must not show it."""
        for _ in range(self.rng.randrange(1, 6)):
            (rows,), = self.query("SELECT topk.roll_up_step(%s, %s)", self.counter, self.rng.choice([1, 3, 20, 10**6]))
            self.done["rows rolled up"] += rows or 0
            self.done["rolled up to the end"] += rows is None

    def hold(self):
        if not self.model.held:
            self.model.held = True
            self.model.holds.append((f"held at {self.step}", False))
        self.query("SELECT topk.hold_seal(%s, %s)", self.counter, f"held at {self.step}")

    def resume(self):
        self.query("SELECT topk.resume_seal(%s)", self.counter)
        if self.model.held:
            self.model.held = False
            self.model.holds[-1] = (self.model.holds[-1][0], True)

    def _some_hour(self):
        hours = sorted({hour for hour, _ in self.model.in_time})
        if hours and self.rng.random() < 0.8:
            return self.rng.choice(hours)
        return self.model.hours.hour_of(self.now - self.rng.randrange(48 * HOUR_MS))[0]

    def correct(self):
        hour, video = self._some_hour(), f"vid_{self.rng.randrange(14)}"
        before = self.model.in_time.get((hour, video), 0)
        delta = self.rng.choice([-before, 1 - before, self.rng.randrange(1, 10**6), -self.rng.randrange(1, before + 2)])
        if delta == 0:
            return
        if not self.model.correction_fits(hour, video, delta):
            self._refused("22003", hour, video, delta, "below zero")
            return
        after = self.query("SELECT topk.correct(%s, %s, %s, %s, %s)", self.counter, instant(hour), video, delta, f"step {self.step}")[0][0]
        self.compare.corrected.add((hour, video))
        same("answer of correct", self.model.correct(hour, video, delta), after)

    def wrong_correction(self):
        hour = self._some_hour()
        self._refused("22023", hour, "vid_1", 0, "nothing")
        self._refused("22023", hour, "vid_1", 1, "")
        self._refused("22023", hour, "", 1, "no id")
        self._refused("22023", hour + 1, "vid_1", 1, "no hour's start")
        self._refused("22003", hour, "vid_never", -1, "below zero")

    def _refused(self, sqlstate, hour, video, delta, reason):
        try:
            self.query("SELECT topk.correct(%s, %s, %s, %s, %s)", self.counter, instant(hour), video, delta, reason)
        except psycopg2.Error as error:
            same("SQLSTATE of correct", sqlstate, error.pgcode)
            self.sqlstates[sqlstate] += 1
        else:
            raise AssertionError(f"accepted: correction {hour, video, delta, reason}")

    def reset(self):
        """Records are given up, or read and counted again."""
        topic = self.rng.choice(self.topics)
        partition = self.rng.randrange(len(topic.logs))
        row, log = self.model.rows.get((topic.name, partition)), topic.logs[partition]
        if row is None or row.next is None:
            return
        to = self.rng.randrange(max(log.start, row.next - 30), log.end + 1)
        self.query("SELECT topk.reset_progress(%s, %s, %s, %s, %s)", self.counter, topic.name, partition, to, f"step {self.step}")
        self.model.reset(topic.name, partition, to)
        self.owners.pop((topic.name, partition), None)
        self.done["reset back" if to < self.model.history[-1][2] else "reset forward"] += 1
        self._claim(self.rng.choice(self.members), topic, [partition])

    def _sessions_ended(self):
        """Whether the server has noticed which sessions were closed: only those that are open are left, besides the asker's."""
        open_ones = {id(session) for session in [*self.left, *(member.connection for member in self.members)] if session is not None and not session.closed}
        return self.query("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
                          "AND backend_type = 'client backend'")[0][0] == len(open_ones)

    # -- comparing ----------------------------------------------------------------------------------------------------

    def check(self, lists=1):
        self.compare.tables()
        self.compare.random_lists(self.rng, lists)
        if self.rng.random() < 0.5:
            self.compare.views()
        wait_until(self._sessions_ended, 10, "the ends of closed sessions")
        self.compare.status({key: not session.closed for key, session in self.owners.items()} | {key: False for key in self.model.rows
                                                                                                 if key not in self.owners})
        self.compare.audit()
