"""Many clients, addresses and the end: idle connections, limits, unix sockets, what is refused at the start, the orderly stop."""
import contextlib
import os
import resource
import signal
import socket
import statistics
import time

import pytest
import web
from harness.wait import wait_until
from serving import Asked, Expected, queries_held, waiting_queries

IDLE = int(os.environ.get("SERVE_IDLE") or 10_000)


def percentile(values, share):
    return sorted(values)[int(len(values) * share)]


def allow_open_files(needed):
    """For the client, and for the servers that it starts; beyond the hard limit only root may raise it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, max(needed, hard)))


def test_ten_thousand_idle_connections(database, start_serve, count_up):
    """Each was served once and stays; others are served meanwhile, and they again afterwards."""
    allow_open_files(IDLE + 1000)
    serve = start_serve(database, "--max-connections", str(IDLE + 500))
    serve.top(window="hour", k=100)
    before = serve.memory("VmRSS")
    request = f"GET {web.target(window='hour', k=10, at=database.hour.isoformat())} HTTP/1.1\r\nHost: t\r\n\r\n".encode()
    idle, begun = [], time.monotonic()
    try:
        for start in range(0, IDLE, 200):
            batch = [web.connect(serve.address) for _ in range(min(200, IDLE - start))]
            idle += batch
            for one in batch:
                one.sendall(request)
            for one in batch:
                assert one.recv(8192).startswith(b"HTTP/1.1 200 ")
        opened = time.monotonic() - begun
        wait_until(lambda: serve.connections() == IDLE, 10, lambda: f"the one before to be gone: {serve.connections()} are open")
        resident = serve.memory("VmRSS")
        took = []
        with web.Client(serve.address) as client:
            for _ in range(500):
                answer = client.top(window="hour", k=100, at=database.hour.isoformat())
                assert len(answer.list()) == 100
                took.append(answer.times[1] - answer.times[0])
            for _ in range(50):
                assert len(serve.top(window="day", k=100).list()) == 100  # on a new connection each
        for one in idle[::97]:
            one.sendall(request)
            assert one.recv(8192).startswith(b"HTTP/1.1 200 ")
        count_up(f"{len(idle)} connections in {opened:.1f} s, {(resident - before) / len(idle) / 1024:.1f} KiB each ({resident / 2**20:.0f} MiB resident);"
                 f" others: median {statistics.median(took) * 1000:.2f} ms, p99 {percentile(took, 0.99) * 1000:.2f} ms")
        assert resident - before < len(idle) * 64 * 1024
        assert percentile(took, 0.99) < 0.25
    finally:
        for one in idle:
            one.close()
    wait_until(lambda: serve.connections() == 0, 30, "all are closed")
    assert serve.top(window="hour").status == 200


def test_more_connections_than_allowed(database, start_serve):
    """Those beyond the limit are told so; as soon as one goes, the next is served."""
    serve = start_serve(database, "--max-connections", "20")
    with contextlib.ExitStack() as stack:
        served = []
        for _ in range(20):
            client = stack.enter_context(web.Client(serve.address))
            assert client.get("/healthz").status == 200
            served.append(client)

        for sent in (b"GET /healthz HTTP/1.1\r\nHost: t\r\n\r\n", b""):  # a silent client is told, too
            with web.connect(serve.address) as one:
                one.sendall(sent)
                refused = web.read_answer(one)
                assert refused.problem(503) and refused.headers["connection"] == "close" and web.read_answer(one) is None
        counted = 'topkd_http_requests_total{route="other",status="503"} 2\n'
        wait_until(lambda: counted in served[0].get("/metrics").body.decode(), 10, "both are counted")
        assert all(client.get("/healthz").status == 200 for client in served)
        served[3].close()
        wait_until(lambda: serve.get("/healthz").status == 200, 10, "a place is free")


def test_unix_socket_and_several_addresses(database, start_serve, run_directory):
    path = run_directory / "api.sock"
    serve = start_serve(database, listen=(f"unix:{path}", "127.0.0.1:0", "localhost:0"))
    wanted = Expected(database, "hour", 5, database.hour).rows
    assert len(serve.addresses) >= 3 and serve.addresses[0] == f"unix:{path}"
    assert len({address for address in serve.addresses}) == len(serve.addresses)
    for address in serve.addresses:
        assert web.get(address, web.target(window="hour", k=5, at=database.hour.isoformat())).list() == wanted
        with web.Stream(address, window="hour", k=5) as stream:
            stream.next_list()
    assert serve.terminate() == 0
    assert not path.exists()
    # One that was killed leaves its socket behind: the next takes the path over; not from one that lives
    first = start_serve(database, listen=(f"unix:{path}",))
    second = start_serve(database, listen=(f"unix:{path}",), ready=False)
    assert second.wait(20) == 1
    assert first.get("/healthz").status == 200
    first.kill()
    third = start_serve(database, listen=(f"unix:{path}",))
    assert third.top(window="hour", k=5, at=database.hour.isoformat()).list() == wanted


def test_ipv6(database, start_serve):
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError as error:
        pytest.skip(f"no IPv6 here: {error}")
    serve = start_serve(database, listen=("[::1]:0",))
    assert serve.address.startswith("[::1]:")
    assert serve.top(window="hour").status == 200


@pytest.mark.parametrize("arguments", [["--listen", "nonsense"], ["--listen", "127.0.0.1"], ["--listen", "127.0.0.1:70000"], ["--listen", "127.0.0.1:x"], ["--listen", "unix:"],
                                       ["--pool", "0"], ["--pool", "-1"], ["--pool", "many"], ["--cache", "-1s"], ["--cache", "soon"], ["--max-connections", "0"], ["--counter", ""],
                                       ["--request-timeout", "0"], ["--query-timeout", "0"], ["--nonsense"], ["argument"]])
def test_bad_options_are_usage_errors(database, start_serve, arguments):
    serve = start_serve(database, *arguments, ready=False)
    assert serve.wait(10) == 2, serve.log_text()


def test_what_cannot_start_says_why(database, start_serve):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        serve = start_serve(database, listen=(f"127.0.0.1:{port}",), ready=False)
        assert serve.wait(20) == 1
        assert str(port) in serve.log_text() and "in use" in serve.log_text()
    for address in ("192.0.2.1:0", "no-such-host.invalid:0", "unix:/nowhere/at/all.sock", "unix:/" + "x" * 200):
        serve = start_serve(database, listen=(address,), ready=False)
        assert serve.wait(30) in (1, 2) and address.removeprefix("unix:").split(":")[0][:50] in serve.log_text()


def test_too_few_files_for_the_connections(database, start_serve):
    """The limit is raised as far as the system lets it; what is not enough is said at the start, not by the last client."""
    low = start_serve(database, "--max-connections", "3000", prefix=("prlimit", "--nofile=512:10000"))
    assert low.top(window="hour").status == 200
    unprivileged = ("setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs") if os.geteuid() == 0 else ()
    fixed_limit = (*unprivileged, "prlimit", "--nofile=512:1000")
    fixed = start_serve(database, "--max-connections", "3000", prefix=fixed_limit, ready=False)
    assert fixed.wait(20) == 1
    assert "3000" in fixed.log_text() and "1000" in fixed.log_text()
    for pool in (1, 60):  # without the option fewer clients are taken, and the pool's files are counted
        fewer = start_serve(database, "--pool", str(pool), prefix=fixed_limit, limit=None)
        assert f"max-connections={1000 - 256 - pool}" in fewer.log_text()
        assert fewer.top(window="hour").status == 200


# --- The database from the start ---

def test_starts_without_a_database(start_serve, count_up):
    """It serves 503 until there is one."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    serve = start_serve(f"host=127.0.0.1 port={port} user=reader password=Xyzzy0 dbname=nowhere connect_timeout=2")
    for window in ("hour", "day"):
        problem = serve.top(window=window)
        assert problem.problem(503) and problem.headers["retry-after"] == "1"
        assert "Xyzzy0" not in problem.body.decode() and str(port) not in problem.body.decode() and "nowhere" not in problem.body.decode()
    ready = serve.get("/readyz")
    assert ready.problem(503) and ready.headers["retry-after"] == "1"
    assert serve.get("/healthz").status == 200
    assert serve.get("/metrics").status == 200
    with web.Stream(serve.address, window="hour") as stream:
        name, _, data = stream.event()
        assert name == "trouble" and '"status":503' in data
    assert "Xyzzy0" not in serve.log_text()


def test_a_database_without_the_extension(server, start_serve, new_database):
    """Not ready, and says why; works as soon as it is there."""
    database = new_database()
    database.execute("DROP EXTENSION topk")
    serve = start_serve(database, user="postgres")
    assert serve.top(window="hour").status in (500, 503)
    assert serve.get("/readyz").status == 503
    wait_until(lambda: "CREATE EXTENSION" in serve.log_text(), 10, "the log says what is missing")
    database.execute("CREATE EXTENSION topk")
    database.execute("SELECT topk.create_counter('video_views')")
    wait_until(lambda: serve.top(window="hour").status == 200, 20, "it answers")
    wait_until(lambda: serve.get("/readyz").status == 200, 10, "it is ready")


def test_the_session_is_read_only_and_known_by_name(database, start_serve):
    serve = start_serve(database, "--pool", "3")
    serve.top(window="hour")
    rows = database.query("SELECT application_name FROM pg_stat_activity WHERE usename = 'reader' AND datname = current_database()")
    assert 1 <= len(rows) <= 3 and {name for name, in rows} == {"topkd serve"}


# --- The end ---

def test_a_stop_lets_answers_go_out(database, start_serve):
    serve = start_serve(database, "--cache", "0", "--pool", "4")
    serve.top(window="hour")
    with contextlib.ExitStack() as stack:
        idle = [stack.enter_context(web.connect(serve.address)) for _ in range(20)]
        streams = [stack.enter_context(web.Stream(serve.address, window="day")) for _ in range(3)]
        for stream in streams:
            stream.next_list()
        with queries_held(database):
            crowd = Asked(serve, [web.target(window="hour", k=100)] * 10)
            wait_until(lambda: waiting_queries(database) == 4, 10, "queries wait")
            serve.process.terminate()
            wait_until(lambda: not accepts(serve.address), 10, "no new connections")
            for stream in streams:
                while stream.event():
                    pass
            assert serve.alive()
        answers = crowd.answers()
        assert all(len(answer.list()) == 100 for answer in answers)
        assert serve.wait(10) == 0
        assert all(one.recv(1) == b"" for one in idle)


def accepts(address):
    try:
        web.connect(address).close()
    except OSError:
        return False
    return True


def test_a_stop_does_not_wait_for_ever(database, start_serve):
    serve = start_serve(database, "--query-timeout", "60s")
    serve.top(window="day")
    with queries_held(database), web.connect(serve.address) as one:
        one.sendall(b"GET /views/top-k?window=hour HTTP/1.1\r\nHost: t\r\n\r\n")
        wait_until(lambda: waiting_queries(database) >= 1, 10, "the query waits")
        begun = time.monotonic()
        assert serve.terminate(limit=15) == 0
        assert time.monotonic() - begun < 9
        answer = web.read_answer(one)
        assert answer is None or answer.status == 503


def test_interrupt_ends_at_once_when_nothing_is_under_way(database, start_serve):

    serve = start_serve(database)
    serve.top(window="hour")
    begun = time.monotonic()
    serve.process.send_signal(signal.SIGINT)
    assert serve.wait(10) == 0
    assert time.monotonic() - begun < 3
    assert "error" not in serve.log_text().lower()
