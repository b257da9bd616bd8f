"""Free ports on the loopback, from a base upwards: one below the ephemeral range, of which an outgoing connection may take one while its
server is down, and keep it for a minute."""
import os
import socket

RANGE = 500


def free_port(base):
    """Begins at a place of this process's own: two runs side by side must not take the port of a server just restarting."""
    for step in range(RANGE):
        port = base + (os.getpid() * 7 + step) % RANGE
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    raise RuntimeError(f"no free port from {base} upwards")
