"""Damaged index files: every statement raises XX002 with a hint (or core's XX001) or gives the right answer; never a crash.

Many small indexes get one damage each while the server is down; pages are chosen by kind, so that each kind is hit.
"""
import contextlib
import random
import struct

import lists
import psycopg2
import pytest
import servers
import settings
from database import Database, assert_no_crash
from shapes import BIGINT, VIDEO, Column, Shape

pytestmark = pytest.mark.skipif(settings.METHOD != "topk", reason="about the page format of topk")

PAGE = 8192
KINDS = {1: "meta", 2: "node", 3: "bucket", 4: "head", 5: "group", 6: "free"}
CORRUPTED, CORE_CORRUPTED = "XX002", "XX001"


def shape(number):
    return Shape(f"victim_{number}", (Column("g", "int", tuple(range(1, 30))),), BIGINT, (VIDEO,), ("g", "id"), 2)


def create(database, shapes):
    """One group with pages of its own, many that share a bucket, and pages given back by another that was large once."""
    for each in shapes:
        database.execute(f"{each.create_table()}; INSERT INTO {each.name} "
                         f"SELECT CASE WHEN n % 2 = 0 THEN 1 ELSE n % 29 + 1 END, n * 7919 % 1000, 'vid_' || n, 0 "
                         f"FROM generate_series(1, 3000) n; {each.create_index('topk')}; "
                         f"INSERT INTO {each.name} SELECT 30, n, 'vid_' || n, 0 FROM generate_series(1, 1000) n")
        database.execute(f"DELETE FROM {each.name} WHERE g = 30")
        database.execute(f"VACUUM {each.name}")


def kind_of(page):
    kind, page_id = struct.unpack("<HH", page[-4:])
    return KINDS.get(kind, "other") if page_id == 0xFF91 else "other"


def overwrite(rng, page, start, length):
    """The bytes become others: chance must not leave them as they were."""
    return page[:start] + bytes(byte ^ rng.randrange(1, 256) for byte in page[start:start + length]) + page[start + length:]


def damage(path, rng, kind, how):
    """Applies one damage to a page of the kind; says what it did."""
    content = bytearray(path.read_bytes())
    pages = [n for n in range(len(content) // PAGE) if kind_of(content[n * PAGE:(n + 1) * PAGE]) == kind]
    assert pages, f"{path} has no {kind} page"
    number = rng.choice(pages)
    page = bytes(content[number * PAGE:(number + 1) * PAGE])
    if how == "truncated":
        path.write_bytes(content[:number * PAGE])
        return f"truncated before block {number}"
    if how == "zeroed":
        page, what = bytes(PAGE), "zeroed"
    elif how == "whole page":
        page, what = rng.randbytes(PAGE), "random"
    else:
        length = {"byte": 1, "word": 4, "piece": 100}[how]
        start = rng.choice([rng.randrange(PAGE - length), rng.randrange(300), PAGE - 96 + rng.randrange(90)])
        page, what = overwrite(rng, page, start, length), f"bytes {start} to {start + length - 1} changed"
    content[number * PAGE:(number + 1) * PAGE] = page
    path.write_bytes(content)
    return f"block {number} ({kind}): {what}"


class Victim:
    def __init__(self, database, each, done, rng):
        self.database, self.shape, self.done, self.rng, self.refused = database, each, done, rng, 0

    def attempt(self, statement, *values):
        """True if it was executed; an error other than the two is a failure of the test."""
        try:
            self.database.execute(statement, *values)
            return True
        except psycopg2.Error as error:
            self.judge(error, statement)
            return False

    def judge(self, error, statement):
        assert error.pgcode in (CORRUPTED, CORE_CORRUPTED), f"{self.done}: {statement}: {error.pgcode} {error}"
        if error.pgcode == CORRUPTED:
            assert "REINDEX" in (error.diag.message_hint or ""), f"{self.done}: {statement}: no hint: {error}"
        self.refused += 1

    def read(self, asked):
        with contextlib.closing(self.database.connect()) as connection, connection.cursor() as cursor:
            cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
            expected = lists.through_heap(cursor, asked)
            try:
                actual = lists.through_index(cursor, asked)
            except psycopg2.Error as error:
                return self.judge(error, asked.sql)
        assert actual == expected, f"{self.done}: {asked.sql} {asked.values}\n{lists.first_differences(actual, expected)}"

    def read_all(self):
        for _ in range(6):
            self.read(lists.question(self.shape, self.rng))
        for group in (1, 2, 29):
            top = f"SELECT id FROM {self.shape.name} WHERE g = {group} ORDER BY score DESC, id LIMIT 20"
            self.read(lists.Question(self.shape, top, (), "top"))

    def use(self):
        table, index = self.shape.name, self.shape.index
        self.read_all()
        for statement in (f"SELECT * FROM topk.index_stats('{index}')", f"SELECT * FROM topk.index_groups('{index}')",
                          f"SELECT topk.index_check('{index}')",
                          f"INSERT INTO {table} SELECT n % 40, 5000 + n, 'new_' || n FROM generate_series(1, 400) n",
                          f"UPDATE {table} SET score = score + 1000 WHERE g = 1 AND id < 'vid_2'",
                          f"UPDATE {table} SET score = -1 WHERE g = 3",
                          f"DELETE FROM {table} WHERE score > 900 AND g < 3", f"SELECT topk.index_refill('{index}')",
                          f"VACUUM (INDEX_CLEANUP ON) {table}", f"SELECT topk.index_check('{index}')"):
            self.attempt(statement)
        self.read_all()
        self.database.execute(f"REINDEX INDEX {index}")
        refused = self.refused
        self.read_all()
        self.attempt(f"SELECT topk.index_check('{index}')")
        assert self.refused == refused, f"{self.done}: still refused after REINDEX"


def test_damaged_pages(start, major, count_up):
    server = start(autovacuum="off")
    database = Database(server)
    rng = random.Random(f"{settings.SEED}/damage")
    shapes = [shape(number) for number in range(settings.DAMAGES)]
    create(database, shapes)
    paths = {each.name: server.data / database.value(f"SELECT pg_relation_filepath('{each.index}')") for each in shapes}
    server.stop()
    if major >= 18:  # on by default, and then core finds the damage first
        servers.run(*server._command(f"{server.installation.paths()['bindir']}/pg_checksums", "--disable", "--no-sync", "-D", server.data))
    kinds = ("meta", "node", "bucket", "head", "group", "free")
    ways = ("byte", "word", "piece", "whole page", "zeroed", "byte", "truncated")
    done = {each.name: damage(paths[each.name], rng, kinds[number % len(kinds)], ways[number // len(kinds) % len(ways)])
            for number, each in enumerate(shapes)}
    server.start()
    refused = 0
    for each in shapes:
        victim = Victim(database, each, f"{each.name}, {done[each.name]}", rng)
        victim.use()
        refused += bool(victim.refused)
    count_up(f"{len(shapes)} damages, {refused} noticed, {len(shapes) - refused} without effect")
    assert refused > len(shapes) // 2
    assert_no_crash(server)
