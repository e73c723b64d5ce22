"""The site builds without a warning, has every page and route, and loads nothing from elsewhere."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.docs.reference import pages, routes, slug
from deploy.docs.stage import FRONT, PAGES
from service.application import create_app
from service.settings import ServiceSettings
from tests.deploy.tools import ROOT

pytestmark = pytest.mark.timeout(900)

LOADED = re.compile(
    r"""<(?:script|img|iframe|source)\b[^>]*\ssrc="([^"]*)"|<link\b[^>]*\shref="([^"]*)\""""
)
IN_STYLES = re.compile(r"""url\(\s*['"]?([^'")]*)|@import\s+['"]([^'"]*)""")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the site, as ``make docs`` does."""
    folder = tmp_path_factory.mktemp("docs")
    outcome = subprocess.run(
        [sys.executable, "-m", "deploy.docs", str(folder)],
        cwd=ROOT, capture_output=True, text=True, timeout=880, check=False,
    )  # fmt: skip
    assert outcome.returncode == 0, outcome.stderr  # a link to nothing is a warning, hence an error
    assert outcome.stdout == f"{folder}/html/index.html\n"
    return folder / "html"


def test_every_page_is_there(site: Path) -> None:
    named = {path.relative_to(ROOT) for pattern in PAGES for path in ROOT.glob(pattern)}
    assert len(named) > 40
    missing = {page for page in named if not (site / page.with_suffix(".html")).exists()}
    assert missing == {FRONT}  # which is the front page
    assert "<h1>Sfumato" in (site / "index.html").read_text()


def test_every_route_is_in_the_reference(site: Path) -> None:
    text = "".join(path.read_text() for path in (site / "reference").glob("*.html"))
    for method, path, _ in routes(create_app(ServiceSettings()).openapi()):
        assert f"{method} {path}\n" in text
        assert f'id="{slug(method + path)}"' in text


def test_nothing_is_loaded_from_another_host(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    loaded = {
        address for page in pages for found in LOADED.findall(page.read_text()) for address in found
    }
    styles = {
        address
        for sheet in site.rglob("*.css")
        for found in IN_STYLES.findall(sheet.read_text())
        for address in found
    }
    assert len(loaded) > 10
    assert [each for each in loaded | styles if re.match(r"(https?:)?//", each)] == []


def test_search_finds_what_pages_say(site: Path) -> None:
    index = (site / "searchindex.js").read_text()
    assert "idempotency" in index
    assert "docs/runbook" in index


def test_a_field_is_described_with_its_bounds_and_default() -> None:
    jobs = pages(create_app(ServiceSettings()).openapi())["jobs"]
    assert "| `num_images` | integer, ≥ 1, ≤ 16 | `1` | Number of images to draw. |" in jobs
    assert "| `prompt` | string, at most 4000 characters | *required* |" in jobs
    assert "(schema-jobview)=" in jobs
