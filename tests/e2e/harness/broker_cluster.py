"""Three brokers that replicate to each other: a node can be killed while the others go on.

Every node is broker and controller (tests/kafka/kafka.sh). Topics have a replica on each and accept a write that two of
them have, which is what `acks=all` then promises to keep.
"""
import subprocess

from confluent_kafka.admin import AdminClient

from . import kafka, ports, settings
from .wait import wait_until

NODES = 3
# Two shared cores start three JVMs: an election must not be called off by the next one.
SETTINGS = ("controller.quorum.election.timeout.ms=1000", "controller.quorum.fetch.timeout.ms=2000", "broker.session.timeout.ms=3000",
            "replica.lag.time.max.ms=5000", "log.cleaner.enable=false")


class Node(kafka.Broker):
    def __init__(self, directory, port, node_id):
        super().__init__(directory, port)
        self.node_id = node_id

    def launch(self, *more):
        """Returns before the node answers."""
        self._script("start", "--port", str(self.port), "--no-wait", *more)

    def ready(self):
        self._script("ready")


class BrokerCluster:
    """`address` names all nodes, so that a client finds the cluster whichever is down."""

    def __init__(self, directory):
        self.directory = directory
        taken = []
        for base in range(2 * NODES):  # a range each: a port that is found free is not bound yet
            taken.append(ports.free_port(20000 + base * ports.RANGE))
        self.nodes = {number: Node(directory / f"node{number}", taken[number - 1], number) for number in range(1, NODES + 1)}
        self.voters = ",".join(f"{number}@127.0.0.1:{taken[NODES + number - 1]}" for number in self.nodes)
        self.address = ",".join(node.address for node in self.nodes.values())

    def start(self):
        cluster_id = subprocess.check_output([str(settings.KAFKA_SH), "cluster-id"], text=True).strip()
        for number, node in self.nodes.items():
            options = [word for setting in SETTINGS for word in ("--set", setting)]
            node.launch("--node-id", str(number), "--voters", self.voters, "--cluster-id", cluster_id, *options)
        for node in self.nodes.values():
            node.ready()
        wait_until(lambda: len(self._metadata().brokers) == NODES, 60, "all brokers in the metadata", every=0.2)

    def kill_all(self):
        for node in self.nodes.values():
            node.kill()

    def kill(self, number):
        self.nodes[number].kill()

    def restart(self, number):
        """What was left of it starts again; see wait_in_sync."""
        self.nodes[number].launch()
        self.nodes[number].ready()

    def create_topic(self, name, partitions, replicas=NODES, **config):
        options = [word for key, value in config.items() for word in ("--config", f"{key.replace('_', '.')}={value}")]
        self.nodes[1]._script("topic", "create", name, "--partitions", str(partitions), "--replication", str(replicas), *options)
        topic = kafka.Topic(self, name, partitions)
        self.wait_in_sync(topic, 60, replicas)
        return topic

    def _metadata(self, topic=None):
        return AdminClient({"bootstrap.servers": self.address, "log_level": 0}).list_topics(topic, timeout=10)

    def leaders(self, topic):
        """partition → number of the node that leads it, -1 while none does."""
        return {number: partition.leader for number, partition in self._metadata(topic.name).topics[topic.name].partitions.items()}

    def wait_in_sync(self, topic, limit, replicas=NODES):
        """Until every replica of the topic and of the cluster's own topics has all there is: the next node may be killed."""
        def complete():
            known = self._metadata()
            wanted = {topic.name: replicas, **{name: NODES for name in known.topics if name.startswith("__")}}
            # The broker that answers may not know a new topic yet.
            return len(known.brokers) == NODES and topic.name in known.topics and len(known.topics[topic.name].partitions) == topic.partitions and all(
                len(partition.isrs) == count and partition.leader >= 0
                for name, count in wanted.items() for partition in known.topics[name].partitions.values())
        wait_until(complete, limit, f"all replicas of {topic.name} in sync", every=0.2)
