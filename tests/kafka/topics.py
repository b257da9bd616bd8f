"""Topic administration for kafka.sh without a JVM per call.

Every command returns when the cluster's metadata shows its effect, so callers need no sleep. DeleteRecords is spoken
on the wire: confluent_kafka 1.7 does not have it.
"""

import argparse
import base64
import os
import random
import socket
import struct
import sys
import time
import uuid

POLL_SECONDS = 0.05
DELETE_RECORDS, DELETE_RECORDS_VERSION = 21, 1
METADATA_LIMIT_SECONDS = 30.0


def admin(brokers):
    from confluent_kafka.admin import AdminClient

    return AdminClient({"bootstrap.servers": brokers, "log_level": 0, "socket.timeout.ms": 10000})


def until(condition, seconds, what):
    """Polls `condition` until it is true; exits with 1 after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            sys.exit(f"topics.py: gave up after {seconds:g} s: {what}")
        time.sleep(POLL_SECONDS)


def new_cluster_id():
    """As Kafka makes them: 22 characters that no command line takes for an option."""
    while (text := base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()).startswith("-"):
        pass
    return text


def free_port():
    """A free port below the ephemeral range, where an outgoing connection cannot take it before it is bound."""
    while True:
        port = random.randint(20000, 32000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


def alive(pid):
    try:
        with open(f"/proc/{pid}/status") as status:
            return not any(line.startswith("State:\tZ") for line in status)
    except FileNotFoundError:
        return False


def ready(brokers, seconds, pid):
    from confluent_kafka import KafkaException

    host, port = brokers.rsplit(":", 1)

    def answers():
        if pid and not alive(pid):
            sys.exit("topics.py: the broker's process has ended")
        try:
            socket.create_connection((host, int(port)), 1).close()
            return bool(admin(brokers).list_topics(timeout=2).brokers)
        except (OSError, KafkaException):
            return False

    until(answers, seconds, f"{brokers} does not answer")


def partitions_of(client, name):
    """Partitions of a topic that have a leader; None when there is no such topic."""
    topic = client.list_topics(timeout=10).topics.get(name)
    if topic is None or (topic.error is not None and topic.error.code() != 5):  # 5: a partition without leader yet
        return None
    return sum(1 for partition in topic.partitions.values() if partition.leader >= 0)


def finish(futures):
    from confluent_kafka import KafkaException

    for name, future in futures.items():
        try:
            future.result()
        except KafkaException as error:
            sys.exit(f"topics.py: {name}: {error.args[0].str()}")


def create(client, args):
    from confluent_kafka.admin import NewTopic

    config = dict(entry.split("=", 1) for entry in args.config)
    finish(client.create_topics([NewTopic(args.name, args.partitions or 1, args.replication, config=config)]))
    until(lambda: partitions_of(client, args.name) == (args.partitions or 1), METADATA_LIMIT_SECONDS, "topic not visible")


def delete(client, args):
    finish(client.delete_topics([args.name], operation_timeout=10))
    until(lambda: partitions_of(client, args.name) is None, METADATA_LIMIT_SECONDS, "topic still visible")


def alter(client, args):
    from confluent_kafka.admin import ConfigResource, NewPartitions

    if args.partitions:
        finish(client.create_partitions([NewPartitions(args.name, args.partitions)]))
        until(lambda: partitions_of(client, args.name) == args.partitions, METADATA_LIMIT_SECONDS, "partitions not visible")
    if args.config:
        resource = ConfigResource(ConfigResource.Type.TOPIC, args.name)
        # AlterConfigs replaces all of a topic's settings, so the ones set before are sent again.
        for entry in list(client.describe_configs([resource]).values())[0].result().values():
            if entry.source == 1:  # DYNAMIC_TOPIC_CONFIG
                resource.set_config(entry.name, entry.value)
        for entry in args.config:
            resource.set_config(*entry.split("=", 1))
        finish(client.alter_configs([resource]))


def kafka_string(text):
    return struct.pack(">h", len(text)) + text.encode()


def delete_records(brokers, name, ranges):
    """One DeleteRecords request; for a lone node, which leads every partition."""
    wanted = [tuple(int(part) for part in entry.split(":")) for entry in ranges]
    body = struct.pack(">i", 1) + kafka_string(name) + struct.pack(">i", len(wanted))
    body += b"".join(struct.pack(">iq", partition, offset) for partition, offset in wanted)
    body += struct.pack(">i", 10000)
    header = struct.pack(">hhi", DELETE_RECORDS, DELETE_RECORDS_VERSION, 1) + kafka_string("topics.py")
    host, port = brokers.rsplit(":", 1)
    with socket.create_connection((host, int(port)), 15) as connection:
        connection.sendall(struct.pack(">i", len(header + body)) + header + body)
        stream = connection.makefile("rb")
        answer = stream.read(struct.unpack(">i", stream.read(4))[0])
    at = 4 + 4 + 4  # correlation id, throttle time, number of topics
    at += 2 + struct.unpack_from(">h", answer, at)[0]
    (count,) = struct.unpack_from(">i", answer, at)
    for index in range(count):
        partition, low_watermark, error = struct.unpack_from(">iqh", answer, at + 4 + 14 * index)
        if error:
            sys.exit(f"topics.py: DeleteRecords of partition {partition}: error {error}")
        print(f"{name} [{partition}] starts at {low_watermark}")


def parse():
    parser = argparse.ArgumentParser(description="topic administration for kafka.sh")
    parser.add_argument("--brokers")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("free-port")
    commands.add_parser("cluster-id")
    written = commands.add_parser("written")
    written.add_argument("path")
    wait = commands.add_parser("ready")
    wait.add_argument("--timeout", type=float, default=60)
    wait.add_argument("--pid", type=int)
    topic = commands.add_parser("topic")
    topic.add_argument("action", choices=["create", "delete", "alter"])
    topic.add_argument("name")
    topic.add_argument("--partitions", type=int)
    topic.add_argument("--replication", type=int, default=1)
    topic.add_argument("--config", action="append", default=[], metavar="KEY=VALUE")
    records = commands.add_parser("delete-records")
    records.add_argument("name")
    records.add_argument("ranges", nargs="+", metavar="PARTITION:OFFSET")
    return parser.parse_args()


def main():
    args = parse()
    if args.command == "free-port":
        print(free_port())
    elif args.command == "cluster-id":
        print(new_cluster_id())
    elif args.command == "written":
        until(lambda: os.path.getsize(args.path) > 0, 10, f"{args.path} stays empty")
    elif args.command == "ready":
        ready(args.brokers, args.timeout, args.pid)
    elif args.command == "topic":
        {"create": create, "delete": delete, "alter": alter}[args.action](admin(args.brokers), args)
    else:
        delete_records(args.brokers, args.name, args.ranges)


if __name__ == "__main__":
    os.environ.setdefault("PYTHONDONTWRITEBYTECODE", "1")
    main()
