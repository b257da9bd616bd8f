#!/usr/bin/env bash
# Runs the benchmarks, one after the other; `make bench` builds what they need. Each prints machine, versions, settings,
# medians and spread. Options go to the one benchmark named first: run.sh latency --rounds 3, run.sh index --quick
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export PYTHONDONTWRITEBYTECODE=1

declare -A programs=([latency]=latency.py [index]=index_bench.py [merge]=merge_bench.py [spans]=spans_bench.py)
if [ $# -gt 0 ]; then
    [ -n "${programs[$1]:-}" ] || { echo "run.sh: no benchmark $1; there are: ${!programs[*]}" >&2; exit 2; }
    program=${programs[$1]}
    shift
    exec /usr/bin/python3 "$here/$program" "$@"
fi
/usr/bin/python3 "$here/latency.py"
/usr/bin/python3 "$here/index_bench.py"
/usr/bin/python3 "$here/merge_bench.py"
/usr/bin/python3 "$here/spans_bench.py"
