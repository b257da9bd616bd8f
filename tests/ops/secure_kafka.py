"""A broker with the listeners of daemon/TLS.md: SECURE (SASL over TLS: PLAIN, SCRAM) and MUTUAL (TLS, both sides with certificates).

Beside them a plain one, for those who make topics and read them here.
"""
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
KAFKA_SH, TOPICS_PY = ROOT / "tests/kafka/kafka.sh", ROOT / "tests/kafka/topics.py"
USER = "topkd"
PLAIN_PASSWORD, SCRAM_PASSWORD = "plain-pass-5f1c", "scram-pass-9a27"


def run(*command):
    done = subprocess.run(list(map(str, command)), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise RuntimeError(f"{command}: exit {done.returncode}\n{done.stdout}")
    return done.stdout.strip()


def free_ports(number):
    ports = set()
    while len(ports) < number:
        ports.add(int(run(sys.executable, TOPICS_PY, "free-port")))
    return list(ports)


class SecureKafka:
    def __init__(self, directory, authority):
        self.directory = directory
        self.authority = authority
        self.plain, controller, self.secure, self.mutual = free_ports(4)
        authority.issue("broker", "localhost")
        settings = {
            "listeners": f"PLAINTEXT://127.0.0.1:{self.plain},CONTROLLER://127.0.0.1:{controller},SECURE://127.0.0.1:{self.secure},"
                         f"MUTUAL://127.0.0.1:{self.mutual}",
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{self.plain},SECURE://localhost:{self.secure},MUTUAL://localhost:{self.mutual}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SECURE:SASL_SSL,MUTUAL:SSL",
            "ssl.keystore.type": "PEM", "ssl.keystore.location": authority.folder / "broker.pem",
            "ssl.truststore.type": "PEM", "ssl.truststore.location": authority.certificate,
            "listener.name.mutual.ssl.client.auth": "required",
            "listener.name.secure.sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-512",
            "listener.name.secure.plain.sasl.jaas.config":
                f'org.apache.kafka.common.security.plain.PlainLoginModule required user_{USER}="{PLAIN_PASSWORD}";',
            "listener.name.secure.scram-sha-512.sasl.jaas.config": "org.apache.kafka.common.security.scram.ScramLoginModule required;",
        }
        sets = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
        self._script("start", "--port", self.plain, "--voters", f"1@127.0.0.1:{controller}",
                     "--add-scram", f"SCRAM-SHA-512=[name={USER},password={SCRAM_PASSWORD}]", *sets)

    def _script(self, *arguments):
        return run(KAFKA_SH, *arguments, "--dir", self.directory)

    def plain_login(self):
        """The properties of a client."""
        return ["security.protocol=SASL_SSL", f"ssl.ca.location={self.authority.certificate}", "sasl.mechanism=PLAIN", f"sasl.username={USER}",
                f"sasl.password={PLAIN_PASSWORD}"]

    def create_topic(self, name, partitions=2):
        self._script("topic", "create", name, "--partitions", partitions)

    def stop(self):
        self._script("kill")

    def tail(self):
        log = Path(self.directory) / "broker.log"
        return "\n".join(log.read_text(errors="replace").splitlines()[-30:]) if log.exists() else "(no log)"
