#!/bin/bash
# topkd-healthcheck PORT [PATH]: exit 0 if PATH (/healthz) of 127.0.0.1:PORT answers 200. The image has no other HTTP client.
set -euo pipefail
exec 3<>"/dev/tcp/127.0.0.1/${1:?port}"
printf 'GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' "${2:-/healthz}" >&3
read -r -t 3 _ status _ <&3
[ "$status" = 200 ]
