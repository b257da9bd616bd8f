"""Free ports on the loopback, from a base upwards."""
import socket


def free_port(base):
    for port in range(base, base + 500):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    raise RuntimeError(f"no free port from {base} upwards")
