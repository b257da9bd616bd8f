"""One database of a test's server, and what every test does with its tables."""
import contextlib
import random

import lists
from settings import METHOD
from shapes import SHAPES

# Long enough for a loaded machine; what takes longer hangs
STATEMENT_LIMIT = "120s"


class Database:
    def __init__(self, server, name="storm", create=True):
        self.server, self.name = server, name
        if create:
            with contextlib.closing(server.connect()) as connection:
                connection.cursor().execute(f"CREATE DATABASE {name}")
            if METHOD == "topk":
                self.execute("CREATE EXTENSION topk")

    def connect(self):
        return self.server.connect(self.name, options=f"-c statement_timeout={STATEMENT_LIMIT}", application_name="storm")

    def query(self, sql, *values):
        with contextlib.closing(self.connect()) as connection, connection.cursor() as cursor:
            cursor.execute(sql, values or None)
            return cursor.fetchall() if cursor.description else []

    def execute(self, sql, *values):
        self.query(sql, *values)

    def execute_long(self, sql):
        """One statement on millions of rows, which may take half an hour."""
        with contextlib.closing(self.connect()) as connection, connection.cursor() as cursor:
            cursor.execute("SET statement_timeout = '1800s'")
            cursor.execute(sql)

    def value(self, sql, *values):
        return self.query(sql, *values)[0][0]

    def check_indexes(self, shapes=SHAPES):
        """The extension's own opinion."""
        for shape in shapes if METHOD == "topk" else ():
            self.execute(f"SELECT topk.index_check('{shape.index}')")

    def compare_lists(self, seed, shapes=SHAPES, count=25):
        """Lists of every table, now that nobody writes; those of a group's top must come from the index."""
        rng = random.Random(f"{seed}/compare")
        with contextlib.closing(self.connect()) as connection, connection.cursor() as cursor:
            for shape in shapes:
                for number in range(count):
                    cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
                    asked = lists.question(shape, rng, "top" if number % 2 else None)
                    lists.compare(cursor, asked, rng)
                    if asked.kind == "top":
                        assert lists.uses_index(cursor, asked), f"not from the index:\n{asked.text(cursor)}\n{lists.plan(cursor, asked)}"
                    cursor.execute("COMMIT")

    def finish_prepared(self):
        for name, in self.query("SELECT gid FROM pg_prepared_xacts WHERE database = current_database()"):
            self.execute(f"COMMIT PREPARED '{name}'")


def assert_no_crash(server):
    log = server.log.read_text(errors="replace")
    for sign in ("terminated by signal", "PANIC", "TRAP:", "inconsistent page found"):
        lines = [line for line in log.splitlines() if sign in line]
        assert not lines, "\n".join(lines[:5])
    assert server.running()
