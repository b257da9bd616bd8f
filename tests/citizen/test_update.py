"""ALTER EXTENSION topk UPDATE from every version there was, with counters that were made and fed before; and the new library under the old objects."""
from datetime import timedelta

import psycopg2
import pytest
from psycopg2 import sql
from town import END, HOUR, START, Town

OLD = {version: f"CREATE EXTENSION topk VERSION '{version}'" for version in ("1.0", "1.1")}
old_versions = pytest.mark.parametrize("version", OLD)


def objects(database):
    """What the extension consists of, and how every function and view of it is defined."""
    members = database.query(
        "SELECT pg_describe_object(d.classid, d.objid, 0), obj_description(d.objid, d.classid::regclass::name),"
        " CASE d.classid WHEN 'pg_proc'::regclass THEN (SELECT p::text FROM (SELECT prosrc, probin, proargnames, provolatile, proisstrict, proparallel, proconfig, proacl"
        "   FROM pg_proc WHERE oid = d.objid) p)"
        "  WHEN 'pg_class'::regclass THEN (SELECT string_agg(a.attname || ' ' || format_type(a.atttypid, a.atttypmod), ', ' ORDER BY a.attnum) FROM pg_attribute a"
        "   WHERE a.attrelid = d.objid AND a.attnum > 0) || coalesce(pg_get_viewdef(d.objid::regclass), '') END"
        " FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'"
        " WHERE e.extname = 'topk'")
    return sorted(members, key=str), database.query("SELECT unnest(extconfig)::regclass::text, unnest(extcondition) FROM pg_extension WHERE extname = 'topk' ORDER BY 1")


@old_versions
def test_update(new_database, version):
    database = new_database("u", OLD[version])
    town = Town(database).build()
    town.check()
    lists, state = town.lists(), town.state()
    database.execute("ALTER EXTENSION topk UPDATE")
    assert town.lists() == lists
    updated = town.state()
    for table, rows in state.items():
        assert len(updated[table]) == len(rows), table
        if table != "topk.counter_data":  # has more columns now
            assert updated[table] == rows, table
    town.check()
    town.go_on()
    town.drop()
    fresh = new_database("fresh")
    assert objects(database) == objects(fresh)
    town.close()


@old_versions
def test_new_library_under_old_objects(new_database, version):
    """Packages are installed before the update is run: everything of the old version works meanwhile."""
    database = new_database("o", OLD[version])
    town = Town(database).build()
    town.check()
    town.go_on()
    counter = town.counters[0]
    hour = counter.hour_of(START + 3 * HOUR)
    database.execute("SELECT topk.correct(%s, %s, 'vid_001', -1, 'one too many')", counter.name, hour)
    since, until = counter.hour_of(START), counter.hour_of(END)
    assert database.query("SELECT * FROM topk.between(%s, %s, 20, %s)", since, until, counter.name) == database.query(sql.SQL(
        "SELECT row_number() OVER (ORDER BY sum(views) DESC, video_id), video_id, sum(views)::bigint FROM {} WHERE window_start >= {} AND window_start < {}"
        " GROUP BY video_id ORDER BY 1 LIMIT 20").format(counter.table("hour"), sql.Literal(since), sql.Literal(until)))
    assert database.value("SELECT count(*) FROM topk.explain('day', 10, %s, %s)", START, counter.name) > 1
    assert database.value("SELECT count(*) FROM topk.time_window WHERE counter = %s", counter.name) > 48
    assert database.value("SELECT count(*) FROM topk.status(%s)", counter.name) == 1
    database.execute("SELECT topk.revoke_access('reader', 'read', %s)", counter.name)
    town.check()
    town.drop()
    town.close()


@old_versions
def test_update_beside_readers_and_writers(new_database, version):
    """Sessions with plans of the old version go on after the update: a consumer keeps its claim, a reader its prepared statement."""
    database = new_database("s", OLD[version])
    town = Town(database)
    counter = town.counters[0]
    counter.make()
    counter.first_hours(1)
    counter.more_hours(1)
    other = database.as_user("postgres")
    other.execute("PREPARE asked AS SELECT * FROM topk.top('day', 20, %s, %s)", START, counter.name)
    wanted = other.query("EXECUTE asked")
    last = counter.hour_of(END + timedelta(hours=13))
    counter.feed.flush({(last, "vid_000"): 1})
    updater = database.as_user("postgres")
    updater.execute("ALTER EXTENSION topk UPDATE")
    assert other.query("EXECUTE asked") == wanted
    counter.feed.flush({(last, "vid_000"): 1})
    counter.maintain()
    counter.check()
    for one in (other, updater):
        one.close()
    town.close()


@old_versions
def test_no_way_back(new_database, version):
    database = new_database("d")
    with pytest.raises(psycopg2.errors.InvalidParameterValue, match="no update path"):
        database.execute(f"ALTER EXTENSION topk UPDATE TO '{version}'")
