"""The page around the views: it loads little, speaks two languages and leaves nobody out."""

from pathlib import Path

import pytest

from tests.service.page.browser import Visit
from tests.service.page.conftest import Visits

pytestmark = [pytest.mark.page, pytest.mark.needs("chromium")]
FOLDER = Path(__file__).parents[3] / "service" / "page"
VIEWS = sorted(path.name for path in (FOLDER / "views").iterdir() if path.is_dir())
"""The views, which are also the names of their folders."""
MOST_BYTES = 150_000


def test_all_files_together_are_small() -> None:
    files = [path for path in FOLDER.rglob("*") if path.is_file() and path.suffix != ".py"]
    sizes = {path.name: path.stat().st_size for path in files if path.suffix != ".pyc"}
    assert sum(sizes.values()) < MOST_BYTES, sizes


@pytest.mark.parametrize("locale", ["en-US", "zh-CN"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("view", VIEWS)
def test_views_are_accessible(visits: Visits, view: str, scheme: str, locale: str) -> None:
    visit = visits(color_scheme=scheme, locale=locale)
    page = visit.go(view)
    assert visit.violations() == []
    assert page.evaluate("document.documentElement.lang") == locale[:2]


@pytest.mark.parametrize("view", VIEWS)
def test_narrow_screens_need_no_sideways_scrolling(visits: Visits, view: str) -> None:
    page = visits(viewport={"width": 390, "height": 844}).go(view)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_languages_have_the_same_texts(visit: Visit) -> None:
    page = visit.go()
    for name in ("shell_words.js", "jobs/words.js", *(f"views/{view}/words.js" for view in VIEWS)):
        keys = page.evaluate(
            "async (name) => Object.values((await import(`./page/${name}`)).words).map("
            "(texts) => Object.keys(texts).sort())",
            name,
        )
        assert len(keys) == 2
        assert keys[0] == keys[1], name


@pytest.mark.quick
def test_the_page_draws(visit: Visit) -> None:
    page = visit.go()
    page.get_by_label("Prompt", exact=True).fill("a tiger")
    page.keyboard.press("Enter")
    page.locator("img[src^=blob]").first.wait_for()
