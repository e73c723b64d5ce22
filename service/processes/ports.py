"""TCP ports for servers that are started in a moment.

They lie below the ephemeral ports of Linux, which any connection could be given meanwhile, and are
chosen at random, so that two programs that start together hardly choose the same.
"""

import contextlib
import secrets
import socket

PORTS = range(20_000, 32_768)


def free_port(host: str = "127.0.0.1") -> int:
    """Return a TCP port that is free on an IPv4 address; ``""`` stands for all of them.

    Raises:
        OSError: none was found.
    """
    for _ in range(100):
        port = secrets.choice(PORTS)
        if _is_free(host, port):
            return port
    raise OSError(f"no free port between {PORTS.start} and {PORTS.stop - 1}")


def free_block(size: int, ports: range = PORTS) -> int:
    """Return the first of ``size`` consecutive TCP ports that are all free on all interfaces.

    Raises:
        OSError: there are none among ``ports``.
    """
    blocks = range(ports.start, ports.stop - size + 1, size)
    for begin in secrets.SystemRandom().sample(blocks, len(blocks)):
        if all(_is_free("", port) for port in range(begin, begin + size)):
            return begin
    raise OSError(f"no {size} free ports in a row between {ports.start} and {ports.stop - 1}")


def _is_free(host: str, port: int) -> bool:
    with socket.socket() as probe, contextlib.suppress(OSError):
        probe.bind((host, port))
        return True
    return False
