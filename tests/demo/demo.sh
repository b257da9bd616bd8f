#!/usr/bin/env bash
# demo.sh [SECONDS]: the live leaderboard; `make demo` builds what it needs. Without SECONDS it runs until Ctrl-C.
set -euo pipefail
exec env PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 "$(dirname "${BASH_SOURCE[0]}")/demo.py" "$@"
