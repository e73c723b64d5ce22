"""Chromium, and visits of the page that remember what went wrong."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from tests.needs import path_of

ARGS = (
    "--disable-background-networking", "--disable-component-update", "--disable-gpu",
    "--disable-quic", "--disable-sync", "--no-first-run", "--no-sandbox",
)  # fmt: skip

WAIT_MS = 60_000
"""The longest wait for something to appear, on a machine that is busy with other tests."""
START_MS = 180_000
FORMER = (
    """() => document.querySelectorAll(".view").forEach((each) => { each.dataset.former = ""; })"""
)


@contextmanager
def chromium(**variables: str) -> Iterator[Browser]:
    """Yield a browser with a profile and environment variables of its own, gone afterwards.

    While it is open no other event loop can run in the same thread.
    """
    expect.set_options(timeout=WAIT_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path_of("chromium"),
            args=[*ARGS],
            env={**os.environ, **variables},
            timeout=START_MS,
        )
        try:
            yield browser
        finally:
            browser.close()


class Visit:
    """A page in a context of its own: storage, language and colour scheme."""

    def __init__(self, browser: Browser, url: str, **options: Any) -> None:
        """``url`` is the service's; ``options`` are Playwright's for a new context."""
        self.url = url.rstrip("/") + "/"
        self.context = browser.new_context(**({"locale": "en-US"} | options))
        self.context.set_default_timeout(WAIT_MS)
        self.errors: list[str] = []
        self.expected: list[str] = []
        self.requests: list[str] = []
        self.page = self.opened()

    def opened(self) -> Page:
        """Return a further tab of the same visitor."""
        page = self.context.new_page()
        page.on("console", self._heard)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))
        return page

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.errors.append(f"{message.text} ({message.location['url']})")

    def go(self, view: str = "draw") -> Page:
        """Open a view; return the page once it is there."""
        address = f"{self.url}#/{view}"
        if self.page.url != address:
            self.page.evaluate(FORMER)  # a change of the part after # leaves them for a moment
        self.page.goto(address)
        shown = f".view.{view.partition('/')[0]}:not([data-former])"
        self.page.locator(shown).wait_for(state="attached")
        return self.page

    def expect_errors(self, pattern: str) -> None:
        """Leave the errors of this pattern out of the check; there is at least one by now."""
        assert [error for error in self.errors if re.search(pattern, error)], self.errors
        self.expected.append(pattern)

    def check(self) -> None:
        """Check that nothing was said to the console, and no other host asked for anything."""
        expected = re.compile("|".join(self.expected) or "(?!)")
        assert [error for error in self.errors if not expected.search(error)] == []
        own = urlsplit(self.url).netloc
        web = [url for url in self.requests if not url.startswith(("data:", "blob:"))]
        assert [url for url in web if urlsplit(url).netloc != own] == []

    def violations(self) -> list[str]:
        """Return what axe finds on the page as it is."""
        found = Axe().run(self.page).response["violations"]
        return [
            f"{rule['id']}: {node['html'][:200]} {node['failureSummary'][:300]}"
            for rule in found
            for node in rule["nodes"]
        ]
