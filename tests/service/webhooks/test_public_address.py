"""Which addresses and URLs a webhook may have."""

import ipaddress

import pytest

from jobs.errors import InvalidRequest
from jobs.settings import JobsSettings
from service.settings import ServiceSettings
from service.webhooks.public_address import RefusedAddress, check_address
from service.webhooks.url import check_url

REFUSED = [
    "0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "127.0.0.1", "127.255.255.254",
    "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.2.1", "192.88.99.1",
    "192.168.1.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255",
    "240.0.0.1", "255.255.255.255",
    "::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254",
    "64:ff9b::7f00:1", "64:ff9b::a00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "100::1",
    "2001::1", "2001:db8::1", "2002:7f00:1::", "2002:a00:1::1", "3fff::1", "5f00::1",
    "fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1", "ff0e::1",
    "localhost", "", "1.2.3", "01.2.3.4", "0x7f.1", "2130706433",
]  # fmt: skip
PUBLIC = [
    "1.1.1.1", "8.8.8.8", "93.184.216.34", "100.63.255.255", "172.32.0.1", "223.255.255.254",
    "2606:4700::1111", "2a00:1450:4001::1", "::ffff:8.8.8.8", "64:ff9b::808:808",
]  # fmt: skip


@pytest.mark.parametrize("address", REFUSED)
def test_an_address_that_is_not_public_is_refused(address: str) -> None:
    with pytest.raises(RefusedAddress):
        check_address(address, [])


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_called(address: str) -> None:
    check_address(address, [])


def test_listed_networks_are_called_and_no_others() -> None:
    allowed = [ipaddress.ip_network("10.1.0.0/16"), ipaddress.ip_network("fd00::/8")]
    for address in ("10.1.2.3", "::ffff:10.1.2.3", "fd00::7"):
        check_address(address, allowed)
    for address in ("10.2.0.1", "127.0.0.1", "fe80::1"):
        with pytest.raises(RefusedAddress):
            check_address(address, allowed)


@pytest.mark.parametrize(
    "url",
    [
        "", "hook", "//shop.example/x", "http://shop.example/", "ftp://shop.example/",
        "file:///etc/passwd", "https://", "https:///x", "https://user:pw@shop.example/",
        "https://shop.example/#part", "https://shop.example:0/", "https://shop.example:99999/",
        "https://127.0.0.1/", "https://[::1]/", "https://[::ffff:10.0.0.1]/", "https://10.0.0.1:8/",
        "https://169.254.169.254/latest/meta-data", "https://[fe80::1%25eth0]/",
        "https://shop.example/a b", "https://shop.example/\r\nx: y", "https://bücher.example/",
        "javascript:alert(1)", "https://[::1", "https://xn--a/", "unix:///run/x.sock",
    ],
)  # fmt: skip
def test_a_bad_url_is_refused(url: str, jobs_settings: JobsSettings) -> None:
    with pytest.raises(InvalidRequest) as refused:
        check_url(url, ServiceSettings(**jobs_settings.model_dump()))
    assert refused.value.field == "webhook.url"


def test_a_good_url_is_taken(jobs_settings: JobsSettings) -> None:
    settings = ServiceSettings(**jobs_settings.model_dump())
    for url in ("https://shop.example", "https://shop.example:8443/a/b?c=d", "https://8.8.8.8/x"):
        assert str(check_url(url, settings)).startswith(url)
    lax = settings.model_copy(update={"webhook_allow_http": True})
    assert check_url("http://shop.example/", lax).scheme == "http"
