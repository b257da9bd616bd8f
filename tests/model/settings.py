"""How much the model tests do; everything by environment, see README.md."""
import os

SEED = int(os.environ.get("MODEL_SEED") or 20260620)
STEPS = int(os.environ.get("MODEL_STEPS") or 500)
ROUNDS = int(os.environ.get("MODEL_ROUNDS") or 1)
KEEP = bool(os.environ.get("MODEL_KEEP"))
