#!/usr/bin/env bash
# PostgreSQL majors that this machine's Debian does not have, each in a chroot of the Debian release that has it.
# Needs root (or sudo). Mounts are made in a mount namespace that ends with the command: nothing can stay mounted.
#
#   chroot.sh install MAJOR       makes the chroot below build/servers, or $TOPK_SERVERS, once, or installs what it lacks;
#                                 exit 77 and the reason where that cannot be done at all (no root, no mirror)
#   chroot.sh base SUITE FOLDER   a release's base system and nothing else, as in Debian's slim images, once; exit codes as above
#   chroot.sh run MAJOR [OPTION]... COMMAND...      in the chroot; the network is the machine's
#       --bind FOLDER       FOLDER is there too, under the same path      --read-only FOLDER    the same, not to be written
#       --as UID:GID        as this user, who is called postgres there (default: root)
#       --in FOLDER         the working directory                         --die SIGNAL          sent when the caller ends
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
servers=$(realpath -m "${TOPK_SERVERS:-${TOPK_BUILD:-$here/../../build}/servers}")

# Change it when the chroot is to be made anew. It is enough to change the packages where it is not.
recipe=1
packages="postgresql-MAJOR postgresql-server-dev-MAJOR postgresql-MAJOR-pgtap libtap-parser-sourcehandler-pgtap-perl g++ make postgresql-MAJOR-cron"
declare -A suites=([17]=trixie [18]=forky)

die() { echo "chroot.sh: $*" >&2; exit 1; }
cannot() { echo "chroot.sh: $*" >&2; exit 77; }
usage() { sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0" >&2; exit 2; }

# The archive that apt uses for the running release; empty if it is not one with `dists` and `pool`.
mirror() {
    apt-get indextargets --no-release-info --format '$(REPO_URI) $(RELEASE)' 'Created-By: Packages' |
        awk -v release="$(. /etc/os-release && echo "${VERSION_CODENAME:-}")" '$2 == release && $1 ~ /^(http|https|ftp|file):/ { sub("/*$", "", $1); print $1; exit }'
}

bootstrap() { # suite, new folder
    local suite=$1 fresh=$2 mirror proxy=''
    mirror=$(mirror)
    [ -n "$mirror" ] || cannot "apt has no mirror of Debian to take $suite from"
    [ -x /usr/sbin/debootstrap ] || cannot "debootstrap is not installed; run: make deps"
    /usr/lib/apt/apt-helper -o Acquire::Retries=3 download-file "$mirror/dists/$suite/Release" "$fresh.Release" >/dev/null 2>&1 ||
        cannot "$mirror has no $suite, or does not answer"
    rm -f "$fresh.Release"
    eval "$(apt-config shell proxy Acquire::http::Proxy)"
    [ -z "$proxy" ] || export http_proxy=$proxy
    rm -rf "$fresh"
    # sid's script does for every release after buster, also for those this debootstrap does not know yet
    "$here/../again.sh" debootstrap --variant=minbase "$suite" "$fresh" "$mirror" sid >"$log" 2>&1 || return 1
    printf '#!/bin/sh\nexit 101\n' >"$fresh/usr/sbin/policy-rc.d" && chmod 755 "$fresh/usr/sbin/policy-rc.d"
    echo force-unsafe-io >"$fresh/etc/dpkg/dpkg.cfg.d/unsafe-io"
    printf 'path-exclude=/usr/share/%s/*\n' doc man locale >"$fresh/etc/dpkg/dpkg.cfg.d/no-documents"
    # releases in preparation sign theirs for a week
    echo 'Acquire::Check-Valid-Until "false";' >"$fresh/etc/apt/apt.conf.d/99valid"
}

base() { # suite, folder
    [ ! -e "$2" ] || return 0
    mkdir -p "$(dirname "$2")"
    echo "chroot.sh: installing the base system of Debian $1" >&2
    bootstrap "$1" "$2.new" || { tail -n 20 "$log" >&2; die "no base system of $1: see $log"; }
    rm -rf "$2.new"/var/lib/apt/lists/* "$2.new"/var/cache/apt/archives/*.deb
    mv "$2.new" "$2"
}

install_chroot() {
    local fresh=$root.new
    echo "chroot.sh: installing PostgreSQL $major of Debian ${suites[$major]}" >&2
    bootstrap "${suites[$major]}" "$fresh" || return 1
    mkdir -p "$fresh/etc/postgresql-common"
    echo 'create_main_cluster = false' >"$fresh/etc/postgresql-common/createcluster.conf"
    install_packages "$fresh" || return 1
    echo "$recipe" >"$fresh/.topk-recipe"
    rm -rf "$root" && mv "$fresh" "$root"
}

install_packages() { # root folder
    mount_kernel "$1"
    chroot "$1" env LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive sh -ec "
        apt-get update -qq
        apt-get install -y -qq --no-install-recommends $packages
        apt-get clean" >>"$log" 2>&1 || return 1
    echo "$packages" >"$1/.topk-packages"
    umount -R "$1/proc" "$1/sys" "$1/dev"
}

complete() {
    [ "$(cat "$root/.topk-recipe" 2>/dev/null)" = "$recipe" ] && [ "$(cat "$root/.topk-packages" 2>/dev/null)" = "$packages" ]
}

mount_kernel() { # root folder
    local name
    for name in proc sys dev; do mount --rbind "/$name" "$1/$name"; done
    mount -t tmpfs -o mode=1777 tmpfs "$1/dev/shm"
}

# In the new mount namespace. Every step execs: the caller's child is the command itself, for signals and its end.
enter() {
    local bind uid='' gid='' as='' folder=/ on_death='' binds=()
    while [ $# -gt 0 ]; do
        case $1 in
            --bind | --read-only) binds+=("$1" "$(realpath -e "$2")") && shift 2 ;;
            --as) as=$2 && shift 2 ;;
            --in) folder=$2 && shift 2 ;;
            --die) on_death=$2 && shift 2 ;;
            --) shift && break ;;
            -*) usage ;;
            *) break ;;
        esac
    done
    [ $# -gt 0 ] || usage
    mount_kernel "$root"
    mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
    mount -t tmpfs -o mode=755 tmpfs "$root/run"
    set -- "${binds[@]}" -- "$@"
    while [ "$1" != -- ]; do
        mkdir -p "$root$2"
        mount --bind "$2" "$root$2"
        [ "$1" = --bind ] || mount -o remount,bind,ro "$root$2"
        shift 2
    done
    shift
    local user=()
    if [ -n "$as" ]; then
        uid=${as%:*} gid=${as#*:}
        sed -E "s/^postgres:x:[0-9]+:[0-9]+:/postgres:x:$uid:$gid:/" "$root/etc/passwd" >"$root/run/passwd"
        mount --bind "$root/run/passwd" "$root/etc/passwd"
        user=(--reuid "$uid" --regid "$gid" --clear-groups)
    fi
    local bin=/usr/lib/postgresql/$major/bin
    exec chroot "$root" /usr/bin/setpriv "${user[@]}" ${on_death:+--pdeathsig "$on_death"} -- \
        /usr/bin/env -C "$folder" -u MAKEFLAGS -u MAKELEVEL LC_ALL=C.UTF-8 HOME=/tmp TMPDIR=/tmp \
        PATH="$bin:/usr/sbin:/usr/bin:/sbin:/bin" PG_CONFIG="$bin/pg_config" "$@"
}

command=${1:-} major=${2:-}
[ -n "$command" ] && [ -n "$major" ] || usage
[ "$command" = base ] || [ -n "${suites[$major]:-}" ] || die "no Debian release known for PostgreSQL $major; there are: ${!suites[*]}"
root=$servers/$major log=$servers/$major.log packages=${packages//MAJOR/$major}

if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null && sudo -n true 2>/dev/null || cannot "a chroot needs root, or sudo without a password"
    exec sudo TOPK_SERVERS="$servers" "$here/chroot.sh" "$@"
fi
case $command in
    base)
        log=$(realpath -m "${3:?folder}").log
        base "$major" "$(realpath -m "$3")" ;;
    install)
        unshare --mount true 2>/dev/null || cannot "this machine gives root no mount namespace (a container without CAP_SYS_ADMIN)"
        complete && exit 0
        mkdir -p "$servers"
        exec flock "$servers/$major.lock" unshare --mount "$here/chroot.sh" install-inside "$major" ;;
    install-inside)
        complete && exit 0
        if [ "$(cat "$root/.topk-recipe" 2>/dev/null)" = "$recipe" ]; then
            echo "chroot.sh: installing what the chroot of PostgreSQL $major lacks" >&2
            : >"$log"
            install_packages "$root"
        else
            install_chroot
        fi || { tail -n 20 "$log" >&2; die "no chroot for PostgreSQL $major: see $log"; } ;;
    run) shift 2 && exec unshare --mount "$here/chroot.sh" enter "$major" "$@" ;;
    enter) shift 2 && enter "$@" ;;
    *) usage ;;
esac
