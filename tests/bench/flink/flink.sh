#!/usr/bin/env bash
# Apache Flink for the ingest benchmark, in one process on this machine. Nothing but that benchmark calls this.
#
#   flink.sh install            fetches the jars of pom.xml to build/flink/lib, once, checks them against jars.sha256, compiles SqlJob
#   flink.sh run FILE           runs the SQL statements of a file until their bounded sources are read
#   flink.sh version            prints the pinned versions
# FLINK_MEMORY: of the process's heap (default 6g).
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
build=${TOPK_BUILD:-$(cd "$here/../../.." && pwd)/build}/flink
lib=$build/lib
java=${JAVA_HOME:+$JAVA_HOME/bin/}java

die() { echo "flink.sh: $*" >&2; exit 1; }

install() {
    mkdir -p "$build"
    exec 9>"$build/install.lock"
    flock 9
    if ! cmp -s "$here/pom.xml" "$lib/pom.xml"; then
        local fresh=$build/lib.new
        rm -rf "$fresh" && mkdir -p "$fresh"
        "$here/../../again.sh" mvn -q -B -Dstyle.color=never -f "$here/pom.xml" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$fresh" >&2
        (cd "$fresh" && sha256sum --quiet --strict -c "$here/jars.sha256") >&2 || die "a jar is not the one that was pinned"
        [ "$(find "$fresh" -name '*.jar' | wc -l)" = "$(wc -l <"$here/jars.sha256")" ] || die "there are other jars than jars.sha256 names"
        cp "$here/pom.xml" "$fresh/pom.xml"
        rm -rf "$lib" && mv "$fresh" "$lib"
    fi
    if [ "$here/SqlJob.java" -nt "$build/classes/SqlJob.class" ]; then
        "${JAVA_HOME:+$JAVA_HOME/bin/}javac" -cp "$lib/*" -d "$build/classes" "$here/SqlJob.java" >&2
    fi
    exec 9>&-
}

case ${1:-} in
    install) install ;;
    run)
        # What Flink's own start scripts open to it on Java 17
        opens=()
        for package in java.lang java.net java.io java.nio sun.nio.ch java.lang.reflect java.text java.time java.util java.util.concurrent \
            java.util.concurrent.atomic java.util.concurrent.locks; do
            opens+=("--add-opens=java.base/$package=ALL-UNNAMED")
        done
        exec "$java" "-Xms${FLINK_MEMORY:-6g}" "-Xmx${FLINK_MEMORY:-6g}" -XX:+UseG1GC -Duser.timezone=UTC "${opens[@]}" \
            "-Dlog4j2.configurationFile=$here/log4j2.properties" -cp "$build/classes:$lib/*" SqlJob "${2:?}"
        ;;
    version) sed -n 's/.*<\(flink\|kafka.connector\|jdbc.connector\|postgresql\)\.version>\(.*\)<.*/\1 \2/p' "$here/pom.xml" | paste -sd, | sed 's/,/, /g' ;;
    *) sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0" >&2; exit 2 ;;
esac
