#!/usr/bin/env bash
# Runs the benchmarks, one after the other; `make bench` builds what they need. Each prints machine, versions, settings,
# medians and spread. Options go to the one benchmark named first: run.sh latency --rounds 3
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export PYTHONDONTWRITEBYTECODE=1

if [ $# -gt 0 ]; then
    name=$1
    shift
    exec /usr/bin/python3 "$here/$name.py" "$@"
fi
/usr/bin/python3 "$here/latency.py"
