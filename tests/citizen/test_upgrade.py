"""pg_upgrade from the oldest major by way of the next to the newest: topk indexes go over as they are, and everything goes on."""
import servers
from database import Database, client
from town import Town
from upgrade import upgrade

# Checksums everywhere: the newest initdb makes them by default, and both servers must agree
# Vacuum may refill an index, which then grows.
OPTIONS = {"initdb": ["--data-checksums"], "settings": {"autovacuum": "off"}}


def test_upgrade_by_way_of_all_majors(make_server, server_of):
    majors = [servers.native_major(), *servers.CHROOTED]
    old = make_server(majors[0], f"upgrade-{majors[0]}", **OPTIONS)
    old.start()
    database = Database(old, "a town")
    database.create()
    database.execute("CREATE EXTENSION topk")
    town = Town(database).build()
    town.check()
    for major in majors[1:]:
        state, lists = town.state(), town.lists()
        files = index_files(town)
        new = make_server(major, f"upgrade-{major}", **OPTIONS)
        if not knows_column_versions(new):
            forget_column_versions(database)
        database.close()
        town.close()
        old.stop("fast")
        upgrade(old, new)
        new.start()
        database = Database(new, "a town")
        town = town.moved_to(database)
        assert database.value("SELECT current_setting('server_version_num')::int / 10000") == major
        assert town.state() == state
        assert index_files(town) == files, "an index was built anew"
        town.check()
        assert town.lists() == lists
        town.go_on(major)
        client(database, "vacuumdb", "--analyze")
        town.check()
        old = new
    town.drop()
    town.close()


def index_files(town):
    """Sizes of the topk indexes, in pages."""
    return town.database.query("SELECT c.oid::regclass::text, pg_relation_size(c.oid) FROM pg_class c JOIN pg_am a ON a.oid = c.relam"
                               " WHERE a.amname = 'topk' AND c.relkind = 'i' ORDER BY 1")


# Since 15.20 and 17.12 servers keep a version of every column among its options, which the 18.6 that comes after them in Debian
# refuses: no table at all can be upgraded to it. That is not ours to show.
VERSIONED = "attoptions::text LIKE '%pg_attver=%'"


def knows_column_versions(new):
    new.start()
    found = Database(new, "postgres").value(f"SELECT count(*) FROM pg_attribute WHERE {VERSIONED}")
    new.stop("fast")
    return found > 0


def forget_column_versions(database):
    database.execute("SET allow_system_table_mods = on")
    database.execute("UPDATE pg_catalog.pg_attribute SET attoptions = (SELECT array_agg(o) FROM unnest(attoptions) o WHERE o NOT LIKE 'pg_attver=%')"
                     f" WHERE {VERSIONED}")
