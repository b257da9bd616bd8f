#!/usr/bin/env bash
# Runs a command in a chroot of layers, as a container would be: called in a mount namespace of its own, which ends with the command.
#   layers.sh LOWER[:LOWER...] UPPER [--bind SOURCE TARGET]... [--read-only] -- COMMAND...
# The first LOWER is the topmost; UPPER takes what is written, UPPER/root is the chroot. --read-only: as `read_only: true` of a compose file.
# Every step execs: the caller's child is the command itself, for signals and its end.
set -euo pipefail

lower=$1 upper=$2 read_only='' binds=()
shift 2
while [ "$1" != -- ]; do
    case $1 in
        --bind) binds+=("$2" "$3") && shift 3 ;;
        --read-only) read_only=1 && shift ;;
        *) exit 2 ;;
    esac
done
shift

root=$upper/root
mkdir -p "$upper/upper" "$upper/work" "$root"
mount -t overlay overlay -o "lowerdir=$lower,upperdir=$upper/upper,workdir=$upper/work" "$root"
for name in proc sys dev; do mount --rbind "/$name" "$root/$name"; done
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
for name in resolv.conf hosts; do
    [ -e "$root/etc/$name" ] || : >"$root/etc/$name"
    mount --bind "$(realpath "/etc/$name")" "$root/etc/$name"
done
set -- "${binds[@]}" -- "$@"
while [ "$1" != -- ]; do
    mkdir -p "$root$2"
    mount --bind "$1" "$root$2"
    shift 2
done
shift
[ -z "$read_only" ] || mount -o remount,ro "$root"
exec chroot "$root" "$@"
