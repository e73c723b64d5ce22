"""The page around the views: it loads little, speaks two languages and leaves nobody out."""

import json
from pathlib import Path

import pytest

from tests.service.page.browser import Visit
from tests.service.page.conftest import EMOJI, Visits
from tests.service.page.test_draw import finished, submit

pytestmark = [pytest.mark.page, pytest.mark.needs("chromium")]
FOLDER = Path(__file__).parents[3] / "service" / "page"
VIEWS = sorted(path.name for path in (FOLDER / "views").iterdir() if path.is_dir())
"""The views, which are also the names of their folders."""


@pytest.mark.parametrize("locale", ["en-US", "zh-CN"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("view", VIEWS)
def test_views_are_accessible(visits: Visits, view: str, scheme: str, locale: str) -> None:
    visit = visits(color_scheme=scheme, locale=locale)
    page = visit.go(view)
    assert visit.violations() == []
    assert page.evaluate("document.documentElement.lang") == locale[:2]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_views_with_pictures_are_accessible(visits: Visits, scheme: str) -> None:
    visit = visits(color_scheme=scheme, reduced_motion="reduce")
    page = visit.go()
    page.locator("summary").click()
    submit(page, "a tiger", Steps="300")
    finished(submit(page, "panda", Steps="3"))
    assert visit.violations() == []
    page.get_by_role("link", name="Gallery").click()
    page.get_by_role("link", name="panda").wait_for()
    assert visit.violations() == []
    page.get_by_role("link", name="panda").click()
    page.get_by_role("button", name="Copy as curl").click()
    page.get_by_role("button", name="Delete", exact=True).click()
    assert visit.violations() == []


@pytest.mark.parametrize("address", ["#/nowhere", "#", "#/draw/%", "#/gallery/nobody", "#//"])
def test_any_address_shows_a_view(visit: Visit, address: str) -> None:
    visit.page.goto(visit.url + address)
    visit.page.locator(".view").wait_for(state="attached")


def test_the_number_of_emoji_is_the_models(visit: Visit) -> None:
    training = json.loads((EMOJI / "training.json").read_text())
    visit.go().get_by_text(f"learned {training['settings']['emoji']} emoji").wait_for()


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


def test_the_page_draws(visit: Visit) -> None:
    page = visit.go()
    page.get_by_label("Prompt", exact=True).fill("a tiger")
    page.keyboard.press("Enter")
    page.locator("img[src^=blob]").first.wait_for()
