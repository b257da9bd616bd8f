#!/usr/bin/env bash
# Fetches the jar of pom.xml to build/axe, once, and prints the path of axe.min.js in it.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
build=${TOPK_BUILD:-$(cd "$here/../.." && pwd)/build}
axe=$build/axe

mkdir -p "$build"
exec 9>"$build/axe.lock"
flock 9
if ! cmp -s "$here/pom.xml" "$axe/pom.xml"; then
    rm -rf "$axe.new" && mkdir -p "$axe.new"
    "$here/../again.sh" mvn -q -B -Dstyle.color=never -f "$here/pom.xml" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$axe.new" >&2
    (cd "$axe.new" && /usr/bin/python3 -m zipfile -e axe-core-*.jar jar && mv jar/META-INF/resources/webjars/axe-core/*/axe.min.js . && rm -rf jar ./*.jar)
    cp "$here/pom.xml" "$axe.new/pom.xml"
    rm -rf "$axe" && mv "$axe.new" "$axe"
fi
echo "$axe/axe.min.js"
