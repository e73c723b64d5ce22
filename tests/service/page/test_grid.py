"""Two parameters against each other: a grid of jobs, kept, downloaded and used again."""

import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from tests.service.page.browser import Visit

pytestmark = [pytest.mark.page, pytest.mark.needs("chromium")]
CELLS = """async ([x, y, prompt]) => {
    const {axisOf, cellsOf} = await import("./page/views/grid/axes.js");
    const axes = [["x", ...x], ["y", ...y]].map((each) => axisOf(...each, prompt));
    return cellsOf(...axes, {prompt}).map(({request}) => request);
}"""


def fill(page: Page, prompt: str, x: tuple[str, str], y: tuple[str, str] = ("nothing", "")) -> None:
    """Fill the form: each axis is a parameter and the text of its values."""
    page.get_by_label("Prompt", exact=True).fill(prompt)
    for place, name, (parameter, values) in (("Across", "across", x), ("Down", "down", y)):
        page.get_by_label(place, exact=True).select_option(label=parameter)
        if values:
            page.get_by_label(f"Values {name}").fill(values)


def draw(page: Page, cells: int) -> None:
    """Draw so many cells, and wait for all."""
    page.get_by_role("button", name=f"Draw {cells} cells").click()
    expect(page.get_by_text(f"{cells} of {cells} cells drawn")).to_be_visible(timeout=60_000)


def requests(url: str, count: int) -> list[dict[str, Any]]:
    """Return the requests of the newest jobs, in their order."""
    listed = httpx.get(f"{url}/v1/jobs", params={"limit": count}, timeout=60).json()["jobs"]
    return [job["request"] for job in reversed(listed)]


@pytest.mark.parametrize(
    ("x", "y", "prompt", "wanted"),
    [
        (
            ("steps", "2, 4"), ("guidance", "1，1.5"), "a",
            [
                {"prompt": "a", "num_inference_steps": steps, "guidance_scale": scale}
                for scale in (1, 1.5)
                for steps in (2, 4)
            ],
        ),
        (
            ("words", "red,蓝"), ("words", "cat,dog"), "{x} {y}",
            [{"prompt": text} for text in ("red cat", "蓝 cat", "red dog", "蓝 dog")],
        ),
        (("seed", "7"), ("", ""), "a", [{"prompt": "a", "seed": 7}]),
    ],
)  # fmt: skip
def test_each_cell_is_a_request(
    visit: Visit,
    x: tuple[str, str],
    y: tuple[str, str],
    prompt: str,
    wanted: list[dict[str, Any]],
) -> None:
    assert visit.go("grid").evaluate(CELLS, [x, y, prompt]) == wanted


def test_a_grid_is_drawn_and_kept_and_downloaded(visit: Visit, url: str, tmp_path: Path) -> None:
    page = visit.go("grid")
    fill(page, "{y}", ("steps", "2, 3, 4"), ("words of the prompt", "red heart, panda"))
    draw(page, 6)
    found = requests(url, 6)
    assert [each["num_inference_steps"] for each in found] == [2, 3, 4, 2, 3, 4]
    assert [each["prompt"] for each in found] == ["red heart"] * 3 + ["panda"] * 3
    assert len({each["seed"] for each in found}) == 1
    assert visit.violations() == []

    page.reload()
    expect(page.get_by_text("6 of 6 cells drawn")).to_be_visible()
    expect(page.locator("td img[src^=blob]")).to_have_count(6)
    with page.expect_download() as download:
        page.get_by_role("button", name="Download as one picture").click()
    path = tmp_path / "grid.png"
    download.value.save_as(path)
    with Image.open(path) as sheet:
        assert sheet.height == 36 + 2 * 136
        assert sheet.width > 3 * 136
        corner = sheet.convert("RGB").crop((sheet.width - 136, 36, sheet.width - 8, 164))
    assert len(corner.getcolors(128 * 128) or ()) > 20


def test_a_cell_is_used_in_draw(visit: Visit) -> None:
    page = visit.go("grid")
    fill(page, "a tiger", ("steps", "2, 5"))
    draw(page, 2)
    page.get_by_role("button", name="Use in Draw: steps 5").click()
    expect(page.get_by_label("Prompt", exact=True)).to_have_value("a tiger")
    expect(page.get_by_label("Steps", exact=True)).to_have_value("5")


@pytest.mark.parametrize(
    ("x", "y", "field", "reason"),
    [
        (("steps", "2, x"), ("nothing", ""), "across", "“x” is not a value"),
        (("steps", "2, 2"), ("nothing", ""), "across", "twice"),
        (("steps", "2"), ("sampler", "euler, eular"), "down", "“eular” is not a value"),
        (("words of the prompt", "red, blue"), ("nothing", ""), "across", "no {x}"),
        (("steps", "2, 3"), ("steps", "4"), "down", "across already"),
        (("seed", ",".join(map(str, range(65)))), ("nothing", ""), "across", "65 cells"),
    ],
)
def test_what_is_wrong_is_said_at_its_field(
    visit: Visit, x: tuple[str, str], y: tuple[str, str], field: str, reason: str
) -> None:
    page = visit.go("grid")
    fill(page, "a tiger", x, y)
    page.get_by_role("button", name=re.compile("^Draw ")).click()
    wrong = page.get_by_label(f"Values {field}")
    expect(wrong).to_be_focused()
    expect(wrong).to_have_attribute("aria-invalid", "true")
    expect(wrong).to_have_accessible_description(re.compile(re.escape(reason)))


def test_what_the_service_refuses_is_said_at_its_field(visit: Visit) -> None:
    page = visit.go("grid")
    fill(page, "a tiger", ("eta", "0, 1"))
    page.get_by_role("button", name="Draw 2 cells").click()
    expect(page.get_by_label("Values across")).to_have_accessible_description(
        re.compile("does not use eta")
    )
    expect(page.locator("table")).to_be_hidden()
    visit.expect_errors("422")


def test_a_grid_is_canceled(visit: Visit) -> None:
    page = visit.go("grid")
    fill(page, "a tiger", ("steps", "900, 901"), ("seed", "1, 2, 3"))
    page.get_by_role("button", name="Draw 6 cells").click()
    page.get_by_role("button", name="Cancel", exact=True).click()
    expect(page.locator("td .hint").first).to_have_text("Cancelled")
    expect(page.get_by_role("button", name="Cancel", exact=True)).to_be_hidden()
