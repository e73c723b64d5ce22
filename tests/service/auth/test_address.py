"""Whom an address stands for."""

import pytest

from jobs.settings import JobsSettings
from service.auth.address import caller_address
from tests.service.doors import client, open_door

SAME = {
    "192.0.2.7": ("192.0.2.7", "::ffff:192.0.2.7", "::ffff:c000:207"),
    "2001:db8:1:2::/64": ("2001:db8:1:2::1", "2001:DB8:1:2:ffff:ffff:ffff:ffff", "2001:db8:1:2::"),
    "fe80::/64": ("fe80::1", "fe80::2%eth0"),
    "door.sock": ("door.sock",),
    "": ("",),
}


@pytest.mark.parametrize(
    ("host", "caller"), [(host, caller) for caller, hosts in SAME.items() for host in hosts]
)
def test_addresses_of_one_caller_are_one(host: str, caller: str) -> None:
    assert caller_address(host) == caller


async def test_limits_count_a_network_of_addresses(
    jobs_settings: JobsSettings, announced: None
) -> None:
    async def status(address: str) -> int:
        async with client(app, address=address) as http:
            return (await http.get("/v1/models")).status_code

    async with open_door(jobs_settings, rate_limit=2, rate_window_s=600) as (app, _):
        codes = [await status(f"2001:db8:0:1::{number}") for number in range(1, 4)]
        assert codes == [200, 200, 429]
        assert await status("2001:db8:0:2::1") == 200
        assert [await status(host) for host in ("192.0.2.1", "::ffff:192.0.2.1")] == [200, 200]
        assert await status("192.0.2.1") == 429
