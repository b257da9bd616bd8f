"""One server with the image's init SQL and TLS, one broker with TLS and SASL, both made on first use and for the session."""
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "servers"), str(HERE.parent / "e2e")]

from certificates import Authority  # noqa: E402
from secure_kafka import SecureKafka  # noqa: E402
from topk_database import TopkDatabase  # noqa: E402


@pytest.fixture(scope="session")
def run_directory():
    directory = Path(tempfile.mkdtemp(prefix="topk-ops-"))
    directory.chmod(0o755)  # the server runs as another user
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def authority(run_directory):
    return Authority(run_directory / "authority")


@pytest.fixture(scope="session")
def stranger(run_directory):
    """An authority that nobody here trusts."""
    return Authority(run_directory / "stranger", "another authority")


@pytest.fixture(scope="session")
def database(run_directory, authority):
    with TopkDatabase(run_directory / "postgres", authority) as made:
        yield made


@pytest.fixture(scope="session")
def kafka(run_directory, authority):
    broker = SecureKafka(run_directory / "kafka", authority)
    yield broker
    broker.stop()
