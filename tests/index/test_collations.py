"""Databases whose default collation is not C: tie-breakers, long ones too, and groups of text are ordered and told apart by it; lists of a counter bytewise."""
import contextlib

import pytest
import settings
from database import Database, assert_no_crash

pytestmark = pytest.mark.skipif(settings.METHOD != "topk", reason="about topk's own comparisons")
LOCALES = {"libc": "LOCALE 'C.UTF-8'", "icu": "LOCALE_PROVIDER icu ICU_LOCALE 'de' LOCALE 'C.UTF-8'", "posix": "LOCALE 'POSIX'", "builtin": "LOCALE_PROVIDER builtin LOCALE 'C.UTF-8'"}
COLUMNS = {"default": "", "posix": 'COLLATE "POSIX"', "c": 'COLLATE "C"', "icu": 'COLLATE "de-x-icu"'}
WORDS = ("zebra", "Äpfel", "apfel", "Apfel", "äpfel", "ÄPFEL", "Zebra", "z-ebra", "ß", "ss", "é", "e", "")


def test_text_in_databases(start, major):
    server = start()
    for name, locale in LOCALES.items():
        if name != "builtin" or major >= 17:  # which brought that provider
            with contextlib.closing(server.connect()) as connection:
                connection.cursor().execute(f"CREATE DATABASE {name} TEMPLATE template0 {locale}")
            compare(Database(server, name, create=False))
    assert_no_crash(server)


def compare(database):
    database.execute("CREATE EXTENSION topk")
    for column, collation in COLUMNS.items():
        table = f"words_{column}"
        # Ties; some words are the beginning of others for longer than what an entry keeps of them
        database.execute(f"CREATE TABLE {table} (g text {collation}, score int, word text {collation}, id int);"
                         f"INSERT INTO {table} SELECT %s, n %% 3, w || repeat('ä', 40 * (n %% 2)) || (n %% 7), n"
                         f" FROM unnest(%s::text[]) WITH ORDINALITY u (w, o), generate_series(1, 40) n", "Äpfel", list(WORDS))
        database.execute(f"INSERT INTO {table} SELECT 'äpfel', 9, 'another group', -n FROM generate_series(1, 300) n;"
                         f"CREATE INDEX {table}_top ON {table} USING topk (g, score DESC, word, id) WITH (k = 20); ANALYZE {table}")
        for limit in (1, 20, 60, 1000):
            top = f"SELECT word, id FROM {table} WHERE g = 'Äpfel' ORDER BY score DESC, word, id LIMIT {limit}"
            by_index = "SET enable_seqscan = off; SET enable_sort = off; "
            assert f"using {table}_top" in str(database.query(f"{by_index}EXPLAIN {top}"))
            found = database.query(by_index + top)
            assert len(found) == min(limit, 520) and found == database.query(f"SET enable_indexscan = off; {top}"), (column, limit)
        database.execute(f"SELECT topk.index_check('{table}_top')")
    database.execute("SELECT topk.create_counter('c'); SELECT topk.make_partition_ahead('c')")
    database.execute("INSERT INTO c_hour SELECT date_trunc('hour', now()), w, 1 FROM unnest(%s::text[]) w WHERE w <> ''", list(WORDS))
    expected = sorted((word for word in WORDS if word), key=lambda word: word.encode())
    assert [video for video, in database.query("SELECT video_id FROM topk('hour', 100, now(), 'c')")] == expected
    assert [video for video, in database.query("SELECT video_id FROM topk('24 hours', 100, now(), 'c')")] == expected
