"""TLS to PostgreSQL with the real server: verify-full by password and by certificate, and each mistake told, with exit code 1 and no secret."""
import re
import subprocess

import pytest
from harness.wait import wait_until
from programs import Running, topkd
from topk_database import READ_PASSWORD

WRONG_PASSWORD = "not-the-pass-92ce"
INGEST, READ = "topk_ingest", "topk_read"


@pytest.fixture(scope="module")
def ingest(kafka, database):
    """Runs `topkd ingest` to the end of a topic; the broker is not what is tested here."""
    kafka.create_topic("view_events")

    def run(db, environment=None):
        return topkd("ingest", "--db", db, "--brokers", f"127.0.0.1:{kafka.plain}", "--exit-at-end", "--startup-timeout", "1s", environment=environment)
    return run


def secrets(parts):
    key = parts.get("sslkey")
    return READ_PASSWORD, WRONG_PASSWORD, *(key.read_text().splitlines()[1:-1] if key else ())


def test_certificate(database, ingest):
    """verify-full both ways: the server's name is checked, and the client's certificate is its login. The session really is encrypted."""
    parts = database.with_certificate()
    ingest(database.conninfo(INGEST, **parts)).expect_success(*secrets(parts))


def test_certificate_by_environment(database, ingest):
    """libpq's own variables, as in a systemd unit: the connection string names no file."""
    parts = database.with_certificate()
    ended = ingest(database.conninfo(INGEST, sslmode=None, sslrootcert=None),
                   {"PGSSLMODE": "verify-full", "PGSSLROOTCERT": str(database.authority.certificate), "PGSSLCERT": str(parts["sslcert"]),
                    "PGSSLKEY": str(parts["sslkey"])})
    ended.expect_success(*secrets(parts))


def test_password_reaches_the_server(database, ingest, tmp_path):
    """By connection string, environment and password file: what is refused is the privilege, not the login."""
    passfile = tmp_path / "pgpass"
    passfile.write_text(f"*:*:*:*:{READ_PASSWORD}\n")
    passfile.chmod(0o600)
    for db, environment in ((database.conninfo(READ, password=READ_PASSWORD), {}), (database.conninfo(READ), {"PGPASSWORD": READ_PASSWORD}),
                            (database.conninfo(READ, passfile=passfile), {})):
        ingest(db, environment).expect_error(r"permission denied|privilege", *secrets({}))


def open_key(database):
    parts = database.with_certificate("open_key")
    parts["sslkey"].chmod(0o644)
    return parts


MISTAKES = {
    "wrong authority": (INGEST, lambda database, stranger: {**database.with_certificate(), "sslrootcert": stranger.certificate}, r"certificate verify failed"),
    "wrong host name": (INGEST, lambda database, stranger: {**database.with_certificate(), "host": "db.example.com"},
                        r'server certificate for "localhost" does not match host name "db\.example\.com"'),
    "missing authority": (INGEST, lambda database, stranger: {**database.with_certificate(), "sslrootcert": "/nonexistent/ca.crt"}, r"root certificate file .* does not exist"),
    "wrong password": (READ, lambda database, stranger: {"password": WRONG_PASSWORD}, r'password authentication failed for user "topk_read"'),
    "no password": (READ, lambda database, stranger: {"passfile": "/dev/null"}, r"no password supplied"),
    "no certificate": (INGEST, lambda database, stranger: {"sslcert": "/nonexistent/client.crt"}, r"client certificate|certificate authentication failed"),
    "another's certificate": (INGEST, lambda database, stranger: database.with_certificate(INGEST, stranger), r"unknown ca|certificate"),
    "certificate of another role": (INGEST, lambda database, stranger: database.with_certificate("somebody"), r'certificate authentication failed for user "topk_ingest"'),
    "a key that all can read": (INGEST, lambda database, stranger: open_key(database), r"private key file .* has group or world access"),
    "no TLS": (READ, lambda database, stranger: {"sslmode": "disable", "password": READ_PASSWORD}, r"no pg_hba.conf entry .* no encryption"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes(database, stranger, ingest, mistake):
    user, change, said = MISTAKES[mistake]
    parts = change(database, stranger)
    ingest(database.conninfo(user, **parts)).expect_error(said, *secrets(parts))


@pytest.mark.parametrize("parts, status, said", [
    ({"password": READ_PASSWORD}, "200", None),
    ({"password": WRONG_PASSWORD}, "503", r'password authentication failed for user "topk_read"'),
    ({"password": READ_PASSWORD, "host": "db.example.com"}, "503", r"does not match host name"),
], ids=["good", "wrong password", "wrong host name"])
def test_serve(database, tmp_path, parts, status, said):
    """It starts all the same, says in its log what is wrong, and is not ready."""
    socket = tmp_path / "http"
    serve = Running("serve", "--db", database.conninfo(READ, **parts), "--listen", f"unix:{socket}")
    wait_until(socket.exists, 30, "serve does not listen")
    answer = subprocess.run(["curl", "-sS", "--max-time", "20", "-w", "\n%{http_code}", "--unix-socket", socket, "http://serve/readyz"],
                            stdout=subprocess.PIPE, text=True, check=True).stdout
    serve.process.terminate()
    ended = serve.end()
    assert answer.splitlines()[-1] == status and READ_PASSWORD not in answer and WRONG_PASSWORD not in answer, answer
    ended.expect_success(*secrets({}))
    assert not said or re.search(said, ended.text), str(ended)
