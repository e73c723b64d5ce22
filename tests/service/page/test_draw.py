"""Draw, in a browser: jobs go in, pictures come out, and nothing on the way is lost."""

import os
import re
import signal

import httpx
import pytest
from playwright.sync_api import Locator, Page, Route, expect

from jobs.schema import MAX_PROMPT_CHARS
from tests.processes import wait
from tests.service.page.browser import Visit
from tests.service.page.conftest import Visits
from tests.stack.up import Up

pytestmark = [pytest.mark.page, pytest.mark.needs("chromium")]
LONG = "1000"
"""Steps of a job that is still running when the test has done something to it."""
HISTORY = """() => {
    window.sources = new Set();
    window.texts = new Set();
    new MutationObserver((records) => {
        for (const { oldValue, addedNodes } of records) {
            if (oldValue) sources.add(oldValue);
            for (const node of addedNodes) if (node.data) texts.add(node.data);
        }
        for (const image of document.querySelectorAll("article img")) sources.add(image.src);
    }).observe(document.body, {
        subtree: true, childList: true, attributeFilter: ["src"], attributeOldValue: true,
    });
}"""
"""Keeps what the cards have shown, however short a time."""


def submit(page: Page, prompt: str, **fields: str) -> Locator:
    """Fill the form and submit it; return the job's card."""
    page.get_by_label("Prompt", exact=True).fill(prompt)
    if fields and not page.get_by_label("Steps").is_visible():
        page.locator("summary").click()
    for label, value in fields.items():
        page.get_by_label(label, exact=True).fill(value)
    page.get_by_role("button", name="Draw", exact=True).click()
    card = page.get_by_role("article").filter(has_text=prompt)
    card.wait_for()
    return card


def source(card: Locator) -> str:
    """Return the address of a card's picture once it has one."""
    return str(card.locator("img").first.get_attribute("src"))


def finished(card: Locator) -> None:
    """Wait for a card's picture, and see that it is one."""
    image = card.locator("img[src^=blob]").first
    image.wait_for()
    expect(image).to_have_js_property("naturalWidth", 64)
    expect(card).to_contain_text("Seed")


def end_now(visit: Visit, card: Locator) -> None:
    """Have a card's job end, unless it has by itself."""
    job = card.get_attribute("data-id")
    assert httpx.post(f"{visit.url}v1/jobs/{job}/finish", timeout=60).status_code == 200


@pytest.mark.quick
def test_previews_change_and_become_the_picture(visit: Visit) -> None:
    page = visit.go()
    page.evaluate(HISTORY)
    card = submit(page, "a tiger", Steps=LONG)
    wait("previews", lambda: page.evaluate("sources.size") >= 3)
    end_now(visit, card)
    finished(card)
    sources, texts = page.evaluate("[[...sources], [...texts]]")
    assert all(source.startswith("data:image/webp") for source in sources[:2])
    assert sources[-1].startswith("blob:")
    assert [text for text in texts if re.match(rf"Step \d+ of {LONG}", text)]


def test_several_jobs_share_one_stream(visit: Visit) -> None:
    page = visit.go()
    cards = [submit(page, prompt, Steps="40") for prompt in ("panda", "pizza", "octopus")]
    for card in cards:
        finished(card)
    follows = [url for url in visit.requests if "/v1/events?" in url]
    assert follows[-1].count("job=") <= 3
    assert not [url for url in visit.requests if re.search(r"/v1/jobs/\w+/events", url)]


def test_a_job_goes_on_after_a_reload(visit: Visit) -> None:
    page = visit.go()
    submit(page, "a tiger", Steps=LONG)
    page.reload()
    card = page.get_by_role("article")
    expect(card).to_contain_text("Step")
    before = source(card)
    expect(card.locator("img")).not_to_have_attribute("src", before)
    card.get_by_role("button", name="Cancel").click()
    expect(card).to_contain_text("Cancelled")


def test_finishing_early_keeps_the_estimate(visit: Visit) -> None:
    card = submit(visit.go(), "red heart", Steps=LONG)
    card.get_by_role("button", name="Finish now").click()
    finished(card)
    expect(card).to_contain_text("Ended early, at step")


def test_an_answer_that_the_end_has_overtaken_changes_nothing(visit: Visit) -> None:
    page = visit.go()
    card = submit(page, "panda", Steps=LONG)
    card.get_by_role("button", name="Finish now").wait_for()
    job = card.get_attribute("data-id")
    running = httpx.get(f"{visit.url}v1/jobs/{job}", timeout=60).json()

    def late(route: Route) -> None:
        route.fetch()
        page.get_by_text("Ended early").wait_for()
        route.fulfill(json=running)  # what the service may have written just before the end

    page.route("**/finish", late)
    with page.expect_response("**/finish") as answered:
        card.get_by_role("button", name="Finish now").click()
    assert answered.value.json()["status"] == "running"
    finished(card)
    expect(card).to_contain_text("Ended early")


def test_a_door_that_restarts_is_said_and_the_job_goes_on(visit: Visit, stack: Up) -> None:
    page = visit.go()
    card = submit(page, "panda", Steps=LONG)
    expect(card).to_contain_text("Step")
    card.locator("img").wait_for()
    os.kill(stack.process.pid, signal.SIGSTOP)  # it starts no other door until this is seen
    try:
        os.kill(stack.pid_of("service.uvicorn_door"), signal.SIGKILL)
        expect(page.get_by_text("The service does not answer")).to_be_visible()
        before = source(card)
    finally:
        os.kill(stack.process.pid, signal.SIGCONT)
    expect(page.get_by_text("The service does not answer")).to_be_hidden(timeout=150_000)
    expect(card.locator("img")).not_to_have_attribute("src", before)
    end_now(visit, card)
    finished(card)
    visit.expect_errors("ERR_CONNECTION_REFUSED|ERR_INCOMPLETE_CHUNKED|ERR_CONNECTION_RESET")


def test_a_lost_network_is_said_and_a_submission_waits(visit: Visit) -> None:
    page = visit.go()
    page.get_by_label("Prompt", exact=True).fill("pizza")
    visit.context.set_offline(True)
    page.get_by_role("button", name="Draw", exact=True).click()
    expect(page.get_by_text("“pizza” waits: The service does not answer.")).to_be_visible()
    visit.context.set_offline(False)
    finished(page.get_by_role("article"))
    visit.expect_errors("ERR_INTERNET_DISCONNECTED")


def test_a_full_queue_is_counted_down(visit: Visit) -> None:
    visit.page.clock.install()
    page = visit.go()
    keys: list[str] = []

    def refuse(route: Route) -> None:
        keys.append(route.request.headers["idempotency-key"])
        if len(keys) > 1:
            return route.continue_()
        return route.fulfill(
            status=429,
            headers={"retry-after": "3"},
            json={"status": 429, "code": "backlog_full", "detail": "the queue is full"},
        )

    page.route("**/v1/jobs", refuse)
    page.get_by_label("Prompt", exact=True).fill("pizza")
    page.clock.pause_at(page.evaluate("Date.now() / 1000 + 1"))
    page.get_by_role("button", name="Draw", exact=True).click()
    for n, ms in ((3, 1500), (2, 1000), (1, 400)):  # it is counted every half second
        expect(page.get_by_text(f"the queue is full. Trying again in {n} s.")).to_be_visible()
        page.clock.run_for(ms)
    assert len(keys) == 1
    page.clock.resume()
    finished(page.get_by_role("article"))
    assert len(set(keys)) == 1
    assert len(keys) == 2
    visit.expect_errors("429")


def test_a_full_queue_is_told_in_chinese(visits: Visits) -> None:
    visit = visits(locale="zh-CN")
    page = visit.go()
    problem = {"status": 429, "code": "backlog_full", "detail": "the queue is full"}
    page.route("**/v1/jobs", lambda route: route.fulfill(status=429, json=problem))
    page.get_by_label("提示词", exact=True).fill("pizza")
    page.get_by_role("button", name="绘制", exact=True).click()
    expect(page.get_by_text("“pizza”在等待：队列已满。")).to_be_visible()
    visit.expect_errors("429")


def test_what_is_said_of_a_job_is_told_in_chinese(visits: Visits) -> None:
    page = visits(locale="zh-CN").go()
    text = page.evaluate(
        "async () => (await import('./page/lib/words.js')).said({"
        " code: 'worker_died', detail: 'its worker died 3 times' })"
    )
    assert text == "处理它的进程多次中断（its worker died 3 times）"


def test_a_submission_can_be_given_up(visit: Visit) -> None:
    page = visit.go()
    page.route("**/v1/jobs", lambda route: route.abort())
    page.get_by_label("Prompt", exact=True).fill("pizza")
    page.get_by_role("button", name="Draw", exact=True).click()
    page.get_by_role("button", name="Do not try again").click()
    expect(page.get_by_text("waits")).to_be_hidden()
    visit.expect_errors("ERR_FAILED")


def test_bad_input_is_said_beside_its_control(visit: Visit) -> None:
    page = visit.go()
    page.locator("summary").click()
    page.get_by_label("Steps").fill("0")
    page.get_by_role("button", name="Draw", exact=True).click()
    expect(page.get_by_label("Steps")).to_have_attribute("aria-invalid", "true")
    expect(page.get_by_label("Steps")).to_be_focused()
    expect(page.locator("#draw-num_inference_steps-error")).to_have_text(
        "Between 1 and 1000, please."
    )
    page.get_by_label("Steps").fill("2")
    page.get_by_label("Width").fill("128")
    page.get_by_label("Height").fill("128")
    page.get_by_role("button", name="Draw", exact=True).click()
    expect(page.locator("#draw-width-error")).to_contain_text("pixels")
    expect(page.locator("#draw-num_inference_steps-error")).to_be_empty()
    expect(page.get_by_label("Width")).to_be_focused()
    visit.expect_errors("422")


def test_a_prompt_that_is_too_long_is_refused_and_not_cut(visit: Visit) -> None:
    page = visit.go()
    page.get_by_label("Prompt", exact=True).focus()
    page.keyboard.insert_text("a" * (MAX_PROMPT_CHARS + 1))
    page.get_by_role("button", name="Draw", exact=True).click()
    expect(page.locator("#draw-prompt-error")).to_contain_text(str(MAX_PROMPT_CHARS))
    assert len(page.locator("#draw-prompt").input_value()) == MAX_PROMPT_CHARS + 1
    visit.expect_errors("422")


def test_the_seed_can_be_kept_shuffled_and_used_again(visit: Visit) -> None:
    page = visit.go()
    seed = page.get_by_label("Seed")
    page.locator("summary").click()
    page.get_by_role("button", name="Shuffle").click()
    kept = seed.input_value()
    finished(submit(page, "panda"))
    assert seed.input_value() == kept
    page.get_by_role("button", name="Keep").click()
    finished(submit(page, "pizza"))
    assert seed.input_value() == ""
    finished(submit(page, "octopus"))
    page.get_by_role("button", name="Last one").click()
    card = page.get_by_role("article").filter(has_text="octopus")
    expect(card).to_contain_text(f"Seed {seed.input_value()}")


def test_warnings_are_shown(visit: Visit) -> None:
    page = visit.go()
    page.locator("summary").click()
    page.get_by_label("Guidance").fill("1")
    card = submit(page, "panda", **{"Negative prompt": "blurry"})
    expect(card.get_by_role("listitem")).to_contain_text("negative_prompt")


def test_what_is_typed_survives_another_view_and_another_language(visit: Visit) -> None:
    page = visit.go()
    page.get_by_label("Prompt", exact=True).fill("a tiger")
    page.get_by_role("button", name="中文").click()
    expect(page.get_by_label("提示词", exact=True)).to_have_value("a tiger")
    page.get_by_role("link", name="图库").click()
    expect(page.get_by_role("heading", level=1)).to_be_focused()
    page.get_by_role("link", name="绘制").click()
    expect(page.get_by_label("提示词", exact=True)).to_have_value("a tiger")
    page.reload()
    expect(page.get_by_label("提示词", exact=True)).to_have_value("a tiger")


def test_everything_can_be_done_from_the_keyboard(visit: Visit) -> None:
    page = visit.go()
    page.get_by_label("Prompt", exact=True).wait_for()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.get_by_label("Prompt", exact=True)).to_be_focused()
    page.keyboard.type("a tiger")
    page.keyboard.press("Enter")
    finished(page.get_by_role("article"))


def test_pictures_are_scaled_in_whole_multiples(visits: Visits) -> None:
    for width in (390, 1280):
        page = visits(viewport={"width": width, "height": 900}).go()
        card = submit(page, "red heart")
        finished(card)
        box = card.locator("img").bounding_box()
        assert box is not None
        assert box["width"] == box["height"] == 256
        assert page.evaluate("document.documentElement.scrollWidth") <= width
