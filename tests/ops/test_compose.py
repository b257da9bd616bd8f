"""docker/compose.yaml: what it names is there, images are pinned, every service has a health check, ports stay on the loopback interface.

What its services run is tested with the images' own files in test_images.py.
"""
import os
import re
import subprocess
import xml.etree.ElementTree as ElementTree
from fnmatch import fnmatch

import pytest
import yaml
from programs import DOCKER, ROOT, TOPKD

COMPOSE = yaml.safe_load((DOCKER / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]
BUILT = {"topk-postgres": "docker/postgres/Dockerfile", "topkd": "docker/topkd/Dockerfile"}
WITHOUT_HEALTH = {"topic": "ends by itself", "producer": "has nothing to ask"}


def dockerfiles():
    return {name: (ROOT / path).read_text() for name, path in BUILT.items()}


def test_services():
    assert set(SERVICES) == {"kafka", "topic", "postgres", "ingest", "serve", "producer", "prometheus", "grafana"}


@pytest.mark.parametrize("image", sorted({service["image"] for service in SERVICES.values()}
                                         | {line.split()[1] for text in dockerfiles().values() for line in text.splitlines() if line.startswith("FROM ")}))
def test_images_are_pinned(image):
    name, _, tag = image.partition(":")
    assert re.search(r"\d+\.\d+|-\d{8}-", tag) and "latest" not in tag, image
    assert name in BUILT or "/" in name or name == "debian"


def test_builds():
    for service in SERVICES.values():
        if "build" in service:
            context = (DOCKER / service["build"]["context"]).resolve()
            assert context == ROOT and (context / service["build"]["dockerfile"]).is_file()
    built = {service["image"].split(":")[0] for service in SERVICES.values() if "build" in service}
    assert built == set(BUILT)


def test_versions():
    """One Kafka for the tests and here; our images have the version of the extension."""
    pom = ElementTree.parse(ROOT / "tests/kafka/pom.xml").getroot()
    kafka = next(element.text for element in pom.iter() if element.tag.endswith("kafka.version"))
    control = re.search(r"^default_version = '(.*)'", (ROOT / "extension/topk.control").read_text(), re.MULTILINE)[1]
    for name, service in SERVICES.items():
        image, tag = service["image"].split(":")
        if image == "apache/kafka":
            assert tag == kafka, name
        elif image in BUILT:
            assert tag == control, name


@pytest.mark.parametrize("name", SERVICES)
def test_mounts(name):
    """Folders of the checkout are there and read-only; volumes are declared, and none is without use."""
    for volume in SERVICES[name].get("volumes", ()):
        source, _, rest = volume.partition(":")
        if source.startswith("."):
            assert (DOCKER / source).is_dir() and any((DOCKER / source).iterdir()), volume
            assert rest.endswith(":ro"), volume
        else:
            assert source in COMPOSE["volumes"], volume


def test_volumes():
    used = {volume.split(":")[0] for service in SERVICES.values() for volume in service.get("volumes", ())}
    assert set(COMPOSE["volumes"]) <= used


@pytest.mark.parametrize("name", SERVICES)
def test_health(name):
    if name in WITHOUT_HEALTH:
        return
    service = SERVICES[name]
    of_image = BUILT.get(service["image"].split(":")[0])
    assert "test" in service.get("healthcheck", {}) or re.search(r"^HEALTHCHECK .* CMD \[", (ROOT / of_image).read_text(), re.MULTILINE)


@pytest.mark.parametrize("name", SERVICES)
def test_ports(name):
    for port in SERVICES[name].get("ports", ()):
        assert re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port)


def test_dependencies():
    """A service waits for the health of one that has a health check, and for the end of one that ends."""
    for name, service in SERVICES.items():
        for other, condition in service.get("depends_on", {}).items():
            assert other in SERVICES
            assert condition["condition"] in ({"service_completed_successfully"} if other == "topic" else {"service_healthy", "service_started"}), (name, other)


@pytest.mark.parametrize("path", BUILT.values())
def test_not_root(path):
    """The last USER of an image is not root."""
    users = re.findall(r"^USER (\S+)", (ROOT / path).read_text(), re.MULTILINE)
    assert users and users[-1].split(":")[0] not in ("root", "0")


def test_no_secret_is_written():
    """Passwords come from the environment and have no default."""
    text = (DOCKER / "compose.yaml").read_text()
    for line in text.splitlines():
        if "PASSWORD" in line:
            assert re.search(r"\$\{\w+:\?", line), line


def test_options_exist():
    """Every TOPKD_ variable and flag of a service is an option of its subcommand."""
    for name, service in SERVICES.items():
        if service["image"].split(":")[0] != "topkd":
            continue
        command, *flags = service["command"]
        known = subprocess.run([TOPKD, command, "--help"], check=True, stdout=subprocess.PIPE, text=True).stdout
        variables = [f"--{key.removeprefix('TOPKD_').lower().replace('_', '-')}" for key in service["environment"] if key.startswith("TOPKD_")]
        for option in [*variables, *(flag for flag in flags if flag.startswith("--"))]:
            assert f"{option} " in known, (name, option)


def test_ignored_files():
    """.dockerignore lets through what the Dockerfiles copy; no build folder, no repository, no secret."""
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]

    def ignored(path):
        """Docker's rules, as far as used here: the last that fits the path or a folder above it decides."""
        verdict = False
        parts = path.split("/")
        above = ["/".join(parts[:end]) for end in range(1, len(parts) + 1)]
        for rule in rules:
            pattern = rule.removeprefix("!")
            if any(fnmatch(one, pattern) if not pattern.startswith("**/") else fnmatch(os.path.basename(one), pattern[3:]) for one in above):
                verdict = not rule.startswith("!")
        return verdict

    for text in dockerfiles().values():
        for line in text.splitlines():
            if line.startswith("COPY ") and "--from" not in line:
                for source in line.split()[1:-1]:
                    files = [ROOT / source] if (ROOT / source).is_file() else [path for path in (ROOT / source).rglob("*") if path.suffix in (".cpp", ".sql", ".conf", ".txt")]
                    assert files
                    assert not [path for path in files if ignored(str(path.relative_to(ROOT)))]
    for path in (".git/config", "build/daemon/topkd", "docker/.env", "extension/src/topk.o", "README.md", "tests/run.py"):
        assert ignored(path), path


@pytest.mark.parametrize("name, command", [("ingest.env.example", "ingest"), ("serve.env.example", "serve")])
def test_examples_name_options(name, command):
    """Of the systemd units: every TOPKD_ variable is an option of the subcommand."""
    text = (ROOT / "docker/systemd" / name).read_text()
    known = subprocess.run([TOPKD, command, "--help"], check=True, stdout=subprocess.PIPE, text=True).stdout
    for variable in re.findall(r"^#?TOPKD_([A-Z_]+)=", text, re.MULTILINE):
        assert f"--{variable.lower().replace('_', '-')} " in known, variable
