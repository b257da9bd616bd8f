#!/bin/sh
# The rules of src/ that a compiler does not check; exit 1 and the offending lines if one is broken.
# A Postgres error longjmps past C++ frames: types that own memory or locks would leak, so their headers are banned.
cd "$(dirname "$0")/src" || exit 2
status=0

forbid() { # reason, pattern, files...
    reason=$1 pattern=$2
    shift 2
    if grep -nE "$pattern" "$@"; then
        echo "check_boundary: $reason" >&2
        status=1
    fi
}

others() { # every source but the named one
    find . -name '*.h' -o -name '*.cpp' | grep -v "/$1\$"
}

forbid "std types that own resources do not survive a longjmp" \
    '#include <(string|vector|memory|mutex|shared_mutex|thread|future|map|set|unordered_map|unordered_set|deque|list|queue|stack|functional|optional|variant|any|sstream|iostream|fstream|filesystem|regex|stdexcept|exception)>' \
    $(others none)
forbid "memory comes from palloc, errors go through ereport" '(^|[=(,]) *new [A-Za-z:]+[({;]|^ *delete |\b(malloc|free)\(' \
    $(others none)
forbid "only pg.h includes Postgres headers" \
    '#include [<"](postgres|access/|catalog/|commands/|common/|executor/|fmgr|funcapi|libpq/|mb/|miscadmin|nodes/|optimizer/|parser/|partitioning/|pgstat|pgtime|port|storage/|tcop/|utils/)' \
    $(others pg.h)
forbid "only compat.h looks at PG_VERSION_NUM" 'PG_VERSION_NUM' $(others compat.h)
forbid "the delta codec, the merge and the parts of spans are pure" '#include "' delta.h merge.h span_parts.h
forbid "the delta codec is pure" '#include "(pg|compat|statement|counter)' delta.cpp
exit $status
