#!/usr/bin/env bash
# PostgreSQL from Debian's source package, with assertions and with its requests to valgrind compiled in (which cost
# nothing outside of valgrind): one build for the layers `assert` and `valgrind`.
#
#   source.sh install MAJOR-assert   below build/servers, or $TOPK_SERVERS, once; exit 77 where there is no source
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
servers=$(realpath -m "${TOPK_SERVERS:-${TOPK_BUILD:-$here/../../build}/servers}")
recipe=2
contrib="pageinspect amcheck pgstattuple"
# The release that has the source, where it is not the machine's own
declare -A suites=([15]="" [18]=forky)

die() { echo "source.sh: $*" >&2; exit 1; }
cannot() { echo "source.sh: $*" >&2; exit 77; }

# Debian's archive as apt knows it, but its sources: nothing of apt's own state is changed.
apt_options() {
    mkdir -p "$work/apt/parts" "$work/apt/lists/partial" "$work/apt/cache/archives/partial"
    apt-get indextargets --no-release-info --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
        awk -v release="$(. /etc/os-release && echo "${VERSION_CODENAME:-}")" -v suite="${suites[$major]}" \
            '$2 ~ "^" release "(-updates|-security)?$" && (suite == "" || $2 == release) {
                if (suite != "") $2 = suite
                print "deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]", $0 }' |
        sort -u >"$work/apt/sources.list"
    [ -s "$work/apt/sources.list" ] || cannot "apt has no mirror of Debian to take the source from"
    options=(-o "Dir::Etc::sourcelist=$work/apt/sources.list" -o "Dir::Etc::sourceparts=$work/apt/parts" -o Acquire::Retries=3
        -o "Dir::State::lists=$work/apt/lists" -o "Dir::Cache=$work/apt/cache" -o APT::Sandbox::User=root
        -o Acquire::Check-Valid-Until=false) # releases in preparation sign theirs for a week
}

build() {
    rm -rf "$work" && mkdir -p "$work"
    local options
    apt_options
    apt-get "${options[@]}" update -qq >"$log" 2>&1 || { tail -n 5 "$log" >&2; cannot "the mirror has no source lists, or does not answer"; }
    # A mirror may lack the newest source of the security archive; the release's own is as good for this.
    (cd "$work" && { apt-get "${options[@]}" source --download-only -qq "postgresql-$major" ||
        apt-get "${options[@]}" source --download-only -qq "postgresql-$major/$(. /etc/os-release && echo "$VERSION_CODENAME")"; }) \
        >>"$log" 2>&1 || { tail -n 5 "$log" >&2; cannot "the mirror does not give the source of postgresql-$major"; }
    # Without Debian's patches: they make pg_config name the distribution's folders, whatever the prefix.
    mkdir "$work/source" && tar -C "$work/source" --strip-components=1 -xf "$work/postgresql-$major"_*.orig.tar.* >>"$log" 2>&1 || return 1
    cd "$work/source" || return 1
    ./configure --prefix="$root" --enable-cassert --enable-debug --without-readline --without-zlib --with-icu --with-libxml CPPFLAGS=-DUSE_VALGRIND \
        CFLAGS="-Og -g -fno-omit-frame-pointer" CXXFLAGS="-Og -g -fno-omit-frame-pointer" >>"$log" 2>&1 || return 1
    local part parts=(src) jobs
    jobs=$(nproc)
    for part in $contrib; do parts+=("contrib/$part"); done
    rm -rf "$root"
    for part in config "${parts[@]}"; do
        make -s -C "$part" -j "$jobs" >>"$log" 2>&1 && make -s -C "$part" install >>"$log" 2>&1 || return 1
    done
    cp src/tools/valgrind.supp "$root/"
    # pgTAP is only SQL: the distribution's serves, if it is for this major
    cp "/usr/share/postgresql/$major"/extension/pgtap* "$("$root/bin/pg_config" --sharedir)/extension/" 2>/dev/null || true
    echo "$recipe" >"$root/.topk-recipe"
    cd / && rm -rf "$work"
}

major=${2:-} major=${major%-assert}
[ "${1:-}" = install ] && [ "${2:-}" != "$major" ] && [ -v "suites[$major]" ] || { sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0" >&2; exit 2; }
root=$servers/$2 log=$servers/$2.log work=$servers/$2.work
mkdir -p "$servers"
exec 9>"$servers/$2.lock"
flock 9
[ "$(cat "$root/.topk-recipe" 2>/dev/null)" != "$recipe" ] || exit 0
[ -e /usr/include/valgrind/memcheck.h ] && [ -e /usr/include/libxml2 ] && command -v bison >/dev/null && command -v flex >/dev/null ||
    cannot "valgrind, libxml2-dev, bison or flex is missing; run: make deps"
echo "source.sh: building PostgreSQL $major with assertions" >&2
build || { tail -n 20 "$log" >&2; die "no build of PostgreSQL $major: see $log"; }
