#!/usr/bin/python3
"""What the rows of a flush cost: topk.flush natively against its SQL statement, batch by batch in turn, CPU time of the session's process.

Each path has a window of its own, in a partition of its own, so that neither tidies the other's pages. It is filled with as many videos as it says; each batch
has so many different ones, drawn by Zipf's law (exponent 1), and is flushed by one path after the other, which alternate in going first. `empty`: every
flush goes to an hour without rows. The table is a counter's, with its primary key and its topk index.
"""
import contextlib
import datetime
import random
import statistics
import struct
import sys

import benchmark
import psycopg2
from quantities import counts
from rig.rig import RigError

COUNTER = "rows"
DAY = datetime.datetime(2026, 3, 1, tzinfo=datetime.timezone.utc)
MIX = 2654435761  # odd: no two ranks get one id
PATHS = ("sql", "native")
# A literal's parsing would be part of the cost
FLUSH = ("SELECT topk.flush(%s, 'events', (SELECT deltas FROM batch), NULL, NULL,"
         " ARRAY[ROW(0, %s, %s, %s, NULL, NULL, NULL, NULL, 0, 0, 0, %s)::topk.flush_progress])")


def video(rank):
    """Of the usual length, and in no order of the ranks."""
    return f"vid_{rank * MIX % (1 << 32):08x}".encode()


def draw(rng, videos, size):
    """{id: views} of so many different videos."""
    batch = {}
    while len(batch) < size:
        name = video(int((videos + 1) ** rng.random()) - 1)
        batch[name] = batch.get(name, 0) + 1
    return batch


def encode(hour, batch):
    entries = [struct.pack(f">H{len(name)}sq", len(name), name, views) for name, views in sorted(batch.items())]
    return b"".join([b"\x01", struct.pack(">qI", round(hour.timestamp() * 1000), len(entries)), *entries])


def sum_of(deltas):
    """Of the views in them."""
    at, total = 1, 0
    while at < len(deltas):
        _, count = struct.unpack_from(">qI", deltas, at)
        at += 12
        for _ in range(count):
            length, = struct.unpack_from(">H", deltas, at)
            total += struct.unpack_from(">q", deltas, at + 2 + length)[0]
            at += 10 + length
    return total


class Flusher:
    def __init__(self, server, windows):
        self.connection = server.connect()
        self.cursor = self.connection.cursor()
        self.offset, self.added = 0, 0
        self.cursor.execute("CREATE EXTENSION topk")
        self.cursor.execute("SELECT topk.create_counter(%s)", (COUNTER,))
        self.cursor.execute("CREATE UNLOGGED TABLE batch (deltas bytea); ALTER TABLE batch ALTER deltas SET STORAGE EXTERNAL")
        self.cursor.execute("SELECT topk.make_partitions(%s, %s, %s)", (COUNTER, DAY, DAY + datetime.timedelta(days=2 * windows + 9)))
        self.cursor.execute("SELECT epoch, pg_backend_pid() FROM topk.claim(%s, 'events', 'cluster', 'group', 'member', 1, '{0}', '{0}', '{9000000000}')", (COUNTER,))
        self.epoch, self.pid = self.cursor.fetchone()

    def fill(self, hour, videos):
        """Rows of all videos, in the order of their ids, as an hour has them after a while: pages with room, hint bits set. No checkpoint: no page is written whole."""
        before = self.total()
        self.cursor.execute(f"INSERT INTO {COUNTER}_hour SELECT %s, 'vid_' || lpad(to_hex(rank * {MIX} %% 4294967296), 8, '0'), 1 + {videos} / (rank + 1)"
                            f" FROM generate_series(0, {videos} - 1) rank ORDER BY 2", (hour,))
        self.added += self.total() - before
        self.cursor.execute(f"VACUUM ANALYZE {COUNTER}_hour")

    def total(self):
        self.cursor.execute(f"SELECT coalesce(sum(views), 0)::bigint FROM {COUNTER}_hour")
        return self.cursor.fetchone()[0]

    def check(self):
        """Nothing was lost, nothing counted twice, and the keys' index has every row."""
        if self.total() != self.added:
            raise RigError(f"the hours have {self.total()} views, flushed were {self.added}")
        self.cursor.execute("CREATE EXTENSION IF NOT EXISTS amcheck")
        self.cursor.execute("SELECT bt_index_check(i.indexrelid, true) FROM pg_index i JOIN pg_inherits h ON h.inhrelid = i.indrelid"
                            " WHERE i.indisprimary AND h.inhparent = %s::regclass", (f"{COUNTER}_hour",))

    def cpu(self):
        """Seconds that the session's process has run."""
        with open(f"/proc/{self.pid}/schedstat") as file:
            return int(file.read().split()[0]) / 1e9

    def wal(self):
        self.cursor.execute("SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint")
        return self.cursor.fetchone()[0]

    def flush(self, path, deltas, size):
        """Returns (CPU µs, bytes of WAL) a row."""
        self.cursor.execute(f"SET topk.native_upsert = {'on' if path == 'native' else 'off'}")
        self.cursor.execute("TRUNCATE batch")
        self.cursor.execute("INSERT INTO batch VALUES (%s)", (psycopg2.Binary(deltas),))
        wal, cpu = self.wal(), self.cpu()
        self.cursor.execute(FLUSH, (COUNTER, self.epoch, self.offset, self.offset + size, size))
        used = self.cpu() - cpu
        self.offset += size
        self.added += sum_of(deltas)
        return used / size * 1e6, (self.wal() - wal) / size


def measure_arm(report, flusher, name, batches):
    """batches: pairs of a batch for each path, and its size. The first pair is not counted: caches fill."""
    costs = {path: [] for path in PATHS}
    for number, (pair, size) in enumerate(batches):
        for path, deltas in (zip(PATHS, pair) if number % 2 else reversed(list(zip(PATHS, pair)))):
            cost = flusher.flush(path, deltas, size)
            if number:
                costs[path].append(cost)
    for path in PATHS:
        cpu, wal = zip(*costs[path])
        report.line(f"{name:34} {path:7} {benchmark.spread(cpu, '{:.2f}'):42} {statistics.median(wal):5.0f} B WAL")
    medians = [statistics.median(cost[0] for cost in costs[path]) for path in PATHS]
    report.line(f"{'':34} ratio   {medians[1] / medians[0]:.2f}")
    return medians


def measure(report, args, server):
    with contextlib.closing(server.connect()) as connection:
        version = connection.info.server_version
    where = f"PostgreSQL {version // 10000}.{version % 10000}"
    report.line(f"\n{where}: CPU µs a row, median (smallest, quartiles, largest) of {args.batches} batches")
    flusher, rng = Flusher(server, len(args.videos)), random.Random(args.seed)
    for number, videos in enumerate(args.videos):
        hours = [DAY + datetime.timedelta(days=2 * number + path) for path in range(len(PATHS))]
        for hour in hours:
            flusher.fill(hour, videos)
        for size in (size for size in args.sizes if size < videos):
            drawn = (draw(rng, videos, size) for _ in range(args.batches + 1))
            batches = [([encode(hour, batch) for hour in hours], size) for batch in drawn]
            medians = measure_arm(report, flusher, f"warm window of {videos}, {size} rows", batches)
            if videos == 1_000_000:
                report.bar(where, f"native, warm window of {videos}, {size} rows, CPU µs a row", medians[1], 5, "{:.2f}")
            elif videos == 10_000_000:
                report.bar(where, f"native / SQL, window of {videos}, {size} rows", medians[1] / medians[0], 0.5, "{:.2f}")
    hours = (DAY + datetime.timedelta(days=2 * len(args.videos), hours=hour) for hour in range(24 * 9))
    for size in args.sizes:
        batch = draw(rng, args.videos[-1], size)
        measure_arm(report, flusher, f"empty hour, {size} rows", [([encode(next(hours), batch) for _ in PATHS], size) for _ in range(min(args.batches, 10) + 1)])
    flusher.check()


def main():
    made = benchmark.parser(__doc__)
    benchmark.add_majors(made, "6GB")
    made.add_argument("--videos", type=counts, default="1M,10M", help="of the windows")
    made.add_argument("--sizes", type=counts, default="20k,85k", help="different videos of a batch")
    made.add_argument("--batches", type=int, default=20)
    args = benchmark.parse(made, {"videos": "20k", "sizes": "2k", "batches": 4, "shared_buffers": "128MB"})
    heading = f"What the rows of a flush cost\nload      windows of {args.videos} videos, batches of {args.sizes} by Zipf's law, exponent 1; seed {args.seed}\n" \
              f"settings  shared_buffers={args.shared_buffers} " + " ".join(f"{key}={value}" for key, value in benchmark.SETTINGS.items())
    return benchmark.run("upsert", args, heading, lambda report: benchmark.each_major("upsert", report, args, lambda server: measure(report, args, server)))


if __name__ == "__main__":
    sys.exit(main())
