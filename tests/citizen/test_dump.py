"""pg_dump and restore: every row, working indexes and views, and ingest that goes on; also by the counter's owner alone."""
import psycopg2
import pytest
from database import Database, client, psql
from feed import Feed
from psycopg2 import sql
from town import COUNTERS, OWNER, START, Town


@pytest.fixture(scope="module")
def towns():
    return {}


@pytest.fixture
def town(server, major, towns):
    """The same for all tests of a major: they only read it."""
    if major not in towns:
        database = Database(server, "the town")
        database.create()
        database.execute("CREATE EXTENSION topk")
        towns[major] = Town(database).build()
        towns[major].check()
    return towns[major]


def plain(town, restored):
    client(town.database, "pg_dump", "-f", "plain.sql")
    psql(restored, "-f", "plain.sql")


def custom_by_two_jobs(town, restored):
    client(town.database, "pg_dump", "-Fc", "-f", "dump.custom")
    client(restored, "pg_restore", "--exit-on-error", "-j", "2", "-d", restored.name, "dump.custom")


def schema_then_data(town, restored):
    for part in ("schema", "data"):
        client(town.database, "pg_dump", f"--{part}-only", "-f", f"{part}.sql")
    psql(restored, "-f", "schema.sql")
    assert restored.value("SELECT count(*) FROM topk.counter_data") == 0
    psql(restored, "-f", "data.sql")


def inserts_by_a_backup_role(town, restored):
    """pg_read_all_data is what a role needs to dump a database with the extension."""
    if not town.database.query("SELECT 1 FROM pg_roles WHERE rolname = 'backup'"):
        town.database.execute("CREATE ROLE backup LOGIN IN ROLE pg_read_all_data")
    client(town.database.as_user("backup"), "pg_dump", "--rows-per-insert=500", "-f", "inserts.sql")
    psql(restored, "-f", "inserts.sql")


@pytest.mark.parametrize("way", [plain, custom_by_two_jobs, schema_then_data, inserts_by_a_backup_role], ids=lambda way: way.__name__)
def test_restored(way, town, new_database):
    restored = new_database("r", extension=None)
    way(town, restored)
    copy = town.moved_to(restored)
    assert copy.state() == town.state()
    assert copy.lists() == town.lists()
    copy.check()
    assert restored.value("SELECT array_agg(role::text || ' ' || privilege ORDER BY role::text, privilege) FROM topk.access_data WHERE counter = 'video_views'") == [
        '"on""call" admin', '"on""call" ingest', "reader read"]
    copy.go_on()
    copy.drop()
    copy.close()


def test_restored_into_another_encoding(new_database):
    """The counter can be read there, but takes nothing: video ids are stored as they come, in UTF-8."""
    here, restored = new_database("u"), new_database("l", extension=None, options="ENCODING LATIN1")
    here.execute("SELECT topk.create_counter()")
    client(here, "pg_dump", "-f", "latin.sql")
    psql(restored, "-f", "latin.sql")
    for native in ("on", "off"):
        feed = Feed(restored, "video_views")
        restored.execute(f"SET topk.native_upsert = {native}")
        with pytest.raises(psycopg2.errors.InvalidParameterValue, match="LATIN1"):
            feed.flush({(START, "é"): 1})
    assert restored.value("SELECT count(*) FROM video_views_hour") == 0


def test_dumped_again(town, new_database):
    """What a restored database dumps is what it was restored from."""
    first, second = new_database("a", extension=None), new_database("b", extension=None)
    plain(town, first)
    client(first, "pg_dump", "-f", "again.sql")
    psql(second, "-f", "again.sql")
    copies = [town.moved_to(first), town.moved_to(second)]
    assert copies[0].state() == copies[1].state() == town.state()
    for copy in copies:
        copy.close()


def test_new_version_from_an_old_dump(new_database):
    """A dump does not say which version it was made under: what 1.0 dumped goes into the present one."""
    old = new_database("old", "CREATE EXTENSION topk VERSION '1.0'")
    town = Town(old).build()
    restored = new_database("new", extension=None)
    plain(town, restored)
    assert restored.value("SELECT extversion FROM pg_extension WHERE extname = 'topk'") != "1.0"
    copy = town.moved_to(restored)
    assert copy.lists() == town.lists()
    copy.check()
    copy.go_on()
    copy.close()
    town.close()


def test_owner_without_the_registry(town, new_database):
    """A counter's owner may dump the schema, without the books; register_counter makes it a counter of another database."""
    name, schema, owner, zone = COUNTERS[1]
    restored = new_database("o")
    restored.execute(sql.SQL("GRANT CREATE ON DATABASE {} TO {}").format(sql.Identifier(restored.name), sql.Identifier(owner)))
    pattern = '"{}"'.format(schema.replace('"', '""'))
    client(town.database.as_user(OWNER), "pg_dump", "-n", pattern, "-f", "owner.sql")
    theirs = restored.as_user(owner)
    psql(theirs, "-f", "owner.sql")
    counter = town.counters[1]
    copy = counter.moved_to(restored)

    def register():
        theirs.execute("SELECT topk.register_counter(%s, format('%%I.%%I', %s::text, %s || '_hour')::regclass, %s, '60 s', '5 min', '400 days', '60 s')",
                       name, schema, name, zone)

    # How far the roll-up had come is in the books: hours would be counted twice
    theirs.execute(sql.SQL("INSERT INTO {} VALUES ('-infinity', 'rolled up', 1)").format(counter.table("all_time_rollup")))
    with pytest.raises(psycopg2.errors.ObjectNotInPrerequisiteState, match="has rows"):
        register()
    for grain in ("day", "month", "all_time"):
        theirs.execute(sql.SQL("TRUNCATE {}").format(counter.table(f"{grain}_rollup")))
    register()
    assert copy.lists() == counter.lists()
    for view in ("day", "month", "all_time"):
        query = sql.SQL("SELECT * FROM {} ORDER BY 1, 2").format(counter.table(view))
        assert theirs.query(query) == counter.owner.query(query)
    copy.more_hours(3)
    for one in (theirs, copy.owner):
        one.close()
