"""TLS and SASL to Kafka with the real broker: each way of daemon/TLS.md works, and each mistake is told, with exit code 1 and no secret."""
import re

import pytest
from programs import Running, topkd
from secure_kafka import PLAIN_PASSWORD, SCRAM_PASSWORD, USER

RECORDS = 2000
WRONG_PASSWORD = "not-the-pass-4b11"


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


def check_no_secret(ended, properties):
    key = properties.get("ssl.key.location")
    for secret in (PLAIN_PASSWORD, SCRAM_PASSWORD, WRONG_PASSWORD, *(key.read_text().splitlines()[1:-1] if key else ())):
        assert secret not in ended.text, f"a secret in the log: {ended}"


GOOD = {"scram": (lambda kafka: (kafka.secure, sasl(kafka, "SCRAM-SHA-512", SCRAM_PASSWORD)), "environment"),
        "plain": (lambda kafka: (kafka.secure, sasl(kafka, "PLAIN", PLAIN_PASSWORD)), "flags"),
        "certificate": (lambda kafka: (kafka.mutual, mutual(kafka)), "file")}


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
    ingest_db = database.conninfo("topk_ingest", **database.with_certificate())
    for arguments in (["produce", "--count", RECORDS], ["ingest", "--db", ingest_db, "--counter", counter, "--exit-at-end"],
                      ["verify", "--db", database.superuser(), "--counter", counter]):
        ended = topkd(*arguments, *common, environment=environment)
        assert ended.code == 0, ended
        check_no_secret(ended, properties)
        if arguments[0] == "ingest":
            assert re.search(r"\*\*\*|ssl.key.location", ended.text), "the effective configuration is not in the log"
    assert database.value("SELECT sum(counted + late)::int FROM topk.kafka_progress WHERE counter = %s", counter) == RECORDS


# (host, port, properties): what the client does wrong, and what must be said about it
BAD = {
    "wrong authority": (lambda kafka, stranger: ("localhost", kafka.secure, sasl(kafka, "SCRAM-SHA-512", SCRAM_PASSWORD, stranger)),
                        r"certificate verify failed.*ssl\.ca\.location"),
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
    "no TLS": (lambda kafka, stranger: ("localhost", kafka.secure, {}), r"(?i)disconnect|SSL"),
}


@pytest.mark.parametrize("mistake", BAD)
def test_mistakes(kafka, stranger, database, mistake):
    """The last line names the cause; so for every subcommand that speaks to Kafka."""
    client, said = BAD[mistake]
    host, port, properties = client(kafka, stranger)
    more, _ = options(properties, "flags", None)
    common = ["--brokers", f"{host}:{port}", "--topic", "any", *more]
    running = [Running("produce", "--count", "1", "--startup-timeout", "2s", *common),
               Running("ingest", "--db", database.superuser(), "--startup-timeout", "2s", *common),
               Running("verify", "--db", database.superuser(), *common)]
    for ended in [one.end() for one in running]:
        assert ended.code == 1, ended
        last = ended.text.splitlines()[-1]
        assert " error " in last and re.search(said, last), ended
        check_no_secret(ended, properties)


@pytest.mark.parametrize("properties, said", [
    ({"security.protocol": "SASL_SSL", "sasl.mechanism": "SCRAM-SHA-512", "sasl.password": WRONG_PASSWORD}, r"(?i)sasl\.username"),
    ({"security.protocol": "ssl", "ssl.ca.location": "/nonexistent/ca.crt"}, r"(?i)ssl\.ca\.location"),
    ({"security.protocol": "tls"}, r'(?i)invalid value "tls"'),
])
def test_properties_that_cannot_work(kafka, database, properties, said):
    """Refused before a broker is asked."""
    more, _ = options(properties, "flags", None)
    ended = topkd("ingest", "--db", database.superuser(), "--brokers", f"localhost:{kafka.secure}", "--startup-timeout", "2s", *more)
    assert ended.code in (1, 2) and re.search(said, ended.text), ended
    check_no_secret(ended, properties)


def test_librdkafka_can():
    """The distribution's librdkafka was built with TLS and with SASL PLAIN, SCRAM and OAUTHBEARER."""
    import ctypes

    library = ctypes.CDLL("librdkafka.so.1")
    library.rd_kafka_conf_new.restype = ctypes.c_void_p
    conf, value, size = ctypes.c_void_p(library.rd_kafka_conf_new()), ctypes.create_string_buffer(4096), ctypes.c_size_t(4096)
    assert library.rd_kafka_conf_get(conf, b"builtin.features", value, ctypes.byref(size)) == 0
    assert {"ssl", "sasl", "sasl_scram", "sasl_plain", "sasl_oauthbearer"} <= set(value.value.decode().split(","))
