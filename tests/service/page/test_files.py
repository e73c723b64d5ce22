"""The page's files over HTTP."""

import gzip
import re
from pathlib import Path
from urllib.parse import urljoin

import pytest
from httpx import AsyncClient

from jobs.schema import FAILURE_CODES, WarningCode
from jobs.settings import JobsSettings
from service.application import create_app
from service.page import files
from service.page.files import takes_gzip
from service.settings import ServiceSettings
from tests.service.doors import open_door
from tests.service.keyed import Keyed

FOLDER = Path(files.__file__).parent
NAMES = sorted(
    str(path.relative_to(FOLDER))
    for path in FOLDER.rglob("*")
    if path.is_file() and path.suffix not in (".py", ".pyc")
)
DOCS = Path(__file__).parents[3] / "docs"
MOST_BYTES = 190_000
MOST_SENT_BYTES = 100_000


def test_all_files_together_are_small() -> None:
    assert sum((FOLDER / name).stat().st_size for name in NAMES) < MOST_BYTES
    assert sum(len(files.read(name).zipped) for name in NAMES) < MOST_SENT_BYTES


def test_the_page_has_chinese_words_for_what_the_service_may_say_of_a_job() -> None:
    said = set(re.findall(r'"code\.(\w+)"', (FOLDER / "lib" / "codes.js").read_text("utf-8")))
    listed = (DOCS / "errors.md").read_text("utf-8")
    passing = set(re.findall(r"^\| `(\w+)` \| (?:429|503)", listed, re.MULTILINE))
    assert said == set(FAILURE_CODES) | set(WarningCode) | passing


@pytest.mark.parametrize("prefix", ["", "/draw", "/a/b"])
async def test_all_that_the_page_names_is_below_its_prefix(http: AsyncClient, prefix: str) -> None:
    page = await http.get("/")
    found = re.findall(r'(?:href|src)="([^"#]+)"', page.text)
    assert len(found) > 10
    for address in found:
        path = urljoin(f"{prefix}/", address)
        assert path.startswith(f"{prefix}/page/")
        assert (await http.get(path.removeprefix(prefix))).status_code == 200


async def test_what_modules_import_is_there() -> None:
    for name in NAMES:
        if not name.endswith(".js"):
            continue
        for target in re.findall(r'(?:from|import) ?\(?"([^"]+)"', (FOLDER / name).read_text()):
            assert target.startswith("."), (name, target)
            assert (FOLDER / name).parent.joinpath(target).is_file(), (name, target)


@pytest.mark.parametrize("path", ["/", "/page/app.js", "/page/style/base.css", "/page/icon.svg"])
async def test_files_say_what_they_are_and_what_they_may(http: AsyncClient, path: str) -> None:
    answer = await http.get(path)
    assert answer.status_code == 200
    policy = answer.headers["content-security-policy"].split("; ")
    assert {"default-src 'none'", "script-src 'self'", "style-src 'self'"} <= set(policy)
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-cache"
    kind = {"/": "html", "/page/app.js": "javascript", "/page/icon.svg": "svg+xml"}.get(path, "css")
    assert kind in answer.headers["content-type"]


@pytest.mark.parametrize("encoding", ["gzip", "identity"])
async def test_a_current_copy_is_not_sent_again(http: AsyncClient, encoding: str) -> None:
    headers = {"accept-encoding": encoding}
    first = await http.get("/page/app.js", headers=headers)
    assert ("content-encoding" in first.headers) == (encoding == "gzip")
    assert first.content == (FOLDER / "app.js").read_bytes()
    assert first.headers["vary"] == "accept-encoding"
    again = await http.get(
        "/page/app.js", headers=headers | {"if-none-match": first.headers["etag"]}
    )
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]
    head = await http.head("/page/app.js", headers=headers)
    assert head.content == b""
    assert head.headers["content-length"] == first.headers["content-length"]


async def test_each_coding_has_a_tag_of_its_own(http: AsyncClient) -> None:
    tags = {
        (await http.get("/", headers={"accept-encoding": each})).headers["etag"]
        for each in ("gzip", "identity")
    }
    assert len(tags) == 2


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("gzip", True), ("br, GZIP;q=0.5", True), ("gzip; q=1", True),
        ("", False), ("br", False), ("gzip;q=0", False), ("gzip; q=0.000", False), ("*", False),
    ],
)  # fmt: skip
def test_gzip_is_for_those_who_take_it(header: str, expected: bool) -> None:
    assert takes_gzip(header) is expected


def test_zipped_files_are_the_same_in_every_replica() -> None:
    file = files.read("app.js")
    assert gzip.decompress(file.zipped) == file.data
    assert file.zipped[4:8] == b"\0" * 4  # no time


@pytest.mark.parametrize(
    "name",
    [
        "x.js", "files.py", "__init__.py", "lib", "lib/", "", "../door.py", "..%2fdoor.py",
        "%2e%2e/door.py", "lib/%2e%2e/app.js", "lib//el.js", "/etc/passwd", "app.js/", "app.js%00",
        "APP.JS",
    ],
)  # fmt: skip
async def test_nothing_else_is_served(http: AsyncClient, name: str) -> None:
    answer = await http.get(f"/page/{name}")
    assert answer.status_code == 404
    assert answer.json()["code"] == "not_found"


async def test_a_changed_file_is_sent_as_it_is_now(
    http: AsyncClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "FOLDER", tmp_path)
    for text in ("one", "another"):
        (tmp_path / "app.js").write_text(text)
        assert (await http.get("/page/app.js")).text == text


async def test_the_page_needs_no_key_and_the_api_does(keyed: Keyed) -> None:
    async with keyed.client(None) as http:
        for name in NAMES:
            assert (await http.get(f"/page/{name}")).status_code == 200
        assert (await http.get("/")).status_code == 200
        for path in ("/v1/models", "/v1/jobs", "//v1/jobs", "/page/../v1/jobs"):
            assert (await http.get(path)).status_code in (401, 404), path
        assert (await http.get("/v1/models")).status_code == 401
        assert (await http.post("/page/app.js")).status_code == 405


async def test_the_page_uses_up_no_limit(jobs_settings: JobsSettings) -> None:
    async with open_door(jobs_settings, rate_limit=2) as (_, http):
        for _ in range(5):
            assert (await http.get("/page/app.js")).status_code == 200
        assert [(await http.get("/v1/models")).status_code for _ in range(3)] == [200, 200, 429]
        assert (await http.get("/")).status_code == 200


def test_the_description_of_the_api_does_not_have_the_page() -> None:
    paths = create_app(ServiceSettings()).openapi()["paths"]
    assert not [path for path in paths if path == "/" or path.startswith("/page")]
