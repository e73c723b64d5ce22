"""See the diffusion, in a browser: every question is answered, and drawn only when it is asked."""

import json
import re
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import FilePayload, Page, Request, Response, Route, expect

from diffusion.schedules.vp import VPSchedule
from tests.processes import wait
from tests.service.page.browser import Visit
from tests.service.page.conftest import EMOJI, Visits

pytestmark = [pytest.mark.page, pytest.mark.needs("chromium")]
FOLDER = Path(__file__).parents[3] / "service" / "page" / "views" / "see"
QUESTIONS = sorted(path.stem for path in (FOLDER / "questions").glob("*.js"))
DOCS = Path(__file__).parents[3] / "docs"


def ask(visit: Visit, question: str) -> Page:
    """Open a question; return the page once it has its answer."""
    page = visit.go(f"see/{question}")
    page.get_by_role("heading", name="What to notice").wait_for()
    return page


def draw(page: Page, prompt: str) -> None:
    """Ask for the pictures of a question."""
    page.get_by_label("Prompt", exact=True).fill(prompt)
    page.keyboard.press("Enter")
    status = page.locator(".see-form [role=status]")
    expect(status).to_have_text(re.compile(r"^(Drawing…|Drawn\.)$"))


def drawn(page: Page) -> None:
    """Wait until all pictures are there."""
    expect(page.get_by_text("Drawn.", exact=True)).to_be_visible(timeout=150_000)


def png(colour: str, width: int = 100, height: int = 50) -> FilePayload:
    out = BytesIO()
    Image.new("RGB", (width, height), colour).save(out, "PNG")
    return {"name": "picture.png", "mimeType": "image/png", "buffer": out.getvalue()}


def middle(page: Page) -> list[int]:
    """Return the colour in the middle of the large picture."""
    pixel: list[int] = page.locator(".see-forward canvas").evaluate(
        "(node) => [...node.getContext('2d').getImageData(32, 32, 1, 1).data]"
    )
    return pixel[:3]


@pytest.mark.parametrize("locale", ["en-US", "zh-CN"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_question_is_for_everyone(visits: Visits, scheme: str, locale: str) -> None:
    visit = visits(color_scheme=scheme, locale=locale, viewport={"width": 390, "height": 844})
    for question in QUESTIONS:
        page = visit.go(f"see/{question}")
        page.locator(".see-notice").wait_for()
        assert visit.violations() == [], question
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, question
        unsaid = rf"\{{\w+\}}|\b(?:see|{question})\.\w+|undefined|NaN"
        assert re.findall(unsaid, page.inner_text("main")) == []


def test_the_list_leads_through_every_question(visit: Visit) -> None:
    page = visit.go("see")
    assert page.locator(".see-list a").count() == len(QUESTIONS)
    page.locator(".see-list a").first.click()
    titles = []
    for _ in QUESTIONS:
        page.get_by_role("heading", name="What to notice").wait_for()
        titles.append(page.inner_text("h1"))
        expect(page).to_have_title(f"{titles[-1]} · Sfumato")
        following = page.locator("a.button")
        expect(following).not_to_have_text(f"Next: {titles[-1]}")
        following.click()
        expect(page.locator("h1")).not_to_have_text(titles[-1])
    assert len(set(titles)) == len(QUESTIONS)


def test_questions_have_the_same_texts_in_each_language(visit: Visit) -> None:
    page = visit.go("see")
    for question in QUESTIONS:
        texts = page.evaluate(
            "async (name) => (await import(`./page/views/see/questions/${name}.js`)).words",
            question,
        )
        assert texts["en"].keys() == texts["zh"].keys()
        for key, text in texts["en"].items():
            holes = [set(re.findall(r"\{\w+\}", each)) for each in (text, texts["zh"][key])]
            assert holes[0] == holes[1], key


def test_the_schedule_is_the_included_models(visit: Visit) -> None:
    config = json.loads((EMOJI / "scheduler" / "scheduler_config.json").read_text())
    expected = 1 / (1 + VPSchedule.from_config(config).sigmas ** 2)
    alphas = visit.go("see").evaluate(
        "async () => (await import('./page/views/see/parts/schedule.js')).alphasCumprod()"
    )
    assert alphas[0] == 1
    assert alphas[1:] == pytest.approx(list(expected), rel=1e-12)


def test_noise_is_gaussian_and_its_share_is_right(visit: Visit) -> None:
    spread = visit.go("see").evaluate(
        """async () => {
          const { gaussian, noised } = await import("./page/views/see/parts/noise.js");
          const noise = gaussian(3 * 200 * 200, 5);
          const grey = new ImageData(new Uint8ClampedArray(4 * 200 * 200).fill(128), 200, 200);
          const mixed = noised(grey, noise, 0.99).data.filter((_, n) => n % 4 < 3);
          const deviation = (values) => {
            const mean = values.reduce((sum, each) => sum + each, 0) / values.length;
            const squares = values.reduce((sum, each) => sum + (each - mean) ** 2, 0);
            return [mean, Math.sqrt(squares / values.length)];
          };
          return [...deviation(noise), ...deviation(Float64Array.from(mixed))];
        }"""
    )
    assert spread == pytest.approx([0, 1, 128, 127.5 * 0.1], abs=0.5)
    assert spread[:2] == pytest.approx([0, 1], abs=0.01)


def test_noise_comes_with_the_timestep_by_keyboard(visit: Visit) -> None:
    page = ask(visit, "forward")
    page.locator("input[type=file]").set_input_files(png("#2040c0"))
    timestep = page.get_by_label("Timestep t")
    timestep.focus()
    page.keyboard.press("Home")
    expect(page.get_by_text("x = 1.000 · x₀ + 0.000 · ε")).to_be_visible()
    expect(timestep).to_have_attribute("aria-valuetext", "0: ᾱ = 1.0000, signal to noise ∞ dB")
    expect(page.locator(".see-forward canvas")).to_be_visible()
    wait("the file's picture", lambda: middle(page) == [0x20, 0x40, 0xC0])
    page.keyboard.press("End")
    expect(timestep).to_have_attribute(
        "aria-valuetext", "1000: ᾱ = 0.0047, signal to noise −23.3 dB"
    )
    before = middle(page)
    assert before != [0x20, 0x40, 0xC0]
    page.get_by_role("button", name="New noise").click()
    assert middle(page) != before


def test_a_file_that_is_no_picture_is_said(visit: Visit) -> None:
    page = ask(visit, "forward")
    broken: FilePayload = {"name": "a.png", "mimeType": "image/png", "buffer": b"no picture"}
    page.locator("input[type=file]").set_input_files(broken)
    expect(page.get_by_role("alert").filter(has_text="This file is no picture.")).to_be_visible()
    page.locator("input[type=file]").set_input_files(png("white"))
    expect(page.get_by_text("This file is no picture.")).to_be_hidden()


def test_noise_is_put_on_a_picture_that_is_drawn(visit: Visit) -> None:
    page = ask(visit, "forward")
    page.get_by_label("Timestep t").press("Home")
    before = middle(page)
    draw(page, "a tiger")
    drawn(page)
    wait("the picture", lambda: middle(page) != before)


def test_each_step_shows_what_the_network_sees_and_says(visit: Visit) -> None:
    page = ask(visit, "steps")
    draw(page, "fruit")
    drawn(page)
    small = page.locator(".see-strip img:not([hidden])")
    expect(small).to_have_count(18)
    assert len({image.get_attribute("src") for image in small.all()}) > 14
    page.get_by_role("button", name=re.compile("Play|Pause")).wait_for()
    step = page.get_by_label("Step", exact=True)
    step.press("Home")
    expect(step).to_have_attribute("aria-valuetext", "1 of 50")
    first = page.get_by_alt_text("What it sees, 1 of 50")
    assert first.get_attribute("src") == small.first.get_attribute("src")
    step.press("ArrowRight")
    expect(page.get_by_alt_text("What it says, 6 of 50")).to_be_visible()


def test_pictures_are_drawn_when_asked_for_and_stay_out_of_the_gallery(visit: Visit) -> None:
    page = ask(visit, "onestep")
    expect(page.locator(".see-plate img:not([hidden])")).to_have_count(0)
    assert not [url for url in visit.requests if url.endswith("/v1/jobs")]
    draw(page, "fruit")
    drawn(page)
    pictures = page.locator(".see-plate img[src^=blob]")
    expect(pictures).to_have_count(6)
    expect(pictures.first).to_have_js_property("naturalWidth", 64)
    page.get_by_role("link", name="Gallery").click()
    expect(page.get_by_text("Nothing has been drawn in this browser yet.")).to_be_visible()
    page.go_back()
    expect(page.locator(".see-plate img[src^=blob]")).to_have_count(6)
    page.get_by_role("button", name="a tiger").click()
    expect(page.locator(".see-plate img:not([hidden])")).to_have_count(0)


def test_every_sampler_is_drawn(visit: Visit) -> None:
    page = ask(visit, "samplers")
    names = page.evaluate("async () => (await (await fetch('v1/samplers')).json()).samplers")
    assert page.locator(".see-group").count() == len(names)
    draw(page, "a tiger")
    drawn(page)
    expect(page.locator(".see-plate img[src^=blob]")).to_have_count(3 * len(names))


def test_a_long_drawing_is_finished_early_or_stopped(visit: Visit) -> None:
    page = ask(visit, "thousand")
    expect(page.get_by_text("evaluations of the network: 2080")).to_be_visible()
    draw(page, "a tiger")
    expect(page.get_by_text(re.compile("step [0-9]+ of 1000"))).to_be_visible(timeout=60_000)
    page.get_by_role("button", name="Finish now").click()
    expect(page.get_by_text(re.compile("finished at step [0-9]+"))).to_be_visible(timeout=60_000)
    drawn(page)
    draw(page, "a tiger")
    expect(page.get_by_text(re.compile("step [0-9]+ of 1000"))).to_be_visible(timeout=60_000)
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_text("Stopped.", exact=True)).to_be_visible()


def is_longest(request: Request) -> bool:
    """Return whether a request submits the job of a thousand steps."""
    sent = request.post_data_json if request.url.endswith("/v1/jobs") else None
    return sent is not None and sent["num_inference_steps"] == 1000


def cancels_longest(response: Response) -> bool:
    """Return whether it is the answer to a cancellation of that job."""
    asked = response.url.endswith("/cancel")
    return asked and response.json()["request"]["num_inference_steps"] == 1000


def test_leaving_a_question_cancels_its_jobs(visit: Visit) -> None:
    page = ask(visit, "thousand")
    with page.expect_response(lambda response: is_longest(response.request)) as submitted:
        draw(page, "panda")
    job = submitted.value.json()["id"]
    page.get_by_text(re.compile("step [0-9]+ of 1000")).wait_for()
    page.get_by_role("link", name="All questions").click()
    page.get_by_role("heading", name="See the diffusion").wait_for()
    status = "async (id) => (await (await fetch(`v1/jobs/${id}`)).json()).status"
    wait("the job's end", lambda: page.evaluate(status, job) not in ("queued", "running"))
    assert page.evaluate(status, job) == "canceled"


def test_leaving_a_question_cancels_what_is_on_its_way(visit: Visit) -> None:
    page = ask(visit, "thousand")
    held: list[Route] = []
    page.route(
        "**/v1/jobs",
        lambda route: held.append(route) if is_longest(route.request) else route.continue_(),
    )
    draw(page, "panda")
    while not held:
        page.wait_for_timeout(50)
    page.get_by_role("link", name="All questions").click()
    page.get_by_role("heading", name="See the diffusion").wait_for()
    with page.expect_response(cancels_longest) as canceled:
        for route in held:
            route.continue_()
    assert canceled.value.json()["status"] == "canceled"


def test_a_service_without_a_model_is_said(visit: Visit) -> None:
    visit.page.route("**/v1/models", lambda route: route.fulfill(json={"models": []}))
    page = ask(visit, "guidance")
    expect(page.get_by_text("There is no model to draw with yet.")).to_be_visible()


def test_a_refusal_is_said(visit: Visit) -> None:
    page = ask(visit, "guidance")
    problem = {"status": 422, "code": "invalid_request", "detail": "no such guidance"}
    page.route("**/v1/jobs", lambda route: route.fulfill(status=422, json=problem))
    page.get_by_role("button", name="Draw it").click()
    expect(page.get_by_text("no such guidance")).to_be_visible()
    visit.expect_errors("422")


def test_figures_are_those_of_the_documentation(visit: Visit) -> None:
    page = visit.go("see")

    def values(question: str) -> dict[str, str | float]:
        found: dict[str, str | float] = page.evaluate(
            "async (name) => (await import(`./page/views/see/questions/${name}.js`)).values",
            question,
        )
        return found

    cells = json.loads((DOCS / "figures" / "quality.json").read_text())["cells"]
    quality = {(cell["sampler"], cell["steps"]): cell for cell in cells}
    assert {cell["drawings"] for cell in cells if cell["steps"] <= 50} == {40}

    def right(sampler: str, steps: int) -> int:
        return round(40 * float(quality[sampler, steps]["top1"]))

    def psnr_db(sampler: str, steps: int) -> str:
        return f"{quality[sampler, steps]['psnr_db']:.1f}"

    assert values("ancestral") == {
        "ancestral": right("euler_ancestral", 50),
        "euler": right("euler", 50),
    }
    assert values("thousand") == {
        "long": right("ddpm", 50),
        "longDb": psnr_db("ddpm", 50),
        "short": right("ddim", 15),
        "shortDb": psnr_db("ddim", 15),
    }
    rows = dict(
        re.findall(r"^\| ([^|]+) \|(.+)\|$", (DOCS / "one-step.md").read_text(), re.MULTILINE)
    )
    one, many = (
        [float(number) for number in rows[name].split("|")]
        for name in ("regression, 1 step", "diffusion, 15 steps")
    )
    assert values("onestep") == {
        "label": f"{100 * one[1]:.4g} %",
        "labels": f"{100 * many[1]:.4g} %",
        "tag": f"{100 * one[4]:.4g} %",
        "tags": f"{100 * many[4]:.4g} %",
        "spread": one[6],
        "spreads": many[6],
    }
