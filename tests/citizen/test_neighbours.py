"""The extension in databases full of other things: names like ours, other schemas first in search_path, several counters, DROP EXTENSION."""
import psycopg2
import pytest
from psycopg2 import errors, sql
from town import END, OWNER, START, Counter, Town, identifier, make_roles

# What a database may have before ours comes; found first by whoever leaves a name unqualified
NEIGHBOURS = """
CREATE SCHEMA evil; CREATE SCHEMA "$user";
SET search_path = evil;
CREATE TABLE counter_data (name int); CREATE TABLE hour_map (x int); CREATE TABLE access_data (x int);
CREATE VIEW counter AS SELECT 1 AS name; CREATE VIEW pg_class AS SELECT 1 AS oid; CREATE VIEW pg_proc AS SELECT 1 AS oid;
CREATE TYPE flush_late AS ENUM ('late'); CREATE TYPE flush_progress AS (a int); CREATE DOMAIN timestamptz AS int;
CREATE FUNCTION raise_it() RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'the neighbour was called'; END $$;
CREATE FUNCTION format(text, text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM evil.raise_it(); END $$;
CREATE FUNCTION format(text, VARIADIC text[]) RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM evil.raise_it(); END $$;
CREATE FUNCTION concat(text, text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM evil.raise_it(); END $$;
CREATE FUNCTION greatest_of(bigint) RETURNS bigint LANGUAGE sql AS 'SELECT 0::bigint';
CREATE FUNCTION has_table_privilege(regclass, text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN PERFORM evil.raise_it(); END $$;
CREATE FUNCTION claim(text, text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM evil.raise_it(); END $$;
CREATE FUNCTION wrong(bigint, bigint) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN PERFORM evil.raise_it(); END $$;
CREATE FUNCTION wrong(bigint, int) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN PERFORM evil.raise_it(); END $$;
CREATE FUNCTION wrong(text, text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN PERFORM evil.raise_it(); END $$;
CREATE FUNCTION wrong(pg_catalog.timestamptz, pg_catalog.timestamptz) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN PERFORM evil.raise_it(); END $$;
CREATE OPERATOR > (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = wrong);
CREATE OPERATOR > (LEFTARG = bigint, RIGHTARG = int, FUNCTION = wrong);
CREATE OPERATOR = (LEFTARG = text, RIGHTARG = text, FUNCTION = wrong);
CREATE OPERATOR = (LEFTARG = pg_catalog.timestamptz, RIGHTARG = pg_catalog.timestamptz, FUNCTION = wrong);
CREATE OPERATOR >= (LEFTARG = pg_catalog.timestamptz, RIGHTARG = pg_catalog.timestamptz, FUNCTION = wrong);
CREATE OPERATOR FAMILY topk USING btree; CREATE OPERATOR FAMILY text_ops USING btree;
CREATE COLLATION "C" FROM "POSIX";
RESET search_path;
"""


def set_path(database, path):
    """For every session to come, and the others first: pg_catalog is not before them."""
    database.execute(sql.SQL("ALTER DATABASE {} SET search_path = {}").format(identifier(database.name), sql.SQL(path)))
    database.close()


def extension_leftovers(database):
    return database.value("SELECT (SELECT count(*) FROM pg_extension WHERE extname = 'topk') + (SELECT count(*) FROM pg_am WHERE amname = 'topk')"
                          " + (SELECT count(*) FROM pg_namespace WHERE nspname = 'topk') + (SELECT count(*) FROM pg_opclass c JOIN pg_am a ON a.oid = c.opcmethod WHERE a.amname = 'topk')")


def test_hostile_names_before_ours(new_database):
    database = new_database("h", extension=None)
    database.execute(NEIGHBOURS)
    set_path(database, "evil, pg_catalog, public")
    make_roles(database)
    database.execute("CREATE EXTENSION topk WITH SCHEMA public")
    town = Town(database).build()
    town.check()
    town.go_on()
    town.drop()
    town.close()

    # Called from where the others are found first
    victim = database.as_user("postgres")
    victim.execute("CREATE FUNCTION evil.refuse(pg_catalog.text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN PERFORM evil.raise_it(); END $$")
    victim.execute("CREATE DOMAIN evil.text AS pg_catalog.text CHECK (evil.refuse(VALUE))")
    for call in ("SELECT topk.create_counter('v')", "SELECT * FROM topk.claim('v', 't', 'c', 'g', 'm', 1, '{0}', '{0}', '{9}')", "SELECT * FROM topk.status('v')",
                 f"SELECT topk.correct('v', '{START}'::pg_catalog.timestamptz, 'a', 5, 'r')", f"SELECT * FROM topk.top('day', 10, '{START}', 'v')", "CALL topk.seal('v')",
                 f"SELECT * FROM topk.between('{START}', '{END}', 10, 'v')", "SELECT * FROM topk.explain('2 days', 10, NULL, 'v')", "SELECT * FROM topk.audit('v')",
                 "SELECT * FROM v_day", "SELECT * FROM v_all_time", "SELECT * FROM topk.time_window", "SELECT topk.grant_access('reader', 'read', 'v')",
                 f"SELECT topk.make_partitions('v', '{START}', '{END}')", "SELECT topk.job_name('v')", "CALL topk.roll_up('v')",
                 "CALL topk.refresh('v')", "CALL topk.expire('v')", "CALL topk.maintain('v')", "SELECT topk.drop_counter('v')"):
        victim.execute(call)
    for call in ("SELECT topk.schedule('v')", "SELECT topk.unschedule('v')"):
        with pytest.raises(errors.UndefinedObject):
            victim.execute(call)
    victim.close()
    database.execute("DROP EXTENSION topk CASCADE")
    assert extension_leftovers(database) == 0


@pytest.mark.parametrize("arguments, error", [("text, int, timestamptz, text", errors.DuplicateFunction), ("int", errors.AmbiguousFunction)])
def test_function_topk_is_there_already(new_database, arguments, error):
    """Where CREATE EXTENSION would put its own: nothing is installed, and another schema is the way."""
    database = new_database("f", extension=None)
    database.execute(f"CREATE FUNCTION public.topk({arguments}) RETURNS int LANGUAGE sql AS 'SELECT 1'")
    with pytest.raises(error, match="topk"):
        database.execute("CREATE EXTENSION topk")
    assert extension_leftovers(database) == 0
    database.execute('CREATE SCHEMA "e x t"')
    database.execute('CREATE EXTENSION topk WITH SCHEMA "e x t"')
    database.execute("SELECT topk.create_counter()")
    database.execute("SELECT topk.correct('video_views', %s, 'vid', 3, 'r')", START)
    assert database.query("""SELECT * FROM "e x t".topk('day', 10, %s)""", START) == database.query("SELECT * FROM topk.top('day', 10, %s)", START) == [(1, "vid", 3)]
    database.execute("SELECT topk.drop_counter('video_views')")
    with pytest.raises(errors.FeatureNotSupported, match="SET SCHEMA"):
        database.execute("ALTER EXTENSION topk SET SCHEMA public")
    database.execute("DROP EXTENSION topk")
    assert extension_leftovers(database) == 0 and database.value("SELECT count(*) FROM pg_proc WHERE proname = 'topk'") == 1


@pytest.mark.parametrize("neighbour, error", [
    ("CREATE SCHEMA topk", errors.DuplicateSchema), ("CREATE ACCESS METHOD topk TYPE INDEX HANDLER bthandler", errors.DuplicateObject)])
def test_name_taken(new_database, neighbour, error):
    """Schema and access method have one name each: the error says which, and nothing is left."""
    database = new_database("n", extension=None)
    database.execute(neighbour)
    before = extension_leftovers(database)
    with pytest.raises(error, match='"topk" already exists'):
        database.execute("CREATE EXTENSION topk")
    assert extension_leftovers(database) == before


def test_table_named_topk_and_schema_dropped_later(new_database):
    """A table (and so a type) named topk is nothing to us; the schema that topk() is in may go, with the function."""
    database = new_database("t", extension=None)
    database.execute("CREATE TABLE public.topk (topk int); CREATE SCHEMA ours")
    database.execute("CREATE EXTENSION topk WITH SCHEMA ours")
    database.execute("SELECT topk.create_counter()")
    with pytest.raises(errors.DependentObjectsStillExist):
        database.execute("DROP SCHEMA ours")
    database.execute("DROP TABLE public.topk")
    assert database.query("SELECT * FROM ours.topk('day')") == []


def test_same_names_in_two_databases(new_database):
    """Nothing is shared but the cluster: counters of one name, claimed by the same consumers, go their own ways."""
    towns = [Town(new_database(name)) for name in "ab"]
    for seed, town in enumerate(towns):
        make_roles(town.database)
        for counter in town.counters[:2]:
            counter.make()
    for town in towns:  # one after the other in each step, both claimed
        for seed, counter in enumerate(town.counters[:2]):
            counter.first_hours(f"{town.database.name}/{seed}")
    assert towns[0].counters[0].lists() != towns[1].counters[0].lists()
    towns[0].counters[0].owner.execute("SELECT topk.drop_counter('video_views')")
    for counter in (towns[0].counters[1], *towns[1].counters[:2]):
        counter.more_hours(1)
        counter.check()
    for town in towns:
        town.close()


def test_counters_side_by_side(new_database):
    """Names that are prefixes of each other's tables, in one schema and in two; dropping one leaves the others."""
    database = new_database("c")
    make_roles(database)
    names = [("a", "one", OWNER), ("a_hour", "one", OWNER), ("a_day", "one", OWNER), ("a_day_rollup", "two", "postgres"), ("A", "two", "postgres"), ("a ", "one", OWNER)]
    counters = [Counter(database, name, schema, owner, "UTC") for name, schema, owner in names]
    for counter in counters:
        counter.make()
    for counter in counters:
        counter.first_hours(1)
    for counter in counters:
        counter.check()
    with pytest.raises(errors.DuplicateObject):
        database.execute("SELECT topk.create_counter('a')")
    for position in (0, 2, 1):
        gone = counters.pop(position)
        gone.owner.execute("SELECT topk.drop_counter(%s)", gone.name)
        assert database.value("SELECT count(*) FROM pg_class WHERE relname = ANY (%s) AND relnamespace = %s::regnamespace",
                              [f"{gone.name}_{suffix}" for suffix in ("hour", "late", "day", "month", "all_time")], gone.schema) == 0
        gone.owner.close()
    for counter in counters:
        counter.more_hours(1)
        counter.check()
        counter.owner.close()


def test_drop_extension(new_database):
    """Not while there are counters; CASCADE takes indexes and views, but no row. The tables can be made a counter again."""
    database = new_database("d")
    town = Town(database).build()
    counter = town.counters[0]
    wanted = counter.lists()
    with pytest.raises(errors.DependentObjectsStillExist) as refusal:
        database.execute("DROP EXTENSION topk")
    assert "plays_top" in refusal.value.diag.message_detail
    rows = database.query("SELECT * FROM video_views_hour ORDER BY 1, 2")
    database.execute("DROP EXTENSION topk CASCADE")
    assert extension_leftovers(database) == 0
    assert database.query("SELECT * FROM video_views_hour ORDER BY 1, 2") == rows
    assert database.query("SELECT relname FROM pg_class WHERE relname IN ('plays_top', 'video_views_day')") == []
    town.close()

    database.execute("CREATE EXTENSION topk")
    database.execute("TRUNCATE video_views_day_rollup, video_views_month_rollup, video_views_all_time_rollup")
    database.execute("SELECT topk.register_counter('video_views', 'video_views_hour', 'UTC', '60 s', '5 min', '400 days', '60 s')")
    assert counter.lists() == wanted
    counter.more_hours(9)
    database.execute("SELECT topk.drop_counter('video_views')")
    with pytest.raises(psycopg2.errors.UndefinedTable):
        database.execute("SELECT FROM video_views_hour")
    town.close()


def test_another_encoding(new_database):
    """Counters want UTF8, and say so; the index is for every database."""
    database = new_database("e", options="ENCODING LATIN1")
    with pytest.raises(errors.InvalidParameterValue, match="UTF8"):
        database.execute("SELECT topk.create_counter()")
    database.execute("CREATE TABLE plays (genre text, views int, title text COLLATE \"C\")")
    database.execute("CREATE INDEX plays_top ON plays USING topk (genre, views DESC, title) WITH (k = 5)")
    database.execute("INSERT INTO plays SELECT 'é', n, chr(200 + n % 50) || n FROM generate_series(1, 1000) n")
    database.execute("SELECT topk.index_check('plays_top'); SET enable_seqscan = off")
    assert database.query("SELECT views FROM plays WHERE genre = 'é' ORDER BY views DESC, title LIMIT 3") == [(1000,), (999,), (998,)]


def test_create_or_drop_beside_others(new_database):
    """A user who is no superuser may not create it (nor is it trusted); one who may use it needs no more than EXECUTE."""
    database = new_database("u", extension=None)
    make_roles(database)
    theirs = database.as_user(OWNER)
    with pytest.raises(errors.InsufficientPrivilege):
        theirs.execute("CREATE EXTENSION topk")
    database.execute("CREATE EXTENSION topk")
    database.execute(sql.SQL("CREATE SCHEMA own AUTHORIZATION {}").format(identifier(OWNER)))
    theirs.execute("SET search_path = own, public")
    theirs.execute("SELECT topk.create_counter('mine')")
    assert theirs.query("SELECT * FROM topk('all_time', 10, NULL, 'mine')") == []
    assert theirs.value("SELECT count(*) FROM topk.hours('mine', %s, %s)", START, END) == 48
    with pytest.raises(errors.InsufficientPrivilege):
        theirs.execute("DROP EXTENSION topk CASCADE")
    theirs.close()
