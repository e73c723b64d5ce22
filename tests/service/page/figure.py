"""The README's picture of the page: ``python -m tests.service.page.figure`` draws it anew."""

import re
import sys
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image
from playwright.sync_api import Page

from tests.service.page.browser import Visit, chromium
from tests.service.page.conftest import EMOJI
from tests.stack.up import Up

FIGURE = Path(__file__).parents[3] / "docs" / "figures" / "page.png"
DONE = {"green apple": 2, "panda": 3, "red heart": 2}
"""Prompts with their seeds."""
UNDER_WAY = {"cat face": 60, "octopus": 250, "a tiger": 1000}
"""Prompts with so many steps that they are at different places when the picture is taken."""
SIZE = {"width": 1280, "height": 1000}
COLOURS = 255  # of the file


def submit(page: Page, prompt: str, seed: int, steps: int) -> None:
    """Submit a job through the form."""
    page.locator("#draw-prompt").fill(prompt)
    for name, value in (("seed", seed), ("num_inference_steps", steps)):
        page.locator(f"#draw-{name}").fill(str(value))
    page.locator("#draw-prompt").press("Enter")
    page.get_by_role("article").filter(has_text=prompt).locator("img").wait_for()


def draw(url: str) -> bytes:
    """Return a picture of the page at work, as PNG."""
    with chromium() as browser:
        visit = Visit(browser, url, viewport=SIZE)
        page = visit.go()
        page.locator("summary").click()
        for prompt, seed in DONE.items():
            submit(page, prompt, seed, 15)
            page.locator("img[src^=blob]").nth(list(DONE).index(prompt)).wait_for()
        for prompt, steps in UNDER_WAY.items():
            submit(page, prompt, 4, steps)
        page.get_by_text(re.compile(r"Step ([3-9]|\d\d+) of 1000")).wait_for()
        page.locator("#draw-num_inference_steps").fill("")
        page.locator("summary").click()
        page.evaluate("scrollTo(0, 0)")
        return page.screenshot()


def main() -> int:
    """Start a stack, take the picture, stop the stack."""
    with TemporaryDirectory() as folder:
        stack = Up(Path(folder), EMOJI, "--door", "uvicorn")
        try:
            data = draw(stack.ready())
        finally:
            stack.end()
    picture = Image.open(BytesIO(data)).convert("RGB")
    dithered = picture.quantize(palette=picture.quantize(COLOURS))
    dithered.save(FIGURE, optimize=True)
    print(f"{FIGURE}: {FIGURE.stat().st_size} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
