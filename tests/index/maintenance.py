"""What administrators do to the tables under load: vacuum, rewrite, rebuild, replace and inspect the index."""
import contextlib

from psycopg2 import errors

GIVE_UP = (errors.LockNotAvailable, errors.DeadlockDetected, errors.QueryCanceled)


class Maintainer:
    """`waits`: does what waits for old snapshots to go; otherwise what waits for locks, briefly."""

    def __init__(self, session, storm, rng, waits):
        self.session, self.storm, self.rng, self.waits = session, storm, rng, waits
        self.cursor = session.cursor()
        self.cursor.execute("SET lock_timeout = '150ms'" if not waits else "SET statement_timeout = '30s'")
        self.operations = [self.reindex_concurrently, self.replace_index, self.cut_tail] if waits else [
            self.vacuum, self.vacuum, self.vacuum_thoroughly, self.vacuum_full, self.reindex, self.reindex, self.reindex_table,
            self.build_twice, self.analyze]
        if storm.method == "topk" and not waits:
            self.operations += [self.refill, self.refill] + [self.check] * storm.index_check

    def maintain(self):
        operation, shape = self.rng.choice(self.operations), self.storm.some_shape(self.rng)
        if not self.storm.maintained[shape.name].acquire(blocking=False):
            return
        try:
            if self.attempt(self.tidy, shape) and self.attempt(operation, shape) and not self.waits:
                self.attempt(self.sample, shape)
            if self.rng.random() < 0.5:
                self.finish_prepared()
        finally:
            self.storm.maintained[shape.name].release()
        self.storm.journal(shape, self.session.number, operation.__name__)
        self.storm.progress.advance("maintenance")

    def attempt(self, operation, shape):
        try:
            operation(shape)
            self.storm.progress.advance(operation.__name__)
            return True
        except GIVE_UP:
            self.storm.progress.advance("gave up " + operation.__name__)
            return False

    def run(self, sql):
        self.cursor.execute(sql)

    def vacuum(self, shape):
        self.run(f"VACUUM {shape.name}")

    def cut_tail(self, shape):
        """Empties the second half of the table; VACUUM gives it back when no snapshot sees it and nobody reads it."""
        pages = self.pages(shape)
        for _ in range(40):
            self.run(f"DELETE FROM {shape.name} WHERE ctid >= '({pages // 2},0)'::tid")
            self.run(f"VACUUM (TRUNCATE ON) {shape.name}")
            if self.pages(shape) < pages:
                return self.storm.progress.advance("truncated")
            if self.storm.stopping:
                return
            self.storm.progress.wait("write", 20, limit=1)

    def pages(self, shape):
        self.run(f"SELECT pg_relation_size('{shape.name}') / current_setting('block_size')::int")
        return self.cursor.fetchone()[0]

    def vacuum_thoroughly(self, shape):
        self.run(f"VACUUM (INDEX_CLEANUP ON, DISABLE_PAGE_SKIPPING, FREEZE {self.rng.choice(['ON', 'OFF'])}) {shape.name}")

    def vacuum_full(self, shape):
        self.run(f"VACUUM FULL {shape.name}")

    def analyze(self, shape):
        self.run(f"ANALYZE {shape.name}")

    def reindex(self, shape):
        self.run(f"REINDEX INDEX {shape.index}")

    def reindex_table(self, shape):
        self.run(f"REINDEX TABLE {shape.name}")

    def reindex_concurrently(self, shape):
        self.run(f"REINDEX INDEX CONCURRENTLY {shape.index}")

    def replace_index(self, shape):
        self.run(shape.create_index(self.storm.method, f"{shape.index}_next", concurrently=True))
        self.run(f"DROP INDEX CONCURRENTLY {shape.index}")
        self.run(f"ALTER INDEX {shape.index}_next RENAME TO {shape.index}")

    def build_twice(self, shape):
        """A second index beside the first."""
        self.run(shape.create_index(self.storm.method, f"{shape.index}_second"))
        self.run(f"DROP INDEX {shape.index}; ALTER INDEX {shape.index}_second RENAME TO {shape.index}")

    def refill(self, shape):
        self.run(f"SELECT topk.index_refill('{shape.index}')")

    def check(self, shape):
        self.run(f"SELECT topk.index_check('{shape.index}')")

    def finish_prepared(self):
        with contextlib.suppress(IndexError):  # none is left, or another session was first
            while True:
                name = self.storm.prepared.popleft()
                self.run(f"{self.rng.choice(['COMMIT', 'COMMIT', 'ROLLBACK'])} PREPARED '{name}'")

    def tidy(self, shape):
        """One valid index remains, under its name, whatever an operation that gave up has left."""
        self.run(f"""SELECT c.relname, i.indisvalid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
                     WHERE i.indrelid = '{shape.name}'::regclass AND NOT indisprimary ORDER BY c.relname""")
        found = dict(self.cursor.fetchall())
        good = [name for name, valid in found.items() if valid]
        keep = shape.index if shape.index in good else good[0] if good else None
        for name in found:
            if name != keep:
                self.run(f"DROP INDEX CONCURRENTLY {name}")
        if keep is None:
            self.run(shape.create_index(self.storm.method))
        elif keep != shape.index:
            self.run(f"ALTER INDEX {keep} RENAME TO {shape.index}")

    def sample(self, shape):
        """What the run has exercised is known from the statistics."""
        if self.storm.method != "topk":
            return
        self.run(f"SELECT thresholds, histories, paged_groups FROM topk.index_stats('{shape.index}')")
        for name, value in zip(("thresholds", "histories", "paged_groups"), self.cursor.fetchone()):
            self.storm.progress.advance(name, value)
