#!/usr/bin/env bash
# The rules of the code that a machine can check. `quick`: seconds, part of `make test`; without it also clang-tidy over the daemon.
set -euo pipefail
cd "$(dirname "$0")/.."
failed=0
complain() { echo "lint: $*" >&2; failed=1; }

mapfile -t sources < <(git ls-files --cached --others --exclude-standard '*.cpp' '*.h')
clang-format --dry-run --Werror "${sources[@]}" || complain "run: make format"

# The C++/PostgreSQL boundary: one includer of PostgreSQL's headers, one file that knows versions, nothing with a destructor
make --no-print-directory -C extension PG_CONFIG="${PG_CONFIG:-pg_config}" check-style || complain "extension/src breaks the boundary"

# The C APIs stay in the files that wrap them
stray() { grep -l "include <$1>" daemon/src/*.cpp daemon/src/*.h daemon/src/*/*.cpp daemon/src/*/*.h | grep -Ev "/($2)[a-z_]*\.(cpp|h)$" || true; }
for file in $(stray librdkafka/rdkafka.h 'kafka_|produce|verify') $(stray libpq-fe.h 'pg_|verify') $(stray microhttpd.h 'http_'); do
    complain "$file includes a C API that another file wraps"
done

bash -n docker/deps.sh tests/*.sh tests/*/*.sh || complain "a shell script does not parse"
/usr/bin/python3 -m compileall -q tests >/dev/null || complain "a Python file does not compile"

if [ "${1:-}" != quick ]; then
    cmake -S daemon -B build/tidy -G Ninja -DCMAKE_EXPORT_COMPILE_COMMANDS=ON >/dev/null
    run-clang-tidy -quiet -p build/tidy 'daemon/src/.*\.cpp$' || complain "clang-tidy has findings"
fi
exit $failed
