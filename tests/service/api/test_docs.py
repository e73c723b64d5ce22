"""The page with the API's reference needs nothing but the door."""

import re
from urllib.parse import urljoin, urlsplit

import pytest
from fastapi import FastAPI
from httpx import ASGITransport, AsyncClient

from jobs.settings import JobsSettings
from tests.service.doors import open_door
from tests.service.keyed import Keyed

ADDRESS = re.compile(r"""(?:src|href)="([^"]+)"|url: '([^']+)'""")


def addresses(page: str) -> list[str]:
    return [first or second for first, second in ADDRESS.findall(page)]


@pytest.mark.parametrize("prefix", ["", "/draw", "/a/b"])
async def test_page_loads_all_it_needs_from_its_own_host_below_its_prefix(
    app: FastAPI, prefix: str
) -> None:
    async with AsyncClient(transport=ASGITransport(app), base_url="http://door") as http:
        page = await http.get("/docs")
        assert page.status_code == 200
        found = addresses(page.text)
        assert len(found) == 4
        for address in found:
            parts = urlsplit(urljoin(f"https://example.org{prefix}/docs", address))
            assert parts.netloc == "example.org"
            assert parts.path.startswith(f"{prefix}/")
            answer = await http.get(parts.path.removeprefix(prefix))
            assert answer.status_code == 200
            assert len(answer.content) > 1000
    assert not re.search(r"https?://", page.text)
    assert '"validatorUrl": null' in page.text


async def test_no_other_file_is_served(app: FastAPI) -> None:
    async with AsyncClient(transport=ASGITransport(app), base_url="http://door") as http:
        for name in ("redoc.standalone.js", "..%2f__init__.py", "%2e%2e", "x"):
            answer = await http.get(f"/docs/{name}")
            assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


async def test_page_needs_no_key(keyed: Keyed) -> None:
    async with keyed.client(None) as http:
        for path in ("/docs", "/docs/swagger-ui.css", "/openapi.json"):
            assert (await http.get(path)).status_code == 200


async def test_requests_from_the_page_go_below_the_public_url(jobs_settings: JobsSettings) -> None:
    url = "https://draw.example.org/api"
    async with open_door(jobs_settings, public_url=url) as (_, http):
        assert (await http.get("/openapi.json")).json()["servers"] == [{"url": url}]
