#!/usr/bin/env bash
# Runs the benchmarks, one after the other; `make bench` builds what they need. Each prints machine, versions, settings,
# medians and spread. Options go to the one benchmark named first: run.sh latency --rounds 3, run.sh index --quick
# run.sh --quick: all of them with small sizes, to see that they work.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export PYTHONDONTWRITEBYTECODE=1

names=(consume latency serve freshness ingest upsert index spans)

if [ $# -gt 0 ] && [ "$1" != --quick ]; then
    [[ " ${names[*]} " == *" $1 "* ]] || { echo "run.sh: no benchmark $1; there are: ${names[*]}" >&2; exit 2; }
    name=$1
    shift
    exec /usr/bin/python3 "$here/${name}_bench.py" "$@"
fi
for name in "${names[@]}"; do
    /usr/bin/python3 "$here/${name}_bench.py" "$@"
done
