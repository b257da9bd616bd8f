"""The designs that the ingest benchmark runs over the same topic: topkd, upserts into four tables, Apache Flink's windows.

An arm sets up the current database, starts its consumers, says how many events are in the tables, and when all is done that its design does
to them. Its tables can be fingerprinted: by window, the sum of views, and the sum of views times a hash of the video. Both are sums, so that
the fingerprints of a day's hours, and of what stood there before the run, add up to the day's.
"""

import contextlib
import re
import shutil
import subprocess
from pathlib import Path

from ingest_rig import TABLES_SQL, first_event
from ingest_standing import FINGERPRINT, warm
from rig.rig import TOPKD, Process, RigError

UPSERT_INGEST = TOPKD.parent / "upsert_ingest"
FLINK_SH = Path(__file__).resolve().parent / "flink/flink.sh"
SPANS = ("hour", "day", "month", "all_time")
STOP_SECONDS = 300  # a flush under way is waited for
HOURS_SEALED = 2  # of a run that crosses two hour boundaries


def added(fingerprints):
    return tuple(map(sum, zip((0, 0), *fingerprints)))


class Arm:
    """One run of a design: setup, start, until finished or stopped. standing: what its database was copied from, if there is something in it."""

    name, has_lists = None, True
    tables, standing_table, all_time = "upserts", "views_{span}", "-infinity"  # whose template it takes, what stands in it, and its window of all time

    def __init__(self, rig, topic, flush_interval, consumers=1, standing=None):
        self.rig, self.topic, self.flush_interval, self.consumers, self.standing = rig, topic, flush_interval, consumers, standing
        self.processes = []

    def setup(self, **options):
        if self.standing:
            warm(self.rig)
        else:
            self.setup_tables(**options)

    def setup_tables(self):
        """In an empty database."""
        raise NotImplementedError

    def standing_order(self, standing):
        """Of the columns of Standing.rows."""
        return "rank"

    def after_standing(self, cursor, standing):
        """What the design has to know of the rows that stand there."""

    def stood(self, span):
        return self.standing.sums[span] if self.standing else (0, 0)

    def pids(self):
        return {self.name if len(self.processes) == 1 else f"{self.name} {number}": process.child.pid
                for number, process in enumerate(self.processes, 1)}

    def settled(self, cursor):
        """Nothing is left to be done but what comes with later events."""
        return True

    def stop(self, cut=False):
        """In the middle of its work, if cut: then the last flush may have been too long for its end, and is read again."""
        running = [process for process in self.processes if process in self.rig.processes]
        for process in running:
            process.child.terminate()
        for process in running:
            if self.rig.finish(process, STOP_SECONDS) and not cut:
                raise RigError(f"{process.name} failed:\n{process.tail()}")

    def hours(self):
        """{window: fingerprint} of the hours; checks on the way that all other tables have the same sum."""
        raise NotImplementedError


class Topkd(Arm):
    name = "topkd"
    tables, standing_table = "topkd", "video_views_{span}_rollup"

    def setup_tables(self, idle_timeout="1 day"):
        """A long idle timeout: what was produced before must not be sealed by the clock after its end."""
        self.rig.query("CREATE EXTENSION topk")
        self.rig.query("SELECT topk.create_counter('video_views', idle_timeout => %s)", idle_timeout)

    def standing_order(self, standing):
        return standing.came_by_hours()

    def after_standing(self, cursor, standing):
        """The day's hours before the run are sealed and in the day, the days before in month and all time. Maintenance has done what was due."""
        cursor.execute("SELECT topk.make_partitions('video_views', %s, %s::timestamptz + interval '1 hour')", (standing.start, standing.start))
        cursor.execute("INSERT INTO topk.roll_up_marker (counter, span, window_start) "
                       f"VALUES ('video_views', 'day', {standing.hour()}), ('video_views', 'month', {standing.window('day')}), ('video_views', 'all_time', {standing.window('day')}) "
                       "ON CONFLICT (counter, span) DO UPDATE SET window_start = excluded.window_start")
        cursor.execute(f"UPDATE topk.counter_data SET sealed_through = {standing.hour()} WHERE name = 'video_views'")
        cursor.execute("CALL topk.maintain('video_views')")

    def start(self):
        for number in range(self.consumers):
            self.processes.append(self.rig.topkd(f"ingest-{number}", "ingest", "--topic", self.topic, "--flush-interval", self.flush_interval,
                                                 *(["--maintain"] if number == 0 else [])))

    def counted(self, cursor):
        cursor.execute("SELECT coalesce(sum(counted), 0)::bigint FROM topk.kafka_progress")
        return cursor.fetchone()[0]

    def settled(self, cursor):
        cursor.execute("SELECT count(*) FROM topk.time_window WHERE counter = 'video_views' AND span = 'hour' AND sealed AND rolled_up "
                       "AND window_start >= date_trunc('hour', %s::timestamptz)", (first_event(),))
        return cursor.fetchone()[0] >= HOURS_SEALED

    def verify(self):
        """topkd's recount of the topic, by code of its own. Its last line."""
        process = self.rig.topkd("verify", "verify", "--topic", self.topic)
        if self.rig.finish(process, 3600):
            raise RigError(f"topkd verify found differences:\n{process.tail()}")
        return process.tail(1)

    def hours(self):
        found = {window: tuple(rest) for window, *rest in self.rig.query(f"SELECT window_start, {FINGERPRINT} FROM video_views_hour GROUP BY 1")}
        for span in SPANS[1:]:
            # The day is not over: in month and all time it comes on top of what stood there of days before.
            stood = {self.standing_table.format(span=part): self.stood(part) for part in ("day", span)}
            if self.rig.query(f"SELECT {FINGERPRINT} FROM video_views_{span}")[0] != added([*found.values(), *stood.values()]):
                raise RigError(f"topkd: video_views_{span} is not the sum of the hours and of what stood there")
        self.audit()
        return found

    def audit(self):
        """The roll-ups have what stood there, which no book knows of, to the view; nothing else differs."""
        differing = {name: found - expected for name, expected, found in
                     self.rig.query("SELECT check_name, expected, found FROM topk.audit('video_views') WHERE NOT ok AND subject IS NOT NULL")}
        expected = {name: self.stood(span)[0] for span, name in zip(SPANS[1:], ("day roll-up", "month roll-up", "all-time roll-up"))} if self.standing else {}
        if differing != expected:
            raise RigError(f"topkd: the audit finds {differing} instead of {expected}")

    def rows(self):
        """(rows written live, rows rolled up) since the database is there. What was rolled up is what the marker has passed."""
        live = self.rig.query("SELECT coalesce(sum(n_tup_ins + n_tup_upd), 0)::bigint FROM pg_stat_user_tables WHERE relname LIKE 'video\\_views\\_hour%'")[0][0]
        return live, self.rig.query("SELECT count(*) FROM video_views_hour h JOIN topk.roll_up_marker m ON m.counter = 'video_views' AND m.span = 'day' "
                                    "WHERE (h.window_start, h.video_id) <= (m.window_start, m.video_id)")[0][0]

    top_sql = "SELECT video_id FROM topk('hour', %s)"


class Upserts(Arm):
    name = "upserts"

    def setup_tables(self):
        for span in SPANS:
            self.rig.query(TABLES_SQL.format(span=span))
        self.rig.query("CREATE TABLE views_offset (partition int PRIMARY KEY, next_offset bigint NOT NULL)")

    def start(self):
        if not UPSERT_INGEST.exists():
            raise RigError(f"{UPSERT_INGEST} is not built: make bench does, or cmake --build {TOPKD.parent} --target upsert_ingest")
        conninfo = self.rig.uri() + "&application_name=upsert_ingest"
        self.processes.append(self.rig._add(Process("upserts", [UPSERT_INGEST, conninfo, self.rig.brokers, self.topic, self.flush_interval],
                                                    self.rig.directory / "upserts.log")))

    def counted(self, cursor):
        cursor.execute("SELECT coalesce(sum(next_offset), 0)::bigint FROM views_offset")
        return cursor.fetchone()[0]

    def hours(self):
        found = {window: tuple(rest) for window, *rest in self.rig.query(f"SELECT window_start, {FINGERPRINT} FROM views_hour GROUP BY 1")}
        for span in SPANS[1:]:
            if self.rig.query(f"SELECT {FINGERPRINT} FROM views_{span}")[0] != added([*found.values(), self.stood(span)]):
                raise RigError(f"upserts: views_{span} is not the sum of the hours and of what stood there")
        return found

    def rows(self):
        return self.rig.query("SELECT coalesce(sum(n_tup_ins + n_tup_upd), 0)::bigint, 0::bigint FROM pg_stat_user_tables WHERE relname <> 'views_offset'")[0]

    top_sql = "SELECT video_id FROM views_hour WHERE window_start = date_trunc('hour', now()) ORDER BY views DESC, video_id LIMIT %s"


FLINK_SOURCE = """
SET parallelism.default = 2;
SET table.local-time-zone = UTC;
SET taskmanager.numberOfTaskSlots = 2;
SET taskmanager.memory.managed.size = {managed};
SET taskmanager.memory.network.min = 128m;
SET taskmanager.memory.network.max = 128m;
SET state.backend.type = {state};
SET execution.checkpointing.interval = 30s;
SET execution.checkpointing.dir = file://{checkpoints};
SET table.exec.sink.not-null-enforcer = DROP;
{more}
CREATE TABLE view_events (
    video_id STRING, ts BIGINT, `views` BIGINT, et AS TO_TIMESTAMP_LTZ(ts, 3), WATERMARK FOR et AS et - INTERVAL '60' SECOND
) WITH ('connector' = 'kafka', 'topic' = '{topic}', 'properties.bootstrap.servers' = '{brokers}', 'properties.group.id' = 'flink.{topic}',
        'scan.startup.mode' = 'earliest-offset', 'scan.bounded.mode' = 'latest-offset', 'format' = 'json', 'json.ignore-parse-errors' = 'true');
"""
FLINK_SINK = """
CREATE TABLE views_{span} (window_start TIMESTAMP(3), video_id STRING, `views` BIGINT, PRIMARY KEY (window_start, video_id) NOT ENFORCED)
WITH ('connector' = 'jdbc', 'url' = 'jdbc:postgresql://127.0.0.1:{port}/{database}?reWriteBatchedInserts=true', 'username' = 'postgres', 'password' = 'trusted',
      'table-name' = 'views_{span}', 'sink.buffer-flush.max-rows' = '10000', 'sink.buffer-flush.interval' = '1s');
"""
TUMBLE = """
INSERT INTO views_{span} SELECT CAST(window_start AS TIMESTAMP(3)), video_id, SUM(COALESCE(`views`, 1))
FROM TABLE(TUMBLE(TABLE view_events, DESCRIPTOR(et), INTERVAL '1' {unit})) GROUP BY window_start, window_end, video_id;
"""
LIVE = """
INSERT INTO views_{span} SELECT {window}, video_id, SUM(COALESCE(`views`, 1)) FROM view_events GROUP BY {window}, video_id;
"""
WINDOWS = {"hour": "CAST(FLOOR(et TO HOUR) AS TIMESTAMP(3))", "day": "CAST(FLOOR(et TO DAY) AS TIMESTAMP(3))",
           "month": "CAST(FLOOR(et TO MONTH) AS TIMESTAMP(3))", "all_time": "TIMESTAMP '2000-01-01 00:00:00'"}
MINI_BATCH = """SET table.exec.mini-batch.enabled = true;
SET table.exec.mini-batch.allow-latency = 1s;
SET table.exec.mini-batch.size = 200000;"""


class Flink(Arm):
    """Tumbling windows of an hour and of a day, each written once, when it is over: no list of the running hour."""

    name, has_lists = "flink", False
    spans, state, managed, memory = ("hour", "day"), "hashmap", "512m", "6g"

    def statements(self):
        return "".join(TUMBLE.format(span=span, unit=unit) for span, unit in (("hour", "HOUR"), ("day", "DAY")))

    def start(self):
        checkpoints = self.rig.directory / "flink-checkpoints"
        shutil.rmtree(checkpoints, ignore_errors=True)
        script = self.rig.directory / f"{self.name}.sql"
        sinks = "".join(FLINK_SINK.format(span=span, port=self.rig.server.port, database=self.rig.database) for span in self.spans)
        script.write_text(FLINK_SOURCE.format(topic=self.topic, brokers=self.rig.brokers, checkpoints=checkpoints, state=self.state,
                                              managed=self.managed, more=self.more()) + sinks + self.statements())
        log = self.rig.directory / f"{self.name}.log"
        log.unlink(missing_ok=True)
        self.processes.append(Process(self.name, [FLINK_SH, "run", script], log, environment={"FLINK_MEMORY": self.memory}))

    def more(self):
        return ""

    def submitted(self):
        return re.search("^SUBMITTED$", self.processes[0].log.read_text(errors="replace"), re.M) is not None

    def finished(self):
        process = self.processes[0]
        if process.child.poll() is None:
            return False
        if process.child.returncode or "\nFINISHED" not in process.log.read_text(errors="replace"):
            raise RigError(f"Flink failed with exit code {process.child.returncode}:\n{process.tail(25)}")
        return True

    def counted(self, cursor):
        """What it has read is not in the tables before its windows are over, or its mini-batches."""
        cursor.execute("SELECT coalesce(sum(views), 0)::bigint FROM views_hour")
        return cursor.fetchone()[0]

    def stop(self, cut=False):
        for process in self.processes:
            process.stop()

    def hours(self):
        found = {window: tuple(rest) for window, *rest in self.rig.query(f"SELECT window_start, {FINGERPRINT} FROM views_hour GROUP BY 1")}
        for span in self.spans[1:]:
            if self.rig.query(f"SELECT {FINGERPRINT} FROM views_{span}")[0] != added([*found.values(), self.left(span)]):
                raise RigError(f"{self.name}: views_{span} is not the sum of the hours and of what stood there of other videos")
        return found

    def left(self, span):
        """Of what stood there: its state knows nothing of it, so that it writes over the rows of the videos that it sees."""
        if not self.standing:
            return (0, 0)
        return self.rig.query(f"SELECT {FINGERPRINT} FROM ({self.standing.rows(span)}) r WHERE NOT EXISTS (SELECT FROM views_hour h WHERE h.video_id = r.video_id)")[0]

    setup_tables, rows = Upserts.setup_tables, Upserts.rows  # it may begin from the same template


class FlinkLive(Flink):
    """Running sums of the four windows, written again every second: lists as fresh as topkd's."""

    name, has_lists = "flink-live", True
    spans = SPANS
    tables, all_time = "flink_live", "2000-01-01Z"  # its timestamps have no infinity

    def more(self):
        return MINI_BATCH

    def statements(self):
        return "".join(LIVE.format(span=span, window=WINDOWS[span]) for span in SPANS)


ARMS = {arm.name: arm for arm in (Topkd, Upserts, Flink, FlinkLive)}


def flink_version():
    """None, and why not, if its jars cannot be had."""
    with contextlib.suppress(OSError):
        done = subprocess.run([FLINK_SH, "install"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode:
            return None, done.stdout.strip().splitlines()[-1:] or ["flink.sh install failed"]
        return subprocess.run([FLINK_SH, "version"], stdout=subprocess.PIPE, text=True).stdout.strip(), None
    return None, ["flink.sh is not there"]



