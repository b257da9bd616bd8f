#!/usr/bin/env bash
# A throwaway Apache Kafka for tests and the demo: KRaft, on 127.0.0.1 only, everything of a node under one folder.
#
#   kafka.sh install                                    fetch the jars of pom.xml to build/kafka/lib, once
#   kafka.sh start   [--dir DIR] [--port N] [--set property=value]... [--add-scram ENTRY]...
#                                                       returns when the broker answers; keeps data of DIR. ENTRY: StorageTool's, for a new DIR
#   kafka.sh stop | restart | kill [--dir DIR]          kill is SIGKILL; restart = stop + start with the same settings
#   kafka.sh ready   [--dir DIR] [--timeout SECONDS]    exit 0 once the broker answers
#   kafka.sh brokers [--dir DIR]                        prints 127.0.0.1:PORT
#   kafka.sh topic create NAME --partitions N [--replication N] [--config key=value]...
#   kafka.sh topic delete NAME | topic alter NAME [--partitions N] [--config key=value]...
#   kafka.sh delete-records NAME PARTITION:OFFSET...    raises the log start (OFFSET -1: to the end)
# DIR defaults to build/kafka/node, or $KAFKA_DIR. --port 0 picks a free port. Every command but install takes --dir.
# KAFKA_JAVA_OPTIONS replaces the broker's options of Java.
# A node is broker and controller. It is alone unless told of others, each in a folder of its own:
#   kafka.sh cluster-id                                 prints a new id, the same for all nodes
#   kafka.sh start --node-id N --voters 1@127.0.0.1:P1,2@127.0.0.1:P2,... --cluster-id ID [--no-wait] ...
# Px are the controllers' ports. A node is not ready before most of them run: --no-wait returns at once, `ready` waits.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
build=${TOPK_BUILD:-$(cd "$here/../.." && pwd)/build}
lib=$build/kafka/lib
python=/usr/bin/python3

die() { echo "kafka.sh: $*" >&2; exit 1; }
usage() { sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0" >&2; exit 2; }

install_jars() {
    mkdir -p "$build/kafka"
    exec 9>"$build/kafka/install.lock"
    flock 9
    cmp -s "$here/pom.xml" "$lib/pom.xml" && return 0
    local fresh=$build/kafka/lib.new
    rm -rf "$fresh" && mkdir -p "$fresh"
    "$here/../again.sh" mvn -q -B -Dstyle.color=never -f "$here/pom.xml" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$fresh" >&2
    cp "$here/pom.xml" "$fresh/pom.xml"
    rm -rf "$lib" && mv "$fresh" "$lib"
    exec 9>&-
}

# The broker's pid, only while that process is really this folder's broker: pids are used again.
broker_pid() {
    local pid
    pid=$(cat "$dir/pid" 2>/dev/null) && [ -n "$pid" ] &&
        tr '\0' '\n' <"/proc/$pid/cmdline" 2>/dev/null | grep -qxF "$dir/server.properties" && echo "$pid"
}

wait_gone() { # pid, tenths of a second
    local i
    for ((i = 0; i < $2; i++)); do
        [ -d "/proc/$1" ] && ! grep -q '^State:.Z' "/proc/$1/status" 2>/dev/null || return 0
        read -rt 0.1 <> <(:) || true
    done
    return 1
}

# A lone node picks its controller's port anew at each start: a static quorum stores only ids.
write_properties() {
    local quorum replicas=1 in_sync=1
    if [ -s "$dir/quorum" ]; then
        read -r node_id quorum <"$dir/quorum"
        replicas=$(($(tr -cd , <<<"$quorum" | wc -c) + 1)) in_sync=$((replicas / 2 + 1))
    else
        node_id=1 quorum=1@127.0.0.1:$("$python" "$here/topics.py" free-port)
    fi
    local controller
    controller=$(tr , '\n' <<<"$quorum" | sed -n "s/^$node_id@//p")
    [ -n "$controller" ] || die "node $node_id is not among the voters: $quorum"
    cat >"$dir/server.properties" <<END
process.roles=broker,controller
node.id=$node_id
controller.quorum.voters=$quorum
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://$controller
advertised.listeners=PLAINTEXT://127.0.0.1:$port
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs=$dir/data
auto.create.topics.enable=false
num.partitions=1
default.replication.factor=$replicas
min.insync.replicas=$in_sync
offsets.topic.replication.factor=$replicas
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=$replicas
transaction.state.log.min.isr=$in_sync
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
broker.session.timeout.ms=4000
broker.heartbeat.interval.ms=500
controller.quorum.election.timeout.ms=300
controller.quorum.fetch.timeout.ms=1000
num.network.threads=2
num.io.threads=4
num.recovery.threads.per.data.dir=2
log.cleaner.threads=1
log.cleaner.dedupe.buffer.size=16777216
log.initial.task.delay.ms=500
log.retention.check.interval.ms=1000
log.segment.delete.delay.ms=1000
END
    cat "$dir/overrides" >>"$dir/server.properties" 2>/dev/null || true
    cp "$here/log4j2.properties" "$dir/log4j2.properties"
}

# To start fast; a benchmark wants others
java_options=(-Xms256m -Xmx512m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xshare:auto -Djava.awt.headless=true)
[ -z "${KAFKA_JAVA_OPTIONS:-}" ] || read -ra java_options <<<"$KAFKA_JAVA_OPTIONS"

start() {
    local pid
    if pid=$(broker_pid); then
        echo "kafka.sh: already running, pid $pid" >&2
        return 0
    fi
    install_jars
    mkdir -p "$dir"
    [ -n "$port" ] || port=$(cat "$dir/port" 2>/dev/null || echo 19092)
    [ "$port" != 0 ] || port=$("$python" "$here/topics.py" free-port)
    echo "$port" >"$dir/port"
    [ -z "$voters" ] || echo "$node_id $voters" >"$dir/quorum"
    [ ${#overrides[@]} = 0 ] || printf '%s\n' "${overrides[@]}" >>"$dir/overrides"
    write_properties
    local java=("${JAVA_HOME:+$JAVA_HOME/bin/}java" "${java_options[@]}" -cp "$lib/*"
        "-Dlog4j2.configurationFile=$dir/log4j2.properties" "-Dtopk.log=$dir/broker.log")
    if [ ! -f "$dir/data/meta.properties" ]; then
        "${java[@]}" kafka.tools.StorageTool format -c "$dir/server.properties" \
            -t "${cluster_id:-$(new_cluster_id)}" "${scram[@]}" >"$dir/format.log" 2>&1 || {
            cat "$dir/format.log" >&2
            die "formatting $dir/data failed"
        }
    fi
    # A session of its own: Ctrl-C in a terminal must not stop the broker before those who use it.
    # It notes its pid itself, so that stop finds it even if we are killed right here.
    : >"$dir/pid"
    setsid sh -c 'echo $$ >"$0" && exec "$@"' "$dir/pid" "${java[@]}" kafka.Kafka "$dir/server.properties" \
        </dev/null >"$dir/stdout.log" 2>&1 9>&- &
    "$python" "$here/topics.py" written "$dir/pid"
    [ -z "$no_wait" ] || return 0
    ready || {
        tail -n 20 "$dir/stdout.log" "$dir/broker.log" >&2 || true
        kill_broker
        die "the broker did not become ready"
    }
}

new_cluster_id() { "$python" "$here/topics.py" cluster-id; }

ready() {
    local pid
    pid=$(cat "$dir/pid" 2>/dev/null) || die "not started: $dir"
    "$python" "$here/topics.py" --brokers "$(brokers)" ready --timeout "$timeout" --pid "$pid"
}

brokers() { echo "127.0.0.1:$(cat "$dir/port" 2>/dev/null || die "no broker was started in $dir")"; }

kill_broker() {
    local pid
    if pid=$(broker_pid); then
        kill -KILL "$pid" 2>/dev/null || true
        wait_gone "$pid" 100 || die "pid $pid survived SIGKILL"
    fi
    rm -f "$dir/pid"
}

stop() {
    local pid
    if pid=$(broker_pid); then
        kill -TERM "$pid" 2>/dev/null || true
        wait_gone "$pid" 200 || echo "kafka.sh: no end after SIGTERM in 20 s, killing" >&2
    fi
    kill_broker
}

command=${1:-}
[ -n "$command" ] || usage
shift
dir=${KAFKA_DIR:-$build/kafka/node} port='' timeout=60 overrides=() scram=() rest=() node_id=1 voters='' cluster_id='' no_wait=''
while [ $# -gt 0 ]; do
    case $1 in
        --dir) dir=${2:?} && shift 2 ;;
        --port) port=${2:?} && shift 2 ;;
        --timeout) timeout=${2:?} && shift 2 ;;
        --set) overrides+=("${2:?}") && shift 2 ;;
        --add-scram) scram+=(--add-scram "${2:?}") && shift 2 ;;
        --node-id) node_id=${2:?} && shift 2 ;;
        --voters) voters=${2:?} && shift 2 ;;
        --cluster-id) cluster_id=${2:?} && shift 2 ;;
        --no-wait) no_wait=1 && shift ;;
        *) rest+=("$1") && shift ;;
    esac
done
dir=$(realpath -m "$dir")

case $command in
    install) install_jars ;;
    start) start ;;
    stop) stop ;;
    restart) stop && start ;;
    kill) kill_broker ;;
    ready) ready ;;
    brokers) brokers ;;
    cluster-id) new_cluster_id ;;
    topic | delete-records) exec "$python" "$here/topics.py" --brokers "$(brokers)" "$command" "${rest[@]}" ;;
    *) usage ;;
esac
