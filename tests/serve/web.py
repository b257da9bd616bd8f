"""HTTP clients: one that is well-behaved (http.client, over TCP or a unix socket), one that sends what it is told byte by byte, and
one for event streams.
"""
import contextlib
import gzip
import http.client
import json
import re
import socket
import time
from urllib.parse import quote, urlencode

LIMIT = 20.0  # of a socket's operations: what takes longer hangs
TOP = "/views/top-k"


class Answer:
    """Headers by their names in lower case; `times` are (before the request was sent, after its answer came)."""

    def __init__(self, response, body, times=None):
        self.status, self.reason, self.version = response.status, response.reason, response.version
        self.fields = [(name.lower(), value) for name, value in response.getheaders()]
        self.headers = dict(self.fields)
        self.body, self.times = body, times

    def __repr__(self):
        return f"{self.status} {self.headers} {self.body[:300]!r}"

    def json(self):
        return json.loads(self.body)

    def list(self):
        """[(video id, views)] of a 200; nothing but what the contract says is in it."""
        assert self.status == 200, self
        assert self.headers["content-type"] == "application/json", self
        text = gzip.decompress(self.body) if self.headers.get("content-encoding") == "gzip" else self.body
        entries = json.loads(text)
        assert isinstance(entries, list) and all(list(entry) == ["videoId", "views"] for entry in entries), self
        assert all(isinstance(entry["videoId"], str) and type(entry["views"]) is int for entry in entries), self
        return [(entry["videoId"], entry["views"]) for entry in entries]

    def problem(self, status):
        """The members of an application/problem+json with this status."""
        assert self.status == status, self
        assert self.headers["content-type"] == "application/problem+json", self
        assert self.headers["cache-control"] == "no-store", self
        problem = self.json()
        assert problem["type"] == "about:blank" and problem["status"] == status and problem["title"], self
        assert set(problem) <= {"type", "title", "status", "detail", "hint", "sqlstate"}, self
        assert ("retry-after" in self.headers) == (status == 503), self
        return problem


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=LIMIT)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(LIMIT)
        self.sock.connect(self.path)


def split(address):
    """host:port or [host]:port, as a socket wants it."""
    host, port = address.rsplit(":", 1)
    return host.strip("[]"), int(port)


def target(**parameters):
    """A target for the list; parameters that are None are left out."""
    return TOP + "?" + urlencode({name: value for name, value in parameters.items() if value is not None}, quote_via=quote)


class Client:
    """One keep-alive connection, opened again when it was closed. One thread."""

    def __init__(self, address):
        if address.startswith("unix:"):
            self.connection = _UnixConnection(address.removeprefix("unix:"))
        else:
            self.connection = http.client.HTTPConnection(*split(address), timeout=LIMIT)

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        self.close()

    def close(self):
        self.connection.close()

    def request(self, method, to, headers=None, body=None):
        before = time.monotonic()
        self.connection.putrequest(method, to, skip_accept_encoding=True)
        for name, value in (headers or {}).items():
            self.connection.putheader(name, value)
        if body is not None:
            self.connection.putheader("Content-Length", str(len(body)))
        self.connection.endheaders(body)
        response = self.connection.getresponse()
        body = response.read()
        return Answer(response, body, (before, time.monotonic()))

    def get(self, to, **headers):
        """Header names with underscores for hyphens."""
        return self.request("GET", to, {name.replace("_", "-"): value for name, value in headers.items()})

    def top(self, headers=None, **parameters):
        return self.request("GET", target(**parameters), headers)


def get(address, to, **headers):
    with Client(address) as client:
        return client.get(to, **headers)


def connect(address, receive_buffer=None, limit=LIMIT):
    """A bare socket; with a receive buffer of that size, for a client that reads little."""
    unix = address.startswith("unix:")
    family = socket.AF_UNIX if unix else socket.AF_INET6 if address.startswith("[") else socket.AF_INET
    one = socket.socket(family)
    if receive_buffer:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    one.settimeout(limit)
    one.connect(address.removeprefix("unix:") if unix else split(address))
    return one


def read_answer(one, method="GET"):
    """The next answer on a bare socket; None when the server closed it, or reset it, without one."""
    response = http.client.HTTPResponse(_Unbuffered(one), method=method)
    with contextlib.suppress(ConnectionError, http.client.RemoteDisconnected):
        response.begin()
        return Answer(response, response.read())
    return None


class _Unbuffered:
    """What HTTPResponse reads from must not read ahead into the next answer."""

    def __init__(self, one):
        self.one = one

    def makefile(self, mode):
        return _Bytewise(self.one)


class _Bytewise:
    def __init__(self, one):
        self.one = one

    def readline(self, limit=-1):
        line = b""
        while not line.endswith(b"\n") and (limit < 0 or len(line) < limit):
            byte = self.one.recv(1)
            if not byte:
                break
            line += byte
        return line

    def read(self, size=-1):
        parts = b""
        while size < 0 or len(parts) < size:
            part = self.one.recv(65536 if size < 0 else size - len(parts))
            if not part:
                break
            parts += part
        return parts

    def readinto(self, view):
        part = self.read(len(view))
        view[:len(part)] = part
        return len(part)

    def flush(self):
        pass

    def close(self):
        pass


def exchange(address, data, method="GET"):
    """Sends these bytes on a connection of their own: [answers] until the server closes it, or sends nothing more for a moment."""
    answers = []
    with connect(address, limit=2) as one:
        with contextlib.suppress(ConnectionError):
            one.sendall(data)
        while True:
            try:
                answer = read_answer(one, method)
            except TimeoutError:
                return answers
            except http.client.HTTPException:  # a refusal amid headers or body has a text for HEAD, too: the library does not tell the method
                assert method == "HEAD" and answers and answers[-1].headers["connection"] == "close", answers
                return answers
            if answer is None:
                return answers
            answers.append(answer)
            one.settimeout(0.5)  # another one would be there by now


class Stream:
    """An event stream; use as a context manager. `events` come as (name, id, data)."""

    def __init__(self, address, limit=LIMIT, receive_buffer=None, **parameters):
        self.socket = connect(address, receive_buffer, limit)
        self.socket.sendall(f"GET {target(**parameters).replace(TOP, TOP + '/stream', 1)} HTTP/1.1\r\nHost: test\r\n\r\n".encode())
        self.response = http.client.HTTPResponse(self.socket)
        self.response.begin()
        self.retry, self.comments = None, []  # when they came

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        self.close()

    def close(self):
        self.response.close()
        self.socket.close()

    def event(self):
        """The next one; None when the stream ended. TimeoutError when none came within the limit."""
        name, identifier, data = "message", None, []
        while line := self.response.readline():
            line = line.decode().rstrip("\n")
            if line.startswith(":"):
                self.comments.append(time.monotonic())
            elif not line:
                if data:
                    return name, identifier, "\n".join(data)
            else:
                field, _, value = line.partition(":")
                value = value.removeprefix(" ")
                assert field in ("event", "id", "data", "retry"), line
                if field == "event":
                    name = value
                elif field == "id":
                    identifier = value
                elif field == "data":
                    data.append(value)
                else:
                    self.retry = int(value)
        return None

    def next_list(self):
        """(id, the object) of the next event, which is a list."""
        event = self.event()
        assert event is not None and event[0] == "list", event
        return event[1], json.loads(event[2])


def metric(address, name):
    """A sample's value, or the sum of all with that name; labels may be part of it. 0 when there is none."""
    text = get(address, "/metrics").body.decode()
    found = re.findall(rf"^{re.escape(name)}(?:\{{[^}}]*\}})? (\S+)$", text, re.MULTILINE)
    return sum(map(float, found))
