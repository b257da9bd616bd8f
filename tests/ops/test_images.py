"""The images: the Dockerfiles' own instructions executed (images.py), and the services of the compose file run from them, against each other."""
import http.server
import itertools
import re
import shutil
import subprocess
import threading
import time
from pathlib import Path

import pytest
import servers
import yaml
from images import build_all
from harness.wait import wait_until
from pod import Container, Pod, interpolate
from programs import DOCKER, ROOT
from secure_kafka import SCRAM_PASSWORD, TOPICS_PY, USER

COMPOSE = yaml.safe_load((DOCKER / "compose.yaml").read_text())["services"]
DOCKERFILES = {"postgres": DOCKER / "postgres/Dockerfile", "topkd": DOCKER / "topkd/Dockerfile"}
VARIABLES = {"TOPK_INGEST_PASSWORD": "ingest 'pass' 41", "TOPK_READ_PASSWORD": "read-pass-42", "GRAFANA_PASSWORD": "x"}
KAFKA_LIB = ROOT / "build/kafka/lib"

numbers = itertools.count()


@pytest.fixture(scope="session")
def images():
    try:
        return build_all(DOCKERFILES)
    except servers.Unavailable as reason:
        pytest.skip(str(reason))


@pytest.fixture
def pod(run_directory):
    made = Pod(run_directory / f"pod{next(numbers)}", COMPOSE)
    yield made
    made.close()


def ran(pod, image, *command):
    """(exit code, output) of a container that ends by itself."""
    container = Container(pod, f"run{next(numbers)}", image, [])
    container.command = command
    container.start()
    return container.process.wait(60), container.text()


# --- topkd ---

def test_topkd(pod, images):
    """It runs, without a privilege, and lacks no library."""
    image = images["topkd"]
    code, text = ran(pod, image, *image.words("ENTRYPOINT"), "--version")
    version = re.search(r"^project\(topkd VERSION (\S+)", (ROOT / "daemon/CMakeLists.txt").read_text(), re.MULTILINE)[1]
    assert code == 0 and text.startswith(f"topkd {version} "), text
    assert ran(pod, image, "id", "-u")[1].strip() == "10001"
    libraries = ran(pod, image, "ldd", "/usr/local/bin/topkd")[1]
    assert "librdkafka" in libraries and "not found" not in libraries
    assert ran(pod, image, *image.words("ENTRYPOINT"), *image.words("CMD"))[0] == 0
    assert ran(pod, image, "sh", "-c", "grep -q 'BEGIN CERTIFICATE' /etc/ssl/certs/ca-certificates.crt")[0] == 0


def test_scram(images, kafka, tmp_path):
    """SASL SCRAM with Kafka 4, which the librdkafka of Debian 12 cannot: by the image's own, on the machine's network."""
    kafka.create_topic("scram")
    command = [*images["topkd"].words("ENTRYPOINT"), "produce", "--brokers", f"localhost:{kafka.secure}", "--topic", "scram", "--count", "100"]
    for password, code in ((SCRAM_PASSWORD, 0), ("wrong", 1)):
        properties = f"security.protocol=SASL_SSL\nssl.ca.location=/authority/ca.crt\nsasl.mechanism=SCRAM-SHA-512\nsasl.username={USER}\nsasl.password={password}"
        done = subprocess.run(images["topkd"].command(tmp_path / str(code), [*command, "--startup-timeout", "3s"], {"TOPKD_KAFKA": properties},
                                                      ["--bind", str(kafka.authority.folder), "/authority"]),
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert done.returncode == code, done.stdout
        assert code == 0 or "invalid credentials" in done.stdout and "cannot do SCRAM" not in done.stdout, done.stdout


def test_healthcheck(images, tmp_path):
    """Of the image's script: 200 is health; another status, silence, and nobody there are not."""
    class Answers(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response({"/healthz": 200, "/readyz": 503}.get(self.path, 404))
            self.end_headers()

        def log_message(self, *_):
            pass

    script = DOCKER / "topkd/healthcheck.sh"
    with http.server.HTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        port = str(server.server_address[1])
        assert subprocess.run([script, port]).returncode == 0
        assert subprocess.run([script, port, "/readyz"]).returncode != 0
        server.shutdown()
    assert subprocess.run([script, port], stderr=subprocess.DEVNULL).returncode != 0


# --- PostgreSQL ---

def postgres(pod, images, volume, environment=None):
    service = COMPOSE["postgres"]
    volume.mkdir(exist_ok=True)
    shutil.chown(volume, *map(int, ran(pod, images["postgres"], "sh", "-c", "echo $(id -u) $(id -g)")[1].split()))
    variables = {key: interpolate(value, VARIABLES) for key, value in service["environment"].items()} if environment is None else environment
    target = service["volumes"][0].split(":")[1]
    assert images["postgres"].environment["PGDATA"].startswith(f"{target}/") and images["postgres"].metadata["VOLUME"] == target
    return Container(pod, f"postgres{next(numbers)}", images["postgres"], environment=variables, volumes={volume: target}).start()


def wait_for_health(container, test, seconds=90):
    def healthy():
        container.check()
        return container.healthy(test)
    wait_until(healthy, seconds, lambda: f"{container.name} is not healthy:\n{container.text()[-3000:]}")


def sql(container, statement):
    code, text = container.execute("psql", "-qAtX", "-d", "topk", "-c", statement)
    assert code == 0, f"{statement}: {text}"
    return text.strip()


def test_postgres(pod, images):
    """A first start makes the database, with pg_cron's job running; a second one finds it; the superuser has no way in from outside."""
    volume = pod.directory / "volume"
    server = postgres(pod, images, volume)
    health = images["postgres"].words("HEALTHCHECK")
    wait_for_health(server, health)
    assert sql(server, "SELECT count(*) FROM topk('hour', 10)") == "0"
    control = re.search(r"^default_version = '(.*)'", (ROOT / "extension/topk.control").read_text(), re.MULTILINE)[1]
    assert sql(server, "SELECT extversion FROM pg_extension WHERE extname = 'topk'") == control
    assert sql(server, "CREATE TABLE plays (hour int, video text, views int); CREATE INDEX ON plays USING topk (hour, views DESC, video) WITH (k = 100);"
                       "INSERT INTO plays VALUES (1, 'a', 5), (1, 'b', 7); SELECT video FROM plays WHERE hour = 1 ORDER BY views DESC, video LIMIT 1") == "b"
    assert sql(server, "SELECT current_setting('data_checksums') || current_setting('server_encoding')") == "onUTF8"
    code, text = server.execute("psql", "-h", "127.0.0.1", "-d", "topk", "-c", "SELECT 1")
    assert code != 0 and "no pg_hba.conf entry" in text
    wait_until(lambda: sql(server, "SELECT status FROM cron.job_run_details WHERE command LIKE 'CALL topk.maintain%' AND status = 'succeeded' LIMIT 1"), 45,
               lambda: sql(server, "TABLE cron.job_run_details"))
    assert server.stop() == 0
    assert not [word for word in VARIABLES.values() if len(word) > 3 and word in server.text()]

    again = postgres(pod, images, volume, environment={})
    wait_for_health(again, health)
    assert sql(again, "SELECT count(*) FROM plays") == "2"
    again.stop()


def test_first_start_cut_short(pod, images):
    """Killed while it makes the cluster, the container makes it anew; without passwords it says so."""
    volume = pod.directory / "volume"
    refused = postgres(pod, images, volume, environment={})
    assert refused.process.wait(30) != 0 and "TOPK_INGEST_PASSWORD" in refused.text()
    server = postgres(pod, images, volume)
    data = volume / Path(images["postgres"].environment["PGDATA"]).relative_to(images["postgres"].metadata["VOLUME"])
    wait_until(lambda: Path(f"{data}.new/postmaster.pid").exists(), 60, lambda: server.text())
    server.kill()
    assert not data.exists()
    again = postgres(pod, images, volume)
    wait_for_health(again, images["postgres"].words("HEALTHCHECK"))
    assert sql(again, "SELECT count(*) FROM topk.counter") == "1"
    again.stop()


# --- All of it ---

def kafka_properties(service, data):
    """As the image makes them of its environment: KAFKA_A_B is a.b."""
    variables = {key.removeprefix("KAFKA_").lower().replace("_", "."): str(value) for key, value in service["environment"].items()}
    return "".join(f"{key}={value}\n" for key, value in {**variables, "log.dirs": data}.items())


def start_kafka(pod):
    """The broker of the tests' jars, with the compose file's settings."""
    subprocess.run([ROOT / "tests/kafka/kafka.sh", "install"], check=True)
    file = pod.directory / "server.properties"
    file.write_text(kafka_properties(COMPOSE["kafka"], pod.directory / "kafka"))
    java = ["setpriv", "--pdeathsig", "KILL", "--", "java", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", f"{KAFKA_LIB}/*",
            f"-Dlog4j2.configurationFile={ROOT}/tests/kafka/log4j2.properties", f"-Dtopk.log={pod.directory}/broker.log"]
    cluster = pod.run("/usr/bin/python3", TOPICS_PY, "cluster-id").strip()
    pod.run(*java, "kafka.tools.StorageTool", "format", "-c", file, "-t", cluster)
    broker = pod.popen([*java, "kafka.Kafka", file], pod.directory / "kafka.log")
    pod.run("/usr/bin/python3", TOPICS_PY, "--brokers", "kafka:9092", "ready", "--timeout", "60", "--pid", broker.pid)


def make_topic(pod, arguments):
    options = dict(zip(arguments[0::1], arguments[1::1]))
    pod.run("/usr/bin/python3", TOPICS_PY, "--brokers", options["--bootstrap-server"], "topic", "create", options["--topic"],
            "--partitions", options["--partitions"])


def start(pod, images, name):
    """A service of topkd's image."""
    service = COMPOSE[name]
    assert service["image"].startswith("topkd:") and service["read_only"]
    environment = {key: interpolate(value, VARIABLES) for key, value in service["environment"].items()}
    return Container(pod, name, images["topkd"], service["command"], environment, read_only=True).start()


def health_test(images, name):
    test = COMPOSE[name].get("healthcheck", {}).get("test")
    return test[1:] if test else images["topkd"].words("HEALTHCHECK")


def test_compose(pod, images):
    """Producer, Kafka, ingest, PostgreSQL and serve with the file's own settings: views arrive, are served, and are as many as were produced."""
    start_kafka(pod)
    make_topic(pod, COMPOSE["topic"]["command"])
    database = postgres(pod, images, pod.directory / "volume")
    wait_for_health(database, images["postgres"].words("HEALTHCHECK"))
    ingest, serve, producer = (start(pod, images, name) for name in ("ingest", "serve", "producer"))
    for service in (ingest, serve):
        wait_for_health(service, health_test(images, service.name))

    def counted():
        for service in (ingest, serve, producer):
            service.check()
        return int(sql(database, "SELECT coalesce(sum(counted), 0) FROM topk.kafka_progress")) > 1000
    wait_until(counted, 30, lambda: ingest.text()[-3000:])
    assert sql(database, "SELECT count(*) FROM topk('all_time', 10)") == "10"
    page = pod.run("curl", "-sS", "--fail", "http://serve:8080/views/top-k?window=all_time&k=3")
    assert page.count("videoId") == 3, page
    for target in ("http://serve:8080/metrics", "http://ingest:9187/metrics"):
        assert "# TYPE topkd_" in pod.run("curl", "-sS", "--fail", target)

    assert producer.stop() == 0
    end = time.monotonic() + 30
    verify = Container(pod, "verify", images["topkd"], ["verify"], {"TOPKD_DB": "host=postgres dbname=topk user=topk_read", "PGPASSWORD": VARIABLES["TOPK_READ_PASSWORD"],
                                                                "TOPKD_BROKERS": "kafka:9092"})
    assert ingest.stop() == 0 and serve.stop() == 0
    assert time.monotonic() < end
    verify.start()
    assert verify.process.wait(60) == 0, verify.text()
    for container in (ingest, serve, producer, verify, database):
        assert not [word for word in VARIABLES.values() if len(word) > 3 and word in container.text()], container.name
