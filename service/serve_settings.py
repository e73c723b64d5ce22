"""The environment of a private Ray with Serve behind HAProxy.

Ray reads these names when it is imported. Left alone, HAProxy's files lie in one folder for the
whole machine and its figures and statistics listen on fixed ports, so that a second stack breaks
the first; here every stack has its own.
"""

import secrets
import socket
from collections.abc import Sequence
from pathlib import Path

REPLICA_PORTS = 64
_FIRST_PORT, _LAST_PORT = 20_000, 29_000


def private_environment(folder: Path) -> dict[str, str]:
    """Return the variables for a stack whose files lie in ``folder``.

    The folder's path has to be short: Unix sockets below it may have 107 bytes in all.
    """
    haproxy = folder / "h"
    metrics, stats, fallback = free_ports(3)
    first = free_block(REPLICA_PORTS)
    return {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_DEDUP_LOGS": "0",  # a line of a worker's log is not noise because it is like another
        "RAY_COLOR_PREFIX": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),  # else Ray keeps one in the user's home
        # Ray's word for "this is one machine": its node then has the address 127.0.0.1.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(haproxy / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(haproxy / "admin.sock"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(haproxy / "metrics.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(haproxy),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(haproxy / "server-state"),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(metrics),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(stats),
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(fallback),
        "RAY_SERVE_HAPROXY_NBTHREAD": "1",
        "RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S": "5",
        "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": str(first),
        "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": str(first + REPLICA_PORTS),
        # No load balancer stands before this HAProxy that would have to take note of a stop.
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "0",
    }


def free_ports(count: int) -> Sequence[int]:
    """Return TCP ports that nobody listens on now, on any interface."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def free_block(size: int) -> int:
    """Return the first of ``size`` TCP ports in a row whose first is free.

    Raises:
        RuntimeError: there is no such block.
    """
    for first in range(_FIRST_PORT, _LAST_PORT, size):
        with socket.socket() as probe:
            try:
                probe.bind(("", first))
            except OSError:
                continue
            return first
    raise RuntimeError(f"no free port between {_FIRST_PORT} and {_LAST_PORT}")
