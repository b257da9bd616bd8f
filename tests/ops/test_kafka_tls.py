"""TLS and SASL to Kafka with the real broker: each way of daemon/TLS.md works, and each mistake is told, with exit code 1 and no secret."""
import ctypes
import re

import pytest
from programs import Running, topkd
from secure_kafka import PLAIN_PASSWORD, SCRAM_PASSWORD, USER

RECORDS = 2000
WRONG_PASSWORD = "not-the-pass-4b11"
STRICT_SCRAM = 0x020601FF  # the first librdkafka whose SCRAM Kafka 4 takes


def sasl(kafka, mechanism, password, authority=None):
    return {"security.protocol": "SASL_SSL", "ssl.ca.location": (authority or kafka.authority).certificate, "sasl.mechanism": mechanism,
            "sasl.username": USER, "sasl.password": password}


def mutual(kafka, issuer=None):
    key, certificate = (issuer or kafka.authority).issue("kafka_client")
    return {"security.protocol": "SSL", "ssl.ca.location": kafka.authority.certificate, "ssl.certificate.location": certificate,
            "ssl.key.location": key}


def options(properties, given, folder):
    """(arguments, environment) that hand librdkafka's properties over in one of the three ways."""
    pairs = [f"{key}={value}" for key, value in properties.items()]
    if given == "flags":
        return [word for pair in pairs for word in ("--kafka", pair)], {}
    if given == "environment":
        return [], {"TOPKD_KAFKA": "\n".join(pairs)}
    file = folder / "topkd.toml"
    file.write_text("kafka = [" + ", ".join(f'"{pair}"' for pair in pairs) + "]\n")
    return ["--config", file], {}


def secrets(properties):
    """The passwords, and the lines of the private key."""
    key = properties.get("ssl.key.location")
    return PLAIN_PASSWORD, SCRAM_PASSWORD, WRONG_PASSWORD, *(key.read_text().splitlines()[1:-1] if key else ())


GOOD = {"scram": (lambda kafka: (kafka.secure, sasl(kafka, "SCRAM-SHA-512", SCRAM_PASSWORD)), "environment"),
        "plain": (lambda kafka: (kafka.secure, sasl(kafka, "PLAIN", PLAIN_PASSWORD)), "flags"),
        "certificate": (lambda kafka: (kafka.mutual, mutual(kafka)), "file")}


def librdkafka():
    """(version as librdkafka writes it, its features)"""
    library = ctypes.CDLL("librdkafka.so.1")
    library.rd_kafka_conf_new.restype = ctypes.c_void_p
    conf, value, size = ctypes.c_void_p(library.rd_kafka_conf_new()), ctypes.create_string_buffer(4096), ctypes.c_size_t(4096)
    assert library.rd_kafka_conf_get(conf, b"builtin.features", value, ctypes.byref(size)) == 0
    return library.rd_kafka_version(), set(value.value.decode().split(","))


@pytest.mark.parametrize("way", GOOD)
def test_counts(kafka, database, tmp_path, way):
    """produce, ingest and verify over one listener; the database with the roles of the image, by certificate and by password."""
    listener, given = GOOD[way]
    port, properties = listener(kafka)
    counter = f"by_{way}"
    kafka.create_topic(counter)
    database.make_counter(counter)
    more, environment = options(properties, given, tmp_path)
    common = ("--brokers", f"localhost:{port}", "--topic", counter, *more)
    if way == "scram" and librdkafka()[0] < STRICT_SCRAM:
        # Not here: test_images.py does it, with the image's librdkafka. What is told must not send anybody to look for a wrong password.
        ended = topkd("produce", "--count", 1, "--startup-timeout", "5s", *common, environment=environment)
        ended.expect_error(r"cannot do SCRAM at all, 2\.6\.1", *secrets(properties))
        return
    ingest_db = database.conninfo("topk_ingest", **database.with_certificate())
    for arguments in (["produce", "--count", RECORDS], ["ingest", "--db", ingest_db, "--counter", counter, "--exit-at-end"],
                      ["verify", "--db", database.superuser(), "--counter", counter]):
        ended = topkd(*arguments, *common, environment=environment)
        ended.expect_success(*secrets(properties))
        if arguments[0] == "ingest":
            assert re.search(r"sasl\.password=\*\*\*|ssl\.key\.location=/", ended.text), f"no effective configuration: {ended}"
    assert database.value("SELECT sum(counted + late)::int FROM topk.kafka_progress WHERE counter = %s", counter) == RECORDS


# (host, port, properties): what the client does wrong, and what must be said about it
BAD = {
    "wrong authority": (lambda kafka, stranger: ("localhost", kafka.secure, sasl(kafka, "SCRAM-SHA-512", SCRAM_PASSWORD, stranger)),
                        r"certificate verify failed"),
    "wrong host name": (lambda kafka, stranger: ("127.0.0.1", kafka.secure, sasl(kafka, "SCRAM-SHA-512", SCRAM_PASSWORD)),
                        r"certificate verify failed"),
    "wrong password": (lambda kafka, stranger: ("localhost", kafka.secure, sasl(kafka, "SCRAM-SHA-512", WRONG_PASSWORD)),
                       r"(?i)authentication fail"),
    "wrong password, plain": (lambda kafka, stranger: ("localhost", kafka.secure, sasl(kafka, "PLAIN", WRONG_PASSWORD)),
                              r"(?i)authentication fail"),
    "no such mechanism": (lambda kafka, stranger: ("localhost", kafka.secure, sasl(kafka, "SCRAM-SHA-256", SCRAM_PASSWORD)),
                          r"(?i)unsupported.*mechanism"),
    "no certificate": (lambda kafka, stranger: ("localhost", kafka.mutual, {key: value for key, value in mutual(kafka).items() if "cert" not in key and ".key" not in key}),
                       r"(?i)SSL|certificate"),
    "another's certificate": (lambda kafka, stranger: ("localhost", kafka.mutual, mutual(kafka, stranger)), r"(?i)SSL|certificate"),
    "no TLS": (lambda kafka, stranger: ("localhost", kafka.secure, {}), r"hint: .*security\.protocol"),
}


@pytest.mark.parametrize("mistake", BAD)
def test_mistakes(kafka, stranger, database, mistake):
    """The last line names the cause."""
    client, said = BAD[mistake]
    host, port, properties = client(kafka, stranger)
    more, _ = options(properties, "flags", None)
    common = ["--brokers", f"{host}:{port}", "--topic", "any", *more]
    running = [Running("produce", "--count", "1", "--startup-timeout", "5s", *common),
               Running("ingest", "--db", database.superuser(), "--startup-timeout", "2s", *common)]
    for one in running:
        one.end().expect_error(said, *secrets(properties))


def test_verify_tells(kafka, stranger, database):
    """As the others, but it tries for longer."""
    kafka.create_topic("told")
    database.make_counter("told")
    topkd("produce", "--brokers", f"127.0.0.1:{kafka.plain}", "--topic", "told", "--count", 10).expect_success()
    topkd("ingest", "--db", database.superuser(), "--counter", "told", "--brokers", f"127.0.0.1:{kafka.plain}", "--topic", "told", "--exit-at-end").expect_success()
    client, said = BAD["wrong password"]
    host, port, properties = client(kafka, stranger)
    more, _ = options(properties, "flags", None)
    ended = topkd("verify", "--db", database.superuser(), "--counter", "told", "--brokers", f"{host}:{port}", "--topic", "told", *more)
    ended.expect_error(said, *secrets(properties))


@pytest.mark.parametrize("properties, said", [
    ({"security.protocol": "SASL_SSL", "sasl.mechanism": "SCRAM-SHA-512", "sasl.password": WRONG_PASSWORD}, r"(?i)sasl\.username"),
    ({"security.protocol": "ssl", "ssl.ca.location": "/nonexistent/ca.crt"}, r"(?i)ssl\.ca\.location"),
    ({"security.protocol": "tls"}, r'(?i)invalid value "tls"'),
])
def test_properties_that_cannot_work(kafka, database, properties, said):
    """Refused before a broker is asked."""
    more, _ = options(properties, "flags", None)
    ended = topkd("ingest", "--db", database.superuser(), "--brokers", f"localhost:{kafka.secure}", "--startup-timeout", "2s", *more)
    assert ended.code in (1, 2) and re.search(said, ended.text), str(ended)
    ended.expect_no(*secrets(properties))


def test_librdkafka_can():
    """The distribution's librdkafka was built with TLS and with SASL PLAIN, SCRAM and OAUTHBEARER."""
    assert {"ssl", "sasl", "sasl_scram", "sasl_plain", "sasl_oauthbearer"} <= librdkafka()[1]
