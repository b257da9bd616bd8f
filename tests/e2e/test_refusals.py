"""What topkd cannot do it refuses: with the exit code, the culprit's name and a hint, within the start-up timeout."""
import time

import pytest
from harness import kafka, ports, settings

STARTUP_SECONDS = 2


def refused(launcher, *arguments, exit_code=1, environment=None):
    """Runs ingest with a short start-up timeout and returns its log in lower case."""
    started = time.monotonic()
    process = launcher.run("ingest", *arguments, name="refused", limit=STARTUP_SECONDS + 15, environment=environment)
    seconds = time.monotonic() - started
    assert process.exit_code == exit_code, process.log_text()
    assert seconds < STARTUP_SECONDS + 6, f"took {seconds:.1f} s"
    return process.log_text().lower()


def arguments(database, topic, brokers=None, db=None, topic_name=None):
    options = {"db": db or database.conninfo(), "brokers": brokers or topic.broker.address, "topic": topic_name or topic.name,
               "startup-timeout": f"{STARTUP_SECONDS}s"}
    return [word for name, value in options.items() for word in (f"--{name}", value)]


def assert_names(text, *words):
    missing = [word for word in words if word.lower() not in text]
    assert not missing, f"{missing} not in:\n{text}"


def test_no_broker(database, topic, launcher):
    nowhere = f"127.0.0.1:{ports.free_port(29000)}"
    assert_names(refused(launcher, *arguments(database, topic, brokers=nowhere)), nowhere, "hint")


def test_no_topic(database, topic, launcher):
    assert_names(refused(launcher, *arguments(database, topic, topic_name="no_such_topic")), "no_such_topic", "hint")


def test_no_server(database, topic, launcher):
    nowhere = f"host=127.0.0.1 port={ports.free_port(29000)} dbname={database.name} user=postgres"
    assert_names(refused(launcher, *arguments(database, topic, db=nowhere)), nowhere.split()[1].split("=")[1], "hint")


def test_no_database(database, topic, launcher):
    nowhere = database.conninfo().replace(f"dbname={database.name}", "dbname=no_such_database")
    assert_names(refused(launcher, *arguments(database, topic, db=nowhere)), "no_such_database", "hint")


@pytest.fixture
def roles(database):
    """Roles of this test's own; they are the cluster's, so they go with it."""
    def make(name, options="", privilege=None):
        database.execute(f'DO $$ BEGIN CREATE ROLE "{name}" LOGIN {options}; EXCEPTION WHEN duplicate_object THEN NULL; END $$')
        if privilege:
            database.execute("SELECT topk.grant_access(%s, %s)", name, privilege)
        return name
    yield make


def test_wrong_password(database, topic, launcher, roles):
    roles("needs_password", "PASSWORD 'right one'")
    text = refused(launcher, *arguments(database, topic, db=database.conninfo("needs_password", password="wr0ng")))
    assert_names(text, "needs_password", "hint")
    assert "wr0ng" not in text


def test_no_permission(database, topic, launcher, roles):
    assert_names(refused(launcher, *arguments(database, topic, db=database.conninfo(roles("nobody_here")))),
                 "nobody_here", "video_views", "grant_access")


def test_no_permission_to_create_the_counter(empty_database, topic, launcher):
    empty_database.execute("DO $$ BEGIN CREATE ROLE nobody_here LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$")
    assert_names(refused(launcher, *arguments(empty_database, topic, db=empty_database.conninfo("nobody_here"))), "video_views", "hint")


def test_extension_missing(empty_database, topic, launcher):
    empty_database.execute("DROP EXTENSION topk CASCADE")
    assert_names(refused(launcher, *arguments(empty_database, topic)), empty_database.name, "create extension topk")


def test_extension_of_another_version(database, topic, launcher):
    database.execute("UPDATE pg_extension SET extversion = '0.7' WHERE extname = 'topk'")
    assert_names(refused(launcher, *arguments(database, topic)), "0.7", "1.2", "alter extension topk update")


@pytest.mark.parametrize("bad, culprit", [
    (["--no-such-option"], "--no-such-option"), (["--flush-interval", "fast"], "flush-interval"), (["--memory", "much"], "memory"),
    (["--kafka", "no equals sign"], "no equals sign"), (["--kafka", "no.such.property=1"], "no.such.property"),
    (["--config", "/no/such/file"], "/no/such/file")])
def test_bad_option(bad, culprit, database, topic, launcher):
    assert_names(refused(launcher, *arguments(database, topic), *bad, exit_code=2), culprit)


def test_no_brokers_option(database, topic, launcher):
    assert_names(refused(launcher, "--db", database.conninfo(), "--topic", topic.name, exit_code=2), "--brokers")


def test_unknown_subcommand(launcher):
    assert launcher.run("injest").exit_code == 2
    assert launcher.run().exit_code == 2
    assert launcher.run("--version").exit_code == 0
    assert launcher.run("ingest", "--help").exit_code == 0


def test_precedence_and_masked_secrets(database, topic, launcher, run_directory):
    """Flag > environment > file > default, all in the configuration logged at the start, and no secret among it."""
    config = run_directory / "topkd.conf"
    config.write_text('counter = "from_file"\nflush-interval = "111ms"\nmemory = "111MiB"\n')
    uri = f"postgresql://somebody:s3cret@127.0.0.1:{ports.free_port(29000)}/nowhere?sslpassword=s3cret"
    text = refused(launcher, "--config", str(config), "--db", uri, "--brokers", topic.broker.address, "--topic", topic.name,
                   "--flush-interval", "333ms", "--kafka", "sasl.password=s3cret", "--kafka", "ssl.key.password=s3cret",
                   environment={"TOPKD_FLUSH_INTERVAL": "222ms", "TOPKD_MEMORY": "222MiB", "TOPKD_STARTUP_TIMEOUT": "2s",
                                "TOPKD_KAFKA": "ssl.keystore.password=s3cret"})
    assert_names(text, "flush-interval=333ms", "memory=222mib", "counter=from_file", f"topic={topic.name}", "startup-timeout=2s")
    assert "s3cret" not in text


def test_secrets_in_conninfo_are_masked(database, topic, launcher):
    db = f"host=127.0.0.1 port={ports.free_port(29000)} dbname=x user=y password='s3 cret'"
    text = refused(launcher, *arguments(database, topic, db=db))
    assert "s3" not in text and "cret'" not in text


def test_role_with_ingest_only(database, topic, launcher, roles):
    topic.produce(kafka.events(1000, settings.SEED))
    ingester, reader = roles("only_ingest", privilege="ingest"), roles("only_read", privilege="read")
    assert launcher.ingest(database, topic, "--exit-at-end", user=ingester).wait(40) == 0
    assert launcher.verify(database, topic, user=reader).exit_code == 0
    assert_names(refused(launcher, *arguments(database, topic, db=database.conninfo(reader))), "only_read", "grant_access")
    assert launcher.verify(database, topic, user=ingester).exit_code != 0


def test_counter_is_made_when_missing(empty_database, topic, launcher):
    topic.produce(kafka.events(1000, settings.SEED))
    assert launcher.ingest(empty_database, topic, "--exit-at-end", counter="fresh").wait(40) == 0
    assert empty_database.value("SELECT sum(views) > 0 FROM fresh_hour")
