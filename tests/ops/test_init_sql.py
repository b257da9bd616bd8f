"""docker/postgres/init.sql on a real server with pg_cron: every role can do its own, and nothing else."""
import psycopg2
import pytest
from psycopg2 import errors
from topk_database import INGEST_PASSWORD, READ_PASSWORD

READ, INGEST, MAINTAIN, OWNER = "topk_read", "topk_ingest", "topk_maintain", "topk_owner"

LISTS = "SELECT * FROM topk('hour', 10)"
TABLE = "SELECT * FROM video_views_hour"
VIEW = "SELECT * FROM video_views_day"
STATUS = "SELECT * FROM topk.status()"
HOURS = "SELECT * FROM topk.hours('video_views', now(), now())"
CLAIM = "SELECT * FROM topk.claim('video_views', 'none', 'cluster', 'group', 'member', 1, '{0}', '{0}', '{1}')"
MAINTENANCE = "CALL topk.maintain('video_views')"
AUDIT = "SELECT * FROM topk.audit('video_views')"
CORRECT = "SELECT topk.correct('video_views', date_trunc('hour', now()), 'vid', 1, 'test')"
GRANT = "SELECT topk.grant_access('topk_read', 'admin', 'video_views')"
DROP = "SELECT topk.drop_counter('video_views')"
WRITE = "INSERT INTO video_views_hour VALUES (now(), 'vid', 1)"
TABLE_OF_OWN, TEMPORARY = "CREATE TABLE public.mine ()", "CREATE TEMPORARY TABLE mine ()"
CRON = "SELECT cron.schedule('mine', '* * * * *', 'SELECT 1')"

MAY = {READ: {LISTS, TABLE, VIEW, STATUS, HOURS, AUDIT}, INGEST: {HOURS, CLAIM}, MAINTAIN: {HOURS, MAINTENANCE, AUDIT, CORRECT, STATUS, GRANT, CRON}}
ALL = [LISTS, TABLE, VIEW, STATUS, HOURS, CLAIM, MAINTENANCE, AUDIT, CORRECT, GRANT, DROP, WRITE, TABLE_OF_OWN, TEMPORARY, CRON]

@pytest.mark.parametrize("role", MAY)
def test_privileges(database, role):
    """Each statement in a transaction that is rolled back."""
    connection = database.server.connect("topk")
    allowed = set()
    with connection.cursor() as cursor:
        for statement in ALL:
            own = statement == MAINTENANCE  # commits by itself
            cursor.execute("SELECT set_config('session_authorization', %s, false)", (role,))
            try:
                cursor.execute(statement if own else f"BEGIN; {statement}")
                allowed.add(statement)
            except (errors.InsufficientPrivilege, errors.UndefinedTable):  # the latter: of a schema that is closed to the role
                pass
            cursor.execute("ROLLBACK; RESET SESSION AUTHORIZATION" if not own else "RESET SESSION AUTHORIZATION")
    connection.close()
    assert allowed == MAY[role]

def test_owner(database):
    """Tables belong to a role that nobody can be by logging in, and that is no superuser; so does nothing else."""
    owners = database.query("SELECT DISTINCT relowner::regrole::text FROM pg_class WHERE relnamespace = 'views'::regnamespace")
    assert owners == [(OWNER,)]
    assert database.query("SELECT rolname, rolcanlogin FROM pg_roles WHERE rolname ~ '^topk' ORDER BY 1") == [
        (INGEST, True), (MAINTAIN, True), (OWNER, False), (READ, True)]
    assert database.query("SELECT count(*) FROM pg_roles WHERE rolname ~ '^topk' AND (rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls)") == [(0,)]

def test_job(database):
    """Made by topk.schedule, it runs as the role that has 'admin', not as a superuser."""
    jobs = database.query("SELECT jobname::text = topk.job_name('video_views'), username, database, active FROM cron.job ORDER BY jobid")
    assert jobs == [(True, MAINTAIN, "topk", True), (False, "postgres", "topk", True)]

def test_log_in(database):
    """Passwords are checked; the role of the job has none to log in with; nobody gets into other databases."""
    psycopg2.connect(database.conninfo(READ, password=READ_PASSWORD)).close()
    for user, password, dbname in ((READ, "wrong", "topk"), (READ, None, "topk"), (MAINTAIN, "x", "topk"), (OWNER, "x", "topk"),
                                   (READ, READ_PASSWORD, "postgres")):
        with pytest.raises(psycopg2.OperationalError):
            psycopg2.connect(database.conninfo(user, password=password, dbname=dbname, passfile="/dev/null"))

def test_no_password_in_the_log(database):
    assert not [word for word in (INGEST_PASSWORD, READ_PASSWORD) if word in database.server.log.read_text() + database.init_output]
    assert database.value("SELECT bool_and(rolpassword LIKE 'SCRAM-SHA-256$%%') FROM pg_authid WHERE rolname IN (%s, %s)", READ, INGEST)
