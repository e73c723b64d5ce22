"""The page on other doors: one that requires keys, and one below a path prefix."""

from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import expect

from service.local.stack_secrets import OPERATOR_KEY
from tests.service.page.conftest import EMOJI, Visits
from tests.service.page.prefix_proxy import below
from tests.service.page.test_draw import finished, submit
from tests.stack.up import Up

pytestmark = [pytest.mark.page, pytest.mark.needs("chromium")]


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Run a stack that requires API keys; return its address and a key."""
    data = tmp_path_factory.mktemp("keyed") / "data"
    stack = Up(data, EMOJI, "--door", "uvicorn", auth="keys")
    try:
        url = stack.ready(timeout_s=240)
        yield url, (data / OPERATOR_KEY).read_text().strip()
    finally:
        stack.end()


def test_the_key_is_asked_for_kept_and_forgotten(visits: Visits, keyed: tuple[str, str]) -> None:
    url, text = keyed
    visit = visits(url)
    page = visit.go()
    field = page.get_by_role("dialog").get_by_label("API key")
    expect(field).to_be_focused()
    field.fill("sfu_wrong")
    page.keyboard.press("Enter")
    expect(page.get_by_text("The service does not accept this key.")).to_be_visible()
    field.fill(text)
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_hidden()
    card = submit(page, "a tiger")
    finished(card)
    page.reload()
    finished(page.get_by_role("article"))
    assert page.evaluate("localStorage.getItem('sfumato.key')") is None
    other = visit.opened()
    other.goto(visit.url)
    dialog = other.get_by_role("dialog")
    dialog.get_by_label("API key").fill(text)
    dialog.get_by_label("Remember").check()
    dialog.get_by_role("button", name="Use this key").click()
    other.get_by_label("Prompt", exact=True).wait_for()
    assert other.evaluate("localStorage.getItem('sfumato.key')") == text
    other.get_by_role("button", name="API key").click()
    other.get_by_role("button", name="Forget it").click()
    assert other.evaluate("localStorage.getItem('sfumato.key')") is None
    assert visit.violations() == []
    visit.expect_errors("401")


def test_the_key_is_in_no_address(visits: Visits, keyed: tuple[str, str]) -> None:
    url, text = keyed
    visit = visits(url)
    page = visit.go()
    page.get_by_role("dialog").get_by_label("API key").fill(text)
    page.keyboard.press("Enter")
    finished(submit(page, "panda"))
    assert not [address for address in visit.requests if text in address]
    page.get_by_role("link", name="Gallery").click()
    page.get_by_role("link", name="panda").click()
    page.get_by_role("button", name="Copy as curl").click()
    expect(page.locator("pre")).to_contain_text("$SFUMATO_API_KEY")
    expect(page.locator("pre")).not_to_contain_text(text)
    visit.expect_errors("401")


def test_the_page_works_below_a_path_prefix(visits: Visits, url: str) -> None:
    with below("/a/draw", url) as address:
        visit = visits(address)
        page = visit.go()
        finished(submit(page, "a tiger", Steps="5"))
        page.get_by_role("link", name="Gallery").click()
        page.get_by_role("link", name="a tiger").click()
        expect(page.get_by_role("img")).to_have_js_property("naturalWidth", 64)
        assert all("/a/draw/" in each for each in visit.requests if not each.startswith("blob:")
                   and not each.startswith("data:"))  # fmt: skip
        visit.context.close()
        assert httpx.get(address.replace("/a/draw", "/"), timeout=60).status_code == 404
