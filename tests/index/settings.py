"""What is tested and how much of it, of every major. Everything can be set by environment; see README.md."""
import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

SEED = int(os.environ.get("TOPK_SEED") or 20260611)
METHOD = os.environ.get("TOPK_METHOD") or "topk"
READERS = int(os.environ.get("TOPK_READERS") or 1000)
STANDBY_READERS = int(os.environ.get("TOPK_STANDBY_READERS") or 200)
CONTROL_READERS = int(os.environ.get("TOPK_CONTROL_READERS") or 10000)
MERGES = int(os.environ.get("TOPK_MERGES") or 1000)
SNAPSHOTS = int(os.environ.get("TOPK_SNAPSHOTS") or 60)
ROLLED_ROWS = int(os.environ.get("TOPK_ROLLED_ROWS") or 60000)
ROLL_UP_KILLS = int(os.environ.get("TOPK_ROLL_UP_KILLS") or 2)
SHARE_OF_VIEWS = float(os.environ.get("TOPK_SHARE_OF_VIEWS") or 0.2)
UPSERTS = int(os.environ.get("TOPK_UPSERTS") or 400)
CRASHES = int(os.environ.get("TOPK_CRASHES") or 3)
DAMAGES = int(os.environ.get("TOPK_DAMAGES") or 84)
SIZE = float(os.environ.get("TOPK_SIZE") or 0.1)
MAJORS = [int(major) for major in os.environ.get("TOPK_MAJORS", "15 18").split()]
ASSERT = bool(os.environ.get("TOPK_ASSERT"))
KEEP = bool(os.environ.get("TOPK_KEEP"))

# Servers: deadlocks and prepared transactions are part of the mix, autovacuum is busy; plans are the tests' matter.
STORM_SETTINGS = {"max_prepared_transactions": 50, "deadlock_timeout": "50ms", "max_parallel_workers_per_gather": 0,
                  "autovacuum_naptime": "1s", "jit": "off", "log_min_error_statement": "panic", "max_connections": 60}
VARIANTS = ("topk_overwrite_bound", "topk_heap_only_tid", "topk_core_build_scan", "topk_trust_index", "topk_trust_map")
