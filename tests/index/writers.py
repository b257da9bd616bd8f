"""Writers: random transactions over the tables. What they do is drawn from a seed; how they interleave is not."""
import io

import lists

ISOLATION = ["READ COMMITTED"] * 6 + ["REPEATABLE READ"] * 3 + ["SERIALIZABLE"]


class Writer:
    """One session. `patience`: the progress others make while a transaction of ours stays open."""

    def __init__(self, session, storm, rng, patience=0):
        self.session, self.storm, self.rng, self.patience = session, storm, rng, patience
        self.cursor = session.cursor()
        self.cursor.execute("SET lock_timeout = '100ms'")
        self.operations = [
            (self.insert, 6), (self.upsert, 8), (self.step_one, 14), (self.set_one, 6), (self.step_many, 6), (self.lower_top, 5),
            (self.delete_one, 5), (self.delete_top, 3), (self.delete_many, 2), (self.move_group, 3), (self.change_id, 3), (self.copy_in, 2),
            (self.touch, 4), (self.lock_rows, 3), (self.same_again, 2), (self.look, 4), (self.look_while_writing, 2)]

    def transact(self):
        """One transaction; returns what became of it."""
        rng = self.rng
        shape = self.storm.some_shape(rng)
        self.isolation = rng.choice(ISOLATION)
        self.session.execute(f"BEGIN ISOLATION LEVEL {self.isolation}")
        for _ in range(rng.choice([1, 1, 2, 3, 6])):
            self.nested(shape, rng.choice([0, 0, 0, 1, 2]) if rng.random() < 0.98 else 70)
            if self.patience and rng.random() < 0.7:
                self.storm.progress.wait("write", rng.randint(1, self.patience))
        return self.finish()

    def finish(self):
        ending = self.rng.choices(["commit", "rollback", "prepare"], [82, 16, 2])[0]
        if ending == "prepare" and len(self.storm.prepared) >= 20:
            ending = "commit"  # maintenance, which finishes them, is behind
        if ending == "prepare":
            name = self.storm.new_name()
            self.session.execute(f"PREPARE TRANSACTION '{name}'")
            self.storm.prepared.append(name)
        else:
            self.session.execute("ROLLBACK" if ending == "rollback" else "COMMIT")
        return ending

    def nested(self, shape, depth):
        """An operation inside so many savepoints, each released, rolled back or left alone."""
        for level in range(depth):
            self.cursor.execute(f"SAVEPOINT s{level}")
            if depth > 10:  # so many subtransactions that no snapshot lists them all
                self.step_one(shape)
        self.operate(shape)
        for level in reversed(range(depth)):
            if self.rng.random() < 0.4:
                self.cursor.execute(f"ROLLBACK TO s{level}")
                if self.rng.random() < 0.5:
                    self.operate(shape)
            elif self.rng.random() < 0.5:
                self.cursor.execute(f"RELEASE s{level}")

    def operate(self, shape):
        operation, = self.rng.choices([o for o, _ in self.operations], [weight for _, weight in self.operations])
        operation(shape)
        self.storm.journal(shape, self.session.number, operation.__name__)

    # --- parts of statements ---

    @staticmethod
    def group_is(shape):
        return " AND ".join(f"{c.name} IS NOT DISTINCT FROM {c.placeholder}" for c in shape.groups) or "true"

    @staticmethod
    def row_is(shape):
        return " AND ".join([*(f"{c.name} IS NOT DISTINCT FROM {c.placeholder}" for c in shape.groups),
                             *(f"{c.name} = {c.placeholder}" for c in shape.ties)])

    def some_row(self, shape):
        return [*shape.some_group(self.rng), *shape.some_id(self.rng)]

    @staticmethod
    def step(shape):
        return f"CASE WHEN t.score IS NULL THEN t.score ELSE t.score + {shape.score.step} END" if shape.score.type != "smallint" else \
            f"least(t.score + {shape.score.step}, 1000::smallint)::smallint"

    def amount(self):
        return self.rng.choice([1, 1, 2, 5, -1, -3, 30, -30, 1000])

    def run(self, sql, values):
        self.cursor.execute(sql, values)

    # --- operations ---

    def insert(self, shape):
        ending = "ON CONFLICT DO NOTHING" if self.rng.random() < 0.8 or not shape.key else ""
        self.insert_rows(shape, self.rng.choice([1, 1, 5, 30]), ending)

    def upsert(self, shape):
        if not shape.key:
            return self.insert_rows(shape, 3, "")
        update = f"ON CONFLICT ({', '.join(shape.key)}) DO UPDATE SET score = " + \
            ("EXCLUDED.score" if self.rng.random() < 0.3 else self.step(shape).replace("%s", str(abs(self.amount()))))
        self.insert_rows(shape, self.rng.choice([1, 3, 20, 60]), update)

    def insert_rows(self, shape, count, ending):
        drawn = [shape.some_row(self.rng) for _ in range(count)]
        rows = list({tuple(row[:len(shape.groups)] + row[len(shape.groups) + 1:]): row for row in drawn}.values())
        if self.rng.random() < 0.7:  # in one order, so that batches seldom deadlock
            rows.sort(key=lambda row: str(row[len(shape.groups) + 1:]))
        one = f"({', '.join(c.placeholder for c in shape.columns)})"
        columns = ", ".join(c.name for c in shape.columns)
        self.run(f"INSERT INTO {shape.name} AS t ({columns}) VALUES {', '.join([one] * len(rows))} {ending}",
                 [value for row in rows for value in row])

    def step_one(self, shape):
        self.run(f"UPDATE {shape.name} t SET score = {self.step(shape)} WHERE {self.row_is(shape)}", [self.amount(), *self.some_row(shape)])

    def set_one(self, shape):
        score = None if self.rng.random() < 0.05 else shape.score.start(self.rng)
        self.run(f"UPDATE {shape.name} t SET score = {shape.score.placeholder} WHERE {self.row_is(shape)}", [score, *self.some_row(shape)])

    def step_many(self, shape):
        self.run(f"UPDATE {shape.name} t SET score = {self.step(shape)} WHERE {self.group_is(shape)} AND score < {shape.score.placeholder} "
                 f"AND mod(abs(hashtext(t::text)), 16) = {self.rng.randrange(16)}",
                 [self.amount(), *shape.some_group(self.rng), shape.score.start(self.rng)])

    def top(self, shape, count):
        order = ", ".join([shape.score.order, *(c.order for c in shape.ties)])
        return f"ctid = ANY (ARRAY(SELECT ctid FROM {shape.name} WHERE {self.group_is(shape)} ORDER BY {order} LIMIT {count}))"

    def lower_top(self, shape):
        self.run(f"UPDATE {shape.name} t SET score = {shape.score.placeholder} WHERE {self.top(shape, self.rng.choice([1, 3, 30]))}",
                 [shape.score.start(self.rng), *shape.some_group(self.rng)])

    def delete_one(self, shape):
        self.run(f"DELETE FROM {shape.name} t WHERE {self.row_is(shape)}", self.some_row(shape))

    def delete_top(self, shape):
        self.run(f"DELETE FROM {shape.name} t WHERE {self.top(shape, self.rng.choice([1, shape.k or 20, 5 * (shape.k or 20)]))}",
                 shape.some_group(self.rng))

    def delete_many(self, shape):
        self.run(f"DELETE FROM {shape.name} t WHERE {self.group_is(shape)} AND mod(abs(hashtext(t::text)), 8) = {self.rng.randrange(8)}",
                 shape.some_group(self.rng))

    def move_group(self, shape):
        if shape.groups:
            changes = ", ".join(f"{c.name} = {c.placeholder}" for c in shape.groups)
            values = [*shape.some_group(self.rng), *self.some_row(shape)]
            self.run(f"UPDATE {shape.name} t SET {changes} WHERE {self.row_is(shape)}", values)

    def change_id(self, shape):
        changes = ", ".join(f"{c.name} = {c.placeholder}" for c in shape.ties)
        self.run(f"UPDATE {shape.name} t SET {changes} WHERE {self.row_is(shape)}", [*shape.some_id(self.rng), *self.some_row(shape)])

    def copy_in(self, shape):
        """Into keys that are free for sure: beyond those of other operations. Some older ones of that kind make room."""
        beyond = shape.ids + self.storm.next_number() % 100_000_000
        rows = [[*shape.some_group(self.rng), shape.score.start(self.rng), *(c.make(beyond * 100 + n) for c in shape.ties)]
                for n in range(20)]
        text = "".join("\t".join(copied(value) for value in row) + "\t-1\n" for row in rows)
        self.cursor.execute(f"DELETE FROM {shape.name} WHERE note = -1 AND mod(abs(hashtext(ctid::text)), 8) = 1")
        self.cursor.copy_expert(f"COPY {shape.name} ({', '.join(c.name for c in shape.columns)}, note) FROM STDIN", io.StringIO(text))

    def touch(self, shape):
        """Changes no column of an index."""
        self.run(f"UPDATE {shape.name} t SET note = coalesce(note, 0) + 1 WHERE note IS DISTINCT FROM -1 AND {self.row_is(shape)}",
                 self.some_row(shape))

    def lock_rows(self, shape):
        strength = self.rng.choice(["UPDATE", "NO KEY UPDATE", "SHARE", "KEY SHARE", "KEY SHARE"])
        self.run(f"SELECT FROM {shape.name} t WHERE {self.group_is(shape)} AND mod(abs(hashtext(t::text)), 16) = {self.rng.randrange(16)} "
                 f"FOR {strength} SKIP LOCKED", shape.some_group(self.rng))

    def same_again(self, shape):
        """Several versions by one transaction, some by one command."""
        values = self.some_row(shape)
        for amount in (self.amount(), self.amount(), self.amount()):
            self.run(f"UPDATE {shape.name} t SET score = {self.step(shape)} WHERE {self.row_is(shape)}", [amount, *values])

    def look(self, shape):
        """A list that includes what this transaction wrote."""
        if self.isolation != "READ COMMITTED":
            lists.compare(self.cursor, lists.question(shape, self.rng), self.rng)

    def look_while_writing(self, shape):
        """Cursors opened before a change of the same transaction, read after it."""
        if self.isolation == "READ COMMITTED":
            return
        asked = lists.question(shape, self.rng)
        for name, way in (("by_index", lists.THROUGH_INDEX), ("by_heap", lists.THROUGH_HEAP)):
            self.cursor.execute(f"{way} DECLARE {name} NO SCROLL CURSOR FOR {asked.sql}", asked.values)
        piece = self.rng.choice([0, 1, 5])
        self.cursor.execute(f"FETCH {piece} FROM by_index")
        actual = [row for row, in self.cursor.fetchall()]
        for change in (self.step_many, self.lower_top, self.delete_top):
            change(shape)
        self.cursor.execute("FETCH ALL FROM by_index")
        actual += [row for row, in self.cursor.fetchall()]
        self.cursor.execute("FETCH ALL FROM by_heap")
        expected = [row for row, in self.cursor.fetchall()]
        self.cursor.execute("CLOSE by_index; CLOSE by_heap")
        if actual != expected:
            raise lists.Mismatch(lists.explain_mismatch(self.cursor, asked, actual, expected, "by a cursor older than the change"))


def copied(value):
    return "\\N" if value is None else str(value).replace("\\", "\\\\")
