"""Which addresses and URLs a webhook may have."""

import ipaddress
from datetime import datetime

import pytest

from jobs.errors import InvalidRequest
from jobs.settings import JobsSettings
from service.settings import ServiceSettings
from service.webhooks.public_address import RefusedAddress, check_address
from service.webhooks.special_addresses import CLOUDS, REGISTRIES_AS_OF, SPECIAL
from service.webhooks.url import check_url

REFUSED = [
    "0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "127.0.0.1", "127.255.255.254",
    "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.2.1", "192.88.99.1",
    "192.168.1.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255",
    "240.0.0.1", "255.255.255.255",
    "192.0.0.8", "192.0.0.9", "192.0.0.10", "192.0.0.170", "192.0.0.192", "192.0.0.255",
    "192.31.196.1", "192.52.193.1", "192.88.99.2", "192.175.48.1", "168.63.129.16",
    "100.100.100.200", "161.26.0.10", "166.9.1.1", "192.80.8.124", "169.254.170.2",
    "::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254",
    "64:ff9b::7f00:1", "64:ff9b::a00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "100::1",
    "2001::1", "2001:db8::1", "2002:7f00:1::", "2002:a00:1::1", "3fff::1", "5f00::1",
    "fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1", "ff0e::1",
    "::192.0.0.192", "::ffff:192.0.0.192", "::ffff:168.63.129.16", "64:ff9b::c000:c0",
    "64:ff9b::a83f:8110", "64:ff9b:1:ffff:a9fe:a9fe::", "::ffff:0:a9fe:a9fe", "100:0:0:1::1",
    "2001:1::1", "2001:2::1", "2001:3::1", "2001:4:112::1", "2001:10::1", "2001:20::1",
    "2001:30::1", "2001:1ff::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2002:a83f:8110::1",
    "2620:4f:8000::1", "3fff:fff::1", "4000::1", "fd00:42::42", "fd20:ce::254", "fe80::a9fe:a9fe",
    "2606:4700::5efe:10.0.0.1", "2606:4700::200:5efe:a9fe:a9fe",
    "localhost", "", "1.2.3", "01.2.3.4", "0x7f.1", "2130706433",
]  # fmt: skip
PUBLIC = [
    "1.1.1.1", "8.8.8.8", "93.184.216.34", "100.63.255.255", "172.32.0.1", "223.255.255.254",
    "191.255.255.255", "192.0.1.1", "192.0.3.1", "168.63.129.17", "161.25.255.255", "166.12.0.1",
    "100.128.0.1", "198.17.255.255", "198.20.0.1", "2001:200::1", "2620:4f:8001::1", "3fff:1000::1",
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


@pytest.mark.parametrize("network", ["0.0.0.0/0", "::/0", "100.64.0.0/10", "fd00::/8"])
def test_a_wide_network_does_not_list_the_clouds_own_addresses(network: str) -> None:
    allowed = [ipaddress.ip_network(network)]
    for text, whose in CLOUDS.items():
        cloud = ipaddress.ip_network(text)
        with pytest.raises(RefusedAddress):
            check_address(str(cloud[-1]), allowed)
        check_address(str(cloud[-1]), [*allowed, cloud])
        assert whose


def test_every_block_of_the_registries_is_refused_at_both_ends() -> None:
    assert datetime.strptime(REGISTRIES_AS_OF, "%Y-%m").year >= 2026
    for text in SPECIAL | CLOUDS:
        block = ipaddress.ip_network(text)
        for address in (block[0], block[-1]):
            if address not in ipaddress.ip_network("64:ff9b::/96") and not (
                address.version == 6 and address.ipv4_mapped
            ):
                with pytest.raises(RefusedAddress):
                    check_address(str(address), [])


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
