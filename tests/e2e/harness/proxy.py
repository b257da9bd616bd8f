"""A TCP proxy between topkd and PostgreSQL that understands just enough of the frontend protocol to act on the calls
of topk.claim and topk.flush: cut the connection at a chosen byte, hold a call or its answer, deliver it late.

A call is everything the client sends up to and including Sync (extended protocol) or one Query (simple protocol). A
rule waits for the nth call of its kind, acts once (or on every nth call, `times` times), and tells the test through
`reached`. What a rule holds goes on with `release()`. One thread a direction; a connection dies as a whole.
"""
import re
import socket
import struct
import threading
import time

SSL_REQUEST, GSSENC_REQUEST, CANCEL_REQUEST = 80877103, 80877104, 80877102
CALL = re.compile(rb'topk"?\."?(claim|flush)"?\s*\(')

# What a rule does with a call. The part after the comma is where the client's connection is left.
CUT_UNSENT = "the server gets nothing, both ends are cut"
CUT_HALF = "the server gets the first half, both ends are cut"
CUT_BEFORE_SYNC = "the server executes but never sees the Sync that commits, both ends are cut"
CUT_ANSWER = "the server executes and commits, both ends are cut before the client gets a byte"
HOLD = "nothing is sent until release, the client waits"
HOLD_HALF = "the first half is sent, the rest at release, the client waits"
HOLD_BEFORE_SYNC = "all but Sync is sent (locks are held), Sync at release, the client waits"
HOLD_ANSWER = "the server executes and commits, the client gets the answer at release"
DELIVER_LATE = "the client is cut at once, the call is sent to the server at release"


class Rule:
    def __init__(self, kind, action, nth, every, times):
        self.kind, self.action, self.nth, self.every, self.left = kind, action, nth, every, times
        self.seen = self.acted = 0
        self._reached, self._released, self._answered = threading.Event(), threading.Event(), threading.Event()
        self.answer = None  # None: no answer came (connection lost); "ok", or the error's SQLSTATE

    def _applies(self, kind):
        if kind != self.kind or self.left == 0:
            return False
        self.seen += 1
        if self.seen < self.nth or (self.seen - self.nth) % self.every:
            return False
        self.left -= 1
        self.acted += 1
        return True

    def wait_reached(self, limit):
        if not self._reached.wait(limit):
            raise AssertionError(f"no {self.kind} call within {limit:g} s for: {self.action}")

    def release(self):
        self._released.set()

    def wait_answer(self, limit):
        """What the server said to a call that was held: "ok", an SQLSTATE, or None when its connection was gone."""
        if not self._answered.wait(limit):
            raise AssertionError(f"no answer within {limit:g} s to the {self.kind} that was held")
        return self.answer


class Proxy:
    def __init__(self, server_port):
        self.server_port = server_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._lock, self._rules, self._connections, self.calls = threading.Lock(), [], [], {"claim": 0, "flush": 0}
        self._closed = False
        threading.Thread(target=self._accept, daemon=True).start()

    def on(self, kind, action, nth=1, every=1, times=1):
        """From now on: act on the nth call of this kind, and then on every `every`th, `times` times in all."""
        rule = Rule(kind, action, nth, every, times)
        with self._lock:
            self._rules.append(rule)
        return rule

    def close(self):
        self._closed = True
        self._listener.close()
        with self._lock:
            for rule in self._rules:
                rule.release()
            for connection in self._connections:
                connection.close()

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self.server_port), 5)
                server.settimeout(None)
            except OSError:
                client.close()
                continue
            connection = _Connection(self, client, server)
            with self._lock:
                self._connections = [one for one in self._connections if not one.dead()] + [connection]
            connection.start()

    def _rule_for(self, kind):
        with self._lock:
            self.calls[kind] += 1
            return next((rule for rule in self._rules if rule._applies(kind)), None)


class _Connection:
    def __init__(self, proxy, client, server):
        self.proxy, self.client, self.server = proxy, client, server
        self.statements = {}           # prepared statement name → kind of call
        self.gate = threading.Event()  # clear: answers are kept back
        self.gate.set()
        self.client_gone = False
        self.watched, self.answered = None, threading.Event()
        self.parser = _AnswerParser()
        for end in (client, server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def start(self):
        threading.Thread(target=self._frontend, daemon=True).start()
        threading.Thread(target=self._backend, daemon=True).start()

    def dead(self):
        return self.client.fileno() < 0 and self.server.fileno() < 0

    def close(self):
        self.client_gone = True  # before the gate opens: a kept answer must not slip out
        self._close(self.client)
        self._close(self.server)
        self.gate.set()

    @staticmethod
    def _close(end):
        try:
            end.shutdown(socket.SHUT_RDWR)  # wakes a thread blocked on it; close() alone would not
        except OSError:
            pass
        end.close()

    # client → server

    def _frontend(self):
        try:
            self.reader = self.client.makefile("rb")
            self._startup()
            call = []
            while True:
                kind, message = self._message()
                call.append(message)
                if kind in b"PBDECH":  # more of this call follows, up to Sync
                    if kind == b"H"[0]:
                        raise ValueError("Flush inside a call: the proxy would deadlock; teach it")
                    continue
                self._call(call)
                call = []
        except (OSError, EOFError):
            pass
        finally:
            self.close()

    def _exactly(self, count):
        data = self.reader.read(count)
        if len(data) < count:
            raise EOFError
        return data

    def _startup(self):
        while True:
            length = self._exactly(4)
            body = self._exactly(struct.unpack(">i", length)[0] - 4)
            if struct.unpack(">i", body[:4])[0] in (SSL_REQUEST, GSSENC_REQUEST):
                self.client.sendall(b"N")
                continue
            self.server.sendall(length + body)
            return

    def _message(self):
        head = self._exactly(5)
        return head[0], head + self._exactly(struct.unpack(">i", head[1:])[0] - 4)

    def _kind(self, call):
        """Which call this is. Names of prepared statements are remembered on the way."""
        kind = None
        for message in call:
            body = message[5:]
            if message[:1] == b"Q":
                found = CALL.search(body)
                kind = found[1].decode() if found else kind
            elif message[:1] == b"P":
                name, query = body.split(b"\0", 2)[:2]
                found = CALL.search(query)
                self.statements[name] = found[1].decode() if found else None
            elif message[:1] == b"B":
                kind = self.statements.get(body.split(b"\0", 2)[1]) or kind
        return kind

    def _call(self, messages):
        data, kind = b"".join(messages), self._kind(messages)
        rule = self.proxy._rule_for(kind) if kind else None
        if rule is None:
            self.server.sendall(data)
            return
        sync = len(messages[-1]) if messages[-1][:1] == b"S" else 1
        split = {CUT_HALF: len(data) // 2, HOLD_HALF: len(data) // 2, CUT_BEFORE_SYNC: len(data) - sync,
                 HOLD_BEFORE_SYNC: len(data) - sync, CUT_ANSWER: len(data), HOLD_ANSWER: len(data)}.get(rule.action, 0)
        cut, hold_answer = rule.action in (CUT_UNSENT, CUT_HALF, CUT_BEFORE_SYNC, CUT_ANSWER), rule.action == HOLD_ANSWER
        if cut or hold_answer:
            self.gate.clear()
        if rule.action == DELIVER_LATE:
            self.client_gone = True
            self._close(self.client)
        self.answered.clear()
        self.parser, self.watched = _AnswerParser(), rule
        self.server.sendall(data[:split])
        if split == len(data):
            self.answered.wait(30)
        elif rule.action == CUT_BEFORE_SYNC:
            time.sleep(0.05)  # no condition to poll from here: gives the server the chance to execute before the cut
        rule._reached.set()
        if cut:
            raise EOFError  # closes both ends
        rule._released.wait()
        if hold_answer:
            rule._answered.set()
            self.gate.set()
            return
        try:
            self.server.sendall(data[split:])
        except OSError:
            rule._answered.set()
            raise
        if self.client_gone:
            self.answered.wait(30)
            raise EOFError

    # server → client

    def _backend(self):
        try:
            while True:
                data = self.server.recv(65536)
                if not data:
                    break
                if self.watched and not self.answered.is_set() and self.parser.feed(data):
                    self.watched.answer = self.parser.outcome
                    self.answered.set()
                    if self.watched.action != HOLD_ANSWER:
                        self.watched._answered.set()
                self.gate.wait()
                if not self.client_gone:
                    self.client.sendall(data)
        except OSError:
            pass
        finally:
            if self.watched and not self.answered.is_set():
                self.answered.set()
                self.watched._answered.set()
            self.gate.wait()
            self.close()


class _AnswerParser:
    """Finds the end of a call's answer (ReadyForQuery) and whether there was an error in it."""

    def __init__(self):
        self.pending, self.outcome = b"", "ok"

    def feed(self, data):
        self.pending += data
        while len(self.pending) >= 5:
            length = 1 + struct.unpack(">i", self.pending[1:5])[0]
            if len(self.pending) < length:
                return False
            kind, body = self.pending[:1], self.pending[5:length]
            self.pending = self.pending[length:]
            if kind == b"E":
                fields = dict((field[:1], field[1:]) for field in body.split(b"\0") if field)
                self.outcome = fields.get(b"C", b"?????").decode()
            elif kind == b"Z":
                return True
        return False
