"""topk.schedule with the real pg_cron: it runs the jobs; without it in the database, the error's hint is what to run where it is.

Before 1.5 pg_cron runs jobs once a minute: that server's jobs run side by side, and it is asked for them at the end.
"""
import re

import pytest
import servers
from database import Database
from feed import Feed
from harness.wait import wait_until
from psycopg2 import errors, sql
from town import END, HOUR

HOME = "cron's \"home\""
AWAY = "a way 'it\" é"
HOSTILE = "o'ne \"two\" \\ three"
SECONDS = 100
OWNER, STRANGER = "cron owner", "cron stranger"
# How pg_cron connects: by a background worker, or as a client
SETTINGS = {"shared_preload_libraries": "pg_cron", "cron.database_name": HOME, "max_worker_processes": "20", "cron.host": "127.0.0.1"}


class Cron:
    """A server with pg_cron in one database and counters there and in another."""

    def __init__(self, server):
        self.server = server
        self.home, self.away = Database(server, HOME), Database(server, AWAY)
        for database in (self.home, self.away):
            database.create()
            database.execute("CREATE EXTENSION topk")
        self.home.execute("CREATE EXTENSION pg_cron")
        for role in (OWNER, STRANGER):
            self.home.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(role)))
        self.home.execute(sql.SQL("GRANT USAGE ON SCHEMA cron TO {}").format(sql.Identifier(OWNER)))
        for database in (self.home, self.away):
            database.execute(sql.SQL("CREATE SCHEMA theirs AUTHORIZATION {}").format(sql.Identifier(OWNER)))
        self.version = self.home.value("SELECT extversion FROM pg_extension WHERE extname = 'pg_cron'")
        self.has_seconds = tuple(map(int, re.findall(r"\d+", self.version)[:2])) >= (1, 5)

    def jobs(self):
        return self.home.query("SELECT jobname::text, schedule, command, database, username, active FROM cron.job ORDER BY jobname, username")

    def ran(self, jobname):
        """How the job's runs that have ended ended."""
        return {status for status, in self.home.query("SELECT DISTINCT status FROM cron.job_run_details d JOIN cron.job j USING (jobid)"
                                                      " WHERE j.jobname = %s AND d.status IN ('succeeded', 'failed')", jobname)}


def make_counter(database, name, user="postgres"):
    """With an hour that can be sealed."""
    theirs = database.as_user(user)
    if user == OWNER:
        theirs.execute("SET search_path = theirs")
    theirs.execute("SELECT topk.create_counter(%s)", name)
    Feed(theirs, name).flush({(END, "vid"): 1}, watermark=END + 3 * HOUR)
    return theirs


def is_sealed(database, name):
    return database.value("SELECT isfinite(sealed_through) FROM topk.counter WHERE name = %s", name)


@pytest.fixture(scope="session")
def cron_of(make_server):
    made = {}

    def get(major):
        if major not in made:
            workers = "on" if major != max(servers.CHROOTED) else "off"
            server = make_server(major, f"cron-{major}", settings={**SETTINGS, "cron.use_background_workers": workers})
            server.start()
            made[major] = Cron(server)
        return made[major]
    return get


def pytest_generate_tests(metafunc):
    if "cron" in metafunc.fixturenames:
        majors = sorted({servers.native_major(), *servers.CHROOTED})
        # Not by session, or the tests of one server would come together, and wait for its jobs
        metafunc.parametrize("cron", majors, ids=[f"pg{major}" for major in majors], indirect=True)


@pytest.fixture
def cron(cron_of, request):
    return cron_of(request.param)


def statement_of(refusal):
    """The hint's statement: all from SELECT to its end."""
    return re.search(r"SELECT cron\..*\Z", refusal.value.diag.message_hint, re.DOTALL).group()


def test_runs(cron):
    """At the default interval and as their owners: here, there, and for names that want quoting."""
    there = make_counter(cron.home, "here")
    theirs = make_counter(cron.home, HOSTILE, OWNER)
    there.execute("SELECT topk.schedule('here')")
    theirs.execute("SELECT topk.schedule(%s)", HOSTILE)
    expected = "10 seconds" if cron.has_seconds else "* * * * *"
    names = [cron.home.value("SELECT topk.job_name(%s)", name) for name in ("here", HOSTILE)]
    assert [(job[0], job[1], *job[3:]) for job in cron.jobs()] == sorted(
        [(names[0], expected, HOME, "postgres", True), (names[1], expected, HOME, OWNER, True)])

    # Of a database without pg_cron: the hint's statement, run where pg_cron is
    away = make_counter(cron.away, "away")
    theirs_away = make_counter(cron.away, HOSTILE, OWNER)
    for database, name in ((away, "away"), (theirs_away, HOSTILE)):
        with pytest.raises(errors.ObjectNotInPrerequisiteState, match="pg_cron is not in database") as refusal:
            database.execute("SELECT topk.schedule(%s)", name)
        cron.home.execute(statement_of(refusal))
        names.append(cron.away.value("SELECT topk.job_name(%s)", name))
    jobs = {job[0]: job for job in cron.jobs()}
    assert len(jobs) == 4 and set(jobs) == set(names)
    assert jobs[names[2]][3:5] == (AWAY, "postgres") and jobs[names[3]][3:5] == (AWAY, OWNER)
    assert jobs[names[2]][1] == jobs[names[3]][1] == expected
    if cron.has_seconds:
        wait_for(cron)


def wait_for(cron):
    counters = [(cron.home, "here"), (cron.home, HOSTILE), (cron.away, "away"), (cron.away, HOSTILE)]
    names = [database.value("SELECT topk.job_name(%s)", name) for database, name in counters]
    wait_until(lambda: all(is_sealed(*counter) for counter in counters) and all(cron.ran(name) for name in names), SECONDS,
               lambda: cron.home.query("SELECT jobid, status, return_message FROM cron.job_run_details"))
    assert [cron.ran(name) for name in names] == [{"succeeded"}] * 4


def test_schedule_replaces(cron):
    there = make_counter(cron.home, "replaced")
    name = there.value("SELECT topk.job_name('replaced')")

    def mine():
        return [(job[1], job[4]) for job in cron.jobs() if job[0] == name]
    for every, schedule in (("1 minute", "* * * * *"), ("5 min", "*/5 * * * *"), ("1 hour", "0 * * * *"), ("30 minutes", "*/30 * * * *")):
        assert there.value("SELECT topk.schedule('replaced', %s)", every) > 0
        assert mine() == [(schedule, "postgres")]
    if cron.has_seconds:
        for every, schedule in (("59 s", "59 seconds"), ("00:00:15", "15 seconds")):
            there.execute("SELECT topk.schedule('replaced', every => %s)", every)
            assert mine() == [(schedule, "postgres")]
    else:
        with pytest.raises(errors.FeatureNotSupported, match="once a minute"):
            there.execute("SELECT topk.schedule('replaced', '10 s')")
        assert mine() == [("*/30 * * * *", "postgres")]
    for wrong in ("0", "-1 s", "1.5 s", "90 s", "7 min", "61 min", "1 day", "1 month"):
        with pytest.raises(errors.InvalidParameterValue, match="every"):
            there.execute("SELECT topk.schedule('replaced', %s)", wrong)
    there.execute("SELECT topk.unschedule('replaced')")
    assert mine() == []
    there.execute("SELECT topk.unschedule('replaced')")
    assert "has no job" in there.session.notices[-1]
    there.execute("SELECT topk.schedule('replaced', '30 min')")
    there.execute("SELECT topk.drop_counter('replaced')")
    assert mine() == [], "dropped with the counter"
    with pytest.raises(errors.UndefinedObject):
        there.execute("SELECT topk.unschedule('replaced')")


def test_rights(cron):
    """The counter's owner and admins, if pg_cron lets them; their own jobs only, but for superusers."""
    theirs = make_counter(cron.home, "guarded", OWNER)
    stranger = cron.home.as_user(STRANGER)
    name = theirs.value("SELECT topk.job_name('guarded')")
    for call in ("schedule", "unschedule"):
        with pytest.raises(errors.InsufficientPrivilege, match='counter "guarded"'):
            stranger.execute(f"SELECT topk.{call}('guarded')")
        with pytest.raises(errors.UndefinedObject):
            stranger.execute(f"SELECT topk.{call}('unknown')")
        with pytest.raises(errors.InvalidParameterValue):
            stranger.execute(f"SELECT topk.{call}(NULL)")
    theirs.execute("SELECT topk.grant_access(%s, 'admin', 'guarded')", STRANGER)
    for call in ("schedule", "unschedule"):
        with pytest.raises(errors.InsufficientPrivilege, match="schema cron") as refusal:
            stranger.execute(f"SELECT topk.{call}('guarded')")
        assert f'GRANT USAGE ON SCHEMA cron TO "{STRANGER}";' in refusal.value.diag.message_hint
    cron.home.execute(sql.SQL("GRANT USAGE ON SCHEMA cron TO {}").format(sql.Identifier(STRANGER)))
    theirs.execute("SELECT topk.schedule('guarded', '1 hour')")
    stranger.execute("SELECT topk.schedule('guarded', '30 min')")
    assert sorted(job[4] for job in cron.jobs() if job[0] == name) == [OWNER, STRANGER]
    theirs.execute("SELECT topk.unschedule('guarded')")
    assert [job[4] for job in cron.jobs() if job[0] == name] == [STRANGER]
    cron.home.execute("SELECT topk.schedule('guarded', '1 hour')")
    assert [job[4] for job in cron.jobs() if job[0] == name] == ["postgres"]
    cron.home.execute("SELECT topk.unschedule('guarded')")
    assert name not in [job[0] for job in cron.jobs()]


def test_elsewhere(cron):
    """unschedule and drop_counter in a database without pg_cron: what to run is in the hint, too."""
    away = make_counter(cron.away, "gone")
    with pytest.raises(errors.ObjectNotInPrerequisiteState) as refusal:
        away.execute("SELECT topk.schedule('gone', '30 min')")
    assert HOME in refusal.value.diag.message_detail
    cron.home.execute(statement_of(refusal))
    name = away.value("SELECT topk.job_name('gone')")
    assert name in [job[0] for job in cron.jobs()]
    with pytest.raises(errors.ObjectNotInPrerequisiteState) as refusal:
        away.execute("SELECT topk.unschedule('gone')")
    away.execute("SELECT topk.drop_counter('gone')")
    assert away.session.notices and statement_of(refusal) in away.session.notices[-1]
    cron.home.execute(statement_of(refusal))
    assert name not in [job[0] for job in cron.jobs()]


def test_names(cron):
    """At most 63 bytes, and different for every database and counter."""
    names = [cron.home.value("SELECT topk.job_name(%s)", name) for name in ("v", "v ", "V", "é" * 20, "e" * 40, "v in \"x\"", "v\" in x")]
    names += [cron.away.value("SELECT topk.job_name('v')")]
    assert len(set(names)) == len(names) and all(len(name.encode()) <= 63 for name in names)


def test_without_pg_cron(server_of):
    """On a server that does not load it, or does not have it: the same, and the statement is complete."""
    database = Database(server_of(servers.native_major()), "without_cron")
    database.create()
    database.execute("CREATE EXTENSION topk")
    database.execute("SELECT topk.create_counter()")
    for call in ("schedule", "unschedule"):
        with pytest.raises(errors.ObjectNotInPrerequisiteState) as refusal:
            database.execute(f"SELECT topk.{call}()")
        assert statement_of(refusal)
    database.execute("SELECT topk.drop_counter('video_views')")
    assert not [notice for notice in database.session.notices if "pg_cron" in notice]
    with pytest.raises(errors.UndefinedObject):
        database.execute("SELECT topk.schedule()")
    database.close()
    database.drop()


def test_ran_by_the_minute(cron):
    """What test_runs began, where pg_cron knows no seconds; elsewhere once more."""
    wait_for(cron)
