"""Where the parts under test lie, and how big the tests are. Everything can be set by environment; see README.md."""
import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def _path(name, default):
    path = Path(os.environ.get(name) or ROOT / default)
    return path if path.is_absolute() else ROOT / path


TOPKD = _path("TOPKD", "build/daemon/topkd")
TOPKD_FAULTY = _path("TOPKD_FAULTY", "build/fault/topkd")
NO_CAS = _path("TOPK_NO_CAS", "extension/topk_no_cas.so")
KAFKA_SH = ROOT / "tests/kafka/kafka.sh"
PG_CONFIG = os.environ.get("PG_CONFIG") or "pg_config"

SEED = int(os.environ.get("E2E_SEED") or 20260607)
EVENTS = int(os.environ.get("E2E_EVENTS") or 1_000_000)
KILLS = int(os.environ.get("E2E_KILLS") or 20)
DATABASE_STOPS = int(os.environ.get("E2E_DATABASE_STOPS") or 3)
BROKER_KILLS = int(os.environ.get("E2E_BROKER_KILLS") or 2)
TIME_KILLS = int(os.environ.get("E2E_TIME_KILLS") or 6)
TIME_DATABASE_STOPS = int(os.environ.get("E2E_TIME_DATABASE_STOPS") or 2)
TIME_BROKER_KILLS = int(os.environ.get("E2E_TIME_BROKER_KILLS") or 1)
DEAD_CONSUMERS = (os.environ.get("E2E_DEAD_CONSUMERS") or "killed").split(",")
REPLAY_RECORDS = int(os.environ.get("E2E_REPLAY_RECORDS") or 150_000)
LEADER_KILLS = int(os.environ.get("E2E_LEADER_KILLS") or 2)
FAULT_INTERVAL = float(os.environ.get("E2E_FAULT_INTERVAL") or 5.0)
ZOMBIE_ROUNDS = int(os.environ.get("E2E_ZOMBIE_ROUNDS") or 1)
CUTS = int(os.environ.get("E2E_CUTS") or 6)
GOOD_RECORDS = int(os.environ.get("E2E_GOOD") or 100_000)
BAD_RECORDS = int(os.environ.get("E2E_BAD") or 10_000)
OUTAGE_RECORDS = int(os.environ.get("E2E_OUTAGE_RECORDS") or 250_000)
CATCH_UP_SECONDS = float(os.environ.get("E2E_CATCH_UP_SECONDS") or 8)
KEEP = bool(os.environ.get("E2E_KEEP"))
