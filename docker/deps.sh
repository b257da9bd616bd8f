#!/usr/bin/env bash
# Installs the packages of packages.txt that are missing; says nothing and needs no network when none is.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

major=15   # Debian 12's, until a server is there to ask
if config=$(command -v "${PG_CONFIG:-pg_config}"); then
    major=$("$config" --version | sed -E 's/^PostgreSQL ([0-9]+).*/\1/')
fi

mapfile -t wanted < <(sed -e '/^#/d' -e "s/PGMAJOR/$major/" "$here/packages.txt")
mapfile -t present < <(dpkg-query -W -f '${db:Status-Status} ${Package}\n' "${wanted[@]}" 2>/dev/null | sed -n 's/^installed //p' | sort -u)
mapfile -t missing < <(comm -23 <(printf '%s\n' "${wanted[@]}" | sort -u) <(printf '%s\n' "${present[@]}"))
[ ${#missing[@]} -eq 0 ] && exit 0

sudo=()
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || { echo "make deps: missing packages: ${missing[*]}; install them as root" >&2; exit 1; }
    sudo=(sudo)
fi
echo "make deps: installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
# a server installed for a build starts no cluster of its own
"${sudo[@]}" mkdir -p /etc/postgresql-common
[ -e /etc/postgresql-common/createcluster.conf ] ||
    echo 'create_main_cluster = false' | "${sudo[@]}" tee /etc/postgresql-common/createcluster.conf >/dev/null
# and no service is begun, now or at the next boot: of the package prometheus only the programs are wanted
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap '"${sudo[@]}" rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' | "${sudo[@]}" tee "$policy" >/dev/null
    "${sudo[@]}" chmod 755 "$policy"
fi
# apt-daily may hold the locks, at boot
"$here/../tests/again.sh" "${sudo[@]}" sh -c 'apt-get update -qq && apt-get -o DPkg::Lock::Timeout=300 install -y -qq --no-install-recommends "$@"' install "${missing[@]}"
case " ${missing[*]} " in
    *" prometheus "*) "${sudo[@]}" update-rc.d prometheus disable ;;
esac
