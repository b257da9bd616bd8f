#!/usr/bin/env bash
# again.sh COMMAND...      runs it; where it fails, once more after ten seconds, and once more after a minute. For downloads: a mirror may fail once.
"$@" || { sleep 10 && "$@"; } || { sleep 60 && "$@"; }
