"""The database of docker/postgres/init.sql on the machine's own PostgreSQL, with pg_cron and TLS.

Who may connect is what daemon/TLS.md shows: topk_read by password and topk_ingest by certificate, both over TLS only; the tests themselves
as the superuser without either.
"""
import contextlib
import os
import shutil
import subprocess
from pathlib import Path

import servers

INIT_SQL = Path(__file__).resolve().parents[2] / "docker/postgres/init.sql"
INGEST_PASSWORD, READ_PASSWORD = "ingest-pass-31d8", "read-pass-77e0"
AUTHENTICATION = """
host    all   postgres     127.0.0.1/32  trust
hostssl topk  topk_read    127.0.0.1/32  scram-sha-256
hostssl topk  topk_ingest  127.0.0.1/32  cert
hostssl topk  topk_maintain 127.0.0.1/32  scram-sha-256
"""


class TopkDatabase:
    def __init__(self, directory, authority):
        self.directory, self.authority = directory, authority
        servers.prepare(servers.native_major())
        self.server = servers.Server(servers.native_major(), directory)
        self.server.init()
        key, certificate = authority.issue("postgres", "localhost")
        for source, name in ((key, "server.key"), (certificate, "server.crt"), (authority.certificate, "ca.crt")):
            shutil.copy(source, self.server.data / name)
            os.chown(self.server.data / name, *servers.server_ids())
            (self.server.data / name).chmod(0o600)
        authentication = directory / "pg_hba.conf"
        authentication.write_text(AUTHENTICATION)
        self.server.settings.update({
            "hba_file": authentication, "ssl": "on", "ssl_cert_file": "server.crt", "ssl_key_file": "server.key", "ssl_ca_file": "ca.crt",
            "shared_preload_libraries": "pg_cron", "cron.database_name": "topk", "cron.use_background_workers": "on",
            "max_worker_processes": "20", "log_statement": "none"})

    def __enter__(self):
        self.server.start()
        try:
            self.initialise()
        except BaseException:
            self.server.stop("immediate")
            raise
        return self

    def __exit__(self, *_):
        self.server.stop("immediate")

    def initialise(self):
        environment = {**os.environ, "TOPK_INGEST_PASSWORD": INGEST_PASSWORD, "TOPK_READ_PASSWORD": READ_PASSWORD, "PGSSLMODE": "disable"}
        done = subprocess.run(["psql", "-X", "-q", "-h", "127.0.0.1", "-p", str(self.server.port), "-U", "postgres", "-d", "postgres", "-f", INIT_SQL],
                              env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode:
            raise RuntimeError(f"{INIT_SQL.name}: exit {done.returncode}\n{done.stdout}\n{self.server.tail()}")
        self.init_output = done.stdout

    def conninfo(self, user, **more):
        """As a client on this machine would: by the name in the certificate, everything checked."""
        parts = {"host": "localhost", "hostaddr": "127.0.0.1", "port": self.server.port, "dbname": "topk", "user": user,
                 "sslmode": "verify-full", "sslrootcert": self.authority.certificate, "connect_timeout": 10, **more}
        return " ".join(f"{key}={value}" for key, value in parts.items() if value is not None)

    def with_certificate(self, name="topk_ingest", issuer=None):
        """The parts of a connection string that show a client's certificate."""
        key, certificate = (issuer or self.authority).issue(name)
        return {"sslcert": certificate, "sslkey": key}

    def superuser(self):
        return self.server.dsn("topk")

    def make_counter(self, name):
        """As the image's, for one test."""
        for statement in ("SELECT topk.create_counter(%s)", "SELECT topk.grant_access('topk_ingest', 'ingest', %s)",
                          "SELECT topk.grant_access('topk_read', 'read', %s)"):
            self.query(statement, name, role="topk_owner")

    def query(self, sql, *parameters, role=None):
        """As the superuser, or as a role (SET SESSION AUTHORIZATION)."""
        with contextlib.closing(self.server.connect("topk")) as connection, connection.cursor() as cursor:
            if role:
                cursor.execute("SELECT set_config('session_authorization', %s, false)", (role,))
            cursor.execute(sql, parameters or None)
            return cursor.fetchall() if cursor.description else []

    def value(self, sql, *parameters, role=None):
        return self.query(sql, *parameters, role=role)[0][0]
