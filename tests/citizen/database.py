"""A database of a test's server, with one session, and the client programs of that server."""
import contextlib

import servers
from psycopg2 import sql

STATEMENT_LIMIT = "120s"


class Database:
    def __init__(self, server, name, user="postgres"):
        self.server, self.name, self.user = server, name, user
        self.session = None

    def create(self, options=""):
        with contextlib.closing(self.server.connect()) as connection, connection.cursor() as cursor:
            cursor.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0 {}").format(sql.Identifier(self.name), sql.SQL(options)))

    def drop(self):
        with contextlib.closing(self.server.connect()) as connection, connection.cursor() as cursor:
            cursor.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(self.name)))

    def connect(self):
        return self.server.connect(self.name, user=self.user, options=f"-c statement_timeout={STATEMENT_LIMIT}")

    def as_user(self, user):
        return Database(self.server, self.name, user)

    def close(self):
        if self.session is not None:
            self.session.close()
        self.session = None

    def query(self, statement, *values):
        if self.session is None or self.session.closed:
            self.session = self.connect()
        with self.session.cursor() as cursor:
            cursor.execute(statement, values or None)
            return cursor.fetchall() if cursor.description else []

    def execute(self, statement, *values):
        self.query(statement, *values)

    def value(self, statement, *values):
        return self.query(statement, *values)[0][0]


def client(database, *command):
    """Runs a client program of the server's major on the database; in the server's folder, where it finds and leaves its files."""
    server = database.server
    there = {"PGHOST": "127.0.0.1", "PGPORT": server.port, "PGUSER": database.user, "PGDATABASE": database.name}
    return servers.run(*server.installation.command(["env", *(f"{key}={value}" for key, value in there.items()), *command],
                                                    folders=[server.directory], folder=server.directory))


def psql(database, *arguments):
    return client(database, "psql", "-qX", "-v", "ON_ERROR_STOP=1", *arguments)
