"""Addresses of both families: bound, probed and written in URLs."""

import socket

import httpx
import pytest

from jobs.host.addresses import bind_host, check_free, family_of, reachable, url_host
from jobs.settings import JobsSettings
from service.application import create_app
from service.client.client import Sfumato
from service.processes.ports import free_port
from service.processes.worker_process import own_metrics_port
from service.settings import ServiceSettings
from service.uvicorn_door import server
from tests.processes import wait
from tests.service.served import ipv6_hosts, running_door
from workers.ops.probes import Probes

BOTH = ("::1", "::") if ipv6_hosts() else ()


@pytest.mark.parametrize(
    ("host", "written"),
    [
        ("127.0.0.1", "127.0.0.1"), ("::1", "[::1]"), ("::", "[::]"), ("[::1]", "[::1]"),
        ("fe80::1%eth0", "[fe80::1%25eth0]"), ("localhost", "localhost"), ("0.0.0.0", "0.0.0.0"),
    ],
)  # fmt: skip
def test_an_ipv6_address_is_in_brackets_in_a_url(host: str, written: str) -> None:
    assert url_host(host) == written
    assert httpx.URL(f"http://{written}:8000").port == 8000


@pytest.mark.parametrize(
    ("host", "reached"),
    [
        ("0.0.0.0", "127.0.0.1"), ("::", "[::1]"), ("", "127.0.0.1"), ("10.0.0.7", "10.0.0.7"),
        ("::1", "[::1]"), ("2001:db8::7", "[2001:db8::7]"),
    ],
)  # fmt: skip
def test_a_server_is_reached_where_it_listens(host: str, reached: str) -> None:
    assert reachable(host) == reached


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "localhost", "*", "", *BOTH])
def test_a_port_in_use_is_not_free_on_either_family(host: str) -> None:
    port = free_port()
    check_free(host, port)
    with socket.socket(family_of(host)) as taken:
        taken.bind((bind_host(host), port))
        taken.listen()
        with pytest.raises(OSError, match=str(port)):
            check_free(host, port)
    assert own_metrics_port(host, port, 0) >= port


def test_families() -> None:
    assert family_of("::1") is family_of("::") is socket.AF_INET6
    assert family_of("127.0.0.1") is family_of("0.0.0.0") is socket.AF_INET
    for host in ("nowhere.invalid", "300.1.1.1", "a" * 70):
        with pytest.raises(OSError, match=host):
            family_of(host)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "*", *BOTH])
def test_the_door_serves_on_both_families(
    host: str, jobs_settings: JobsSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    port = free_port()
    app = create_app(ServiceSettings(**jobs_settings.model_dump()))
    with running_door(server(app, host, port)):
        said: list[str] = []  # it says so once it has started

        def ready() -> bool:
            said.append(capsys.readouterr().out)
            return f"ready http://{url_host(host)}:{port}\n" in "".join(said)

        wait("the line that says so", ready)
        with Sfumato(f"http://{reachable(host)}:{port}") as client:
            assert client.ready()
        if host in ("*", "::"):
            for other in ("127.0.0.1", *map(url_host, ipv6_hosts())):
                assert httpx.get(
                    f"http://{other}:{port}/healthz", trust_env=False, timeout=60
                ).is_success


@pytest.mark.parametrize("host", ["127.0.0.1", "*", *BOTH])
def test_a_worker_s_probes_and_metrics_are_on_both_families(host: str) -> None:
    from prometheus_client import CollectorRegistry

    port = own_metrics_port(host, 0, 0)
    probes = Probes(CollectorRegistry(), list, list, host, port)
    try:
        for path in ("livez", "readyz", "metrics"):
            answer = httpx.get(
                f"http://{reachable(host)}:{port}/{path}", trust_env=False, timeout=60
            )
            assert answer.status_code == 200
    finally:
        probes.close()
