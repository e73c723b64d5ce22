"""Make the figures of docs/diffusion: what See the diffusion draws, as a browser shows it.

Run `python -m tests.service.page.see_figures` once the included model or the page has changed.
"""

from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image
from playwright.sync_api import Page

from tests.service.page.browser import Visit, chromium
from tests.service.page.conftest import EMOJI
from tests.stack.up import Up

FIGURES = Path(__file__).parents[3] / "docs" / "figures"
FIGURE = {
    "forward": (".see-forward", 1200),
    "steps": (".see-large", 1200),
    "ancestral": (".see-groups", 780),
    "onestep": (".see-groups", 780),
}
"""The part of each question's page that is its figure, and the width of the window."""
LOOK = 4
"""Which of the looks at a drawing is shown large."""


def main() -> None:
    """Start the service, draw, and save the figures."""
    with TemporaryDirectory(prefix="sfumato-") as folder:
        running = Up(Path(folder) / "data", EMOJI, "--door", "uvicorn")
        try:
            with chromium() as browser:
                visit = Visit(browser, running.ready())
                for question, (part, width) in FIGURE.items():
                    visit.page.set_viewport_size({"width": width, "height": 900})
                    page = visit.go(f"see/{question}")
                    drawn(page, question)
                    save(page.locator(part).screenshot(), FIGURES / f"see-{question}.png")
                visit.check()
        finally:
            running.end()


def drawn(page: Page, question: str) -> None:
    """Draw what the question asks for."""
    page.get_by_role("button", name="Draw it").click()
    page.get_by_text("Drawn.", exact=True).wait_for(timeout=120_000)
    if question == "steps":
        page.locator(".see-strip div").nth(LOOK).click()


def save(png: bytes, path: Path) -> None:
    """Save a screenshot with 256 colours."""
    image = Image.open(BytesIO(png)).convert("RGB")
    image.quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)


if __name__ == "__main__":
    main()
