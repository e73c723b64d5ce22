"""Keeps the calls of processes to this machine away from proxies."""

from collections.abc import Mapping


def without_proxy(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that keep a process' calls to loopback away from proxies."""
    given = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
    hosts = ",".join(filter(None, (given, "localhost", "127.0.0.1", "::1")))
    return {"no_proxy": hosts, "NO_PROXY": hosts}
