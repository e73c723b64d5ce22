"""The batch, live: a load of jobs is watched as it goes through the forward pass."""

import json
import re
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, Route, expect

from tests.service.page.browser import Visit
from tests.service.page.conftest import Visits

pytestmark = [pytest.mark.page, pytest.mark.needs("chromium")]
SEND = "Send it a mixed load"
COLOURS = """canvas => {
    const {width, height} = canvas;
    const {data} = canvas.getContext("2d").getImageData(0, 0, width, height);
    const found = new Set();
    for (let i = 0; i < data.length; i += 4) {
        if (data[i + 3] > 250) found.add(`${data[i]} ${data[i + 1]} ${data[i + 2]}`);
    }
    return found.size;
}"""
RIBBONS = """async (frames) => {
    const {add, history, pieces} = await import("./page/views/batch/history.js");
    const past = history();
    frames.forEach((frame) => add(past, frame));
    return {
        ribbons: past.ribbons.map((each) => ({
            key: each.key, slot: each.slot, left: each.left, hue: each.hue,
            before: each.before?.slot,
            steps: pieces(each, Infinity).map(({from, to, moved}) => [from.step, to.step, moved]),
        })),
    };
}"""
COUNT_DRAWINGS = """() => {
    window.drawings = 0;
    window.began = performance.now();
    const {prototype} = CanvasRenderingContext2D;
    const {clearRect} = prototype;
    prototype.clearRect = function (...box) {
        window.drawings++;
        clearRect.apply(this, box);
    };
}"""
TURN = """(hidden) => {
    Object.defineProperty(document, "hidden", {value: hidden, configurable: true});
    document.dispatchEvent(new Event("visibilitychange"));
}"""
WORKERS = [
    {"id": name, "model": "emoji", "loaded": loaded}
    for name, loaded in (("cold", False), ("one", True), ("two/emoji", True))
]


def moment(second: float) -> str:
    return f"2026-01-01T12:00:{second:06.3f}Z"


def change(
    sequence: int, kind: str, second: float, job: str = "a", slot: int = 0
) -> dict[str, Any]:
    at = moment(second)
    return {
        "sequence": sequence, "kind": kind, "slot": slot, "job": job, "image": 0, "at": at
    }  # fmt: skip


def image(step: int, job: str = "a", slot: int = 0, in_pass: bool = True) -> dict[str, Any]:
    return {
        "slot": slot, "job": job, "image": 0, "step": step, "steps": 10, "rows": 2,
        "in_pass": in_pass, "width": 64, "height": 64, "sampler": "euler",
    }  # fmt: skip


def frame(
    second: float, images: list[dict[str, Any]], *changes: dict[str, Any], tick: int = 0
) -> dict[str, Any]:
    """Return a frame as the service sends it."""
    rows = sum(each["rows"] for each in images if each["in_pass"])
    sequence = max((each["sequence"] for each in changes), default=9)
    return {
        "worker": "one", "model": "emoji", "at": moment(second), "sequence": sequence, "slots": 20,
        "rows_per_tick": 6, "tick": tick, "tick_s": 0.02, "rows": rows, "occupancy": rows / 6,
        "images": images, "changes": list(changes), "queued_jobs": 3,
        "totals": dict.fromkeys(
            ("admitted", "resumed", "preempted", "released", "finished", "failed"), 0
        ),
    }  # fmt: skip


def sent(*events: tuple[str, dict[str, Any]]) -> str:
    """Return events as a stream."""
    return "".join(f"event: {kind}\ndata: {json.dumps(data)}\n\n" for kind, data in events)


def play(page: Page, workers: list[dict[str, Any]], stream: str = "") -> list[str]:
    """Answer for the service: its workers, and the same stream of each; return what is watched."""
    watched: list[str] = []

    def follow(route: Route) -> None:
        watched.append(route.request.url.partition("/v1/workers/")[2])
        route.fulfill(body=stream, content_type="text/event-stream")

    page.route("**/v1/workers", lambda route: route.fulfill(json=workers))
    page.route("**/v1/workers/**/events", follow)
    return watched


def test_frames_become_ribbons(visit: Visit) -> None:
    page = visit.go("batch")
    found = page.evaluate(
        RIBBONS,
        [
            frame(1.0, [image(2)], change(1, "admitted", 0.5), tick=2),
            frame(1.5, [image(2, in_pass=False)], change(1, "admitted", 0.5), tick=4),
            frame(2.0, [], change(2, "preempted", 1.8), tick=5),
            frame(2.5, [image(4, slot=1)], change(3, "resumed", 2.1, slot=1), tick=8),
            frame(3.0, [], change(4, "finished", 2.9, slot=1), tick=12),
        ],
    )
    first, second = found["ribbons"]
    assert (first["left"], second["left"], second["before"]) == ("preempted", "finished", 0)
    assert first["hue"] == second["hue"]
    assert first["steps"] == [[0, 2, True], [2, 2, False], [2, 2, True]]
    assert second["steps"] == [[4, 4, True], [4, 10, True]]


def test_a_model_that_is_loaded_anew_begins_anew(visit: Visit) -> None:
    page = visit.go("batch")
    frames = [
        frame(1.0, [image(2)], change(7, "admitted", 0.5)),
        frame(2.0, [image(1, job="b")], change(1, "admitted", 1.9, job="b")),
    ]
    found = page.evaluate(RIBBONS, frames)["ribbons"]
    assert [(each["key"], each["left"]) for each in found] == [("a/0", "released"), ("b/0", None)]


def test_a_mixed_load_is_seen_to_join_and_leave(visit: Visit, url: str) -> None:
    page = visit.go("batch")
    canvas = page.locator("canvas")
    send, disabled = page.get_by_role("button", name=SEND), list[bool]()

    def look(route: Route) -> None:
        disabled.append(send.is_disabled())
        route.continue_()

    page.route("**/v1/jobs", look)
    send.click()
    expect(page.locator("[aria-live]")).to_have_text(re.compile("The last pass advanced"))
    page.get_by_text("As a table").click()
    expect(page.locator("tbody tr").first).to_contain_text(re.compile(r"\d+/\d+"))
    for word in ("joined", "finished"):
        expect(page.locator("ol")).to_contain_text(word, timeout=60_000)
    expect(send).to_be_enabled(timeout=60_000)
    assert disabled
    assert all(disabled)
    assert canvas.evaluate(COLOURS) > 50
    own = httpx.get(f"{url}/v1/jobs", params={"limit": 12}, timeout=60).json()["jobs"]
    assert len({job["request"]["sampler"] for job in own}) > 3
    assert visit.violations() == []
    page.get_by_role("link", name="Gallery").click()
    expect(page.get_by_text("Nothing has been drawn")).to_be_visible()  # it is not the visitor's


def test_a_drawing_moves_in_steps_with_reduced_motion(visits: Visits) -> None:
    visit = visits(reduced_motion="reduce")
    page = visit.page
    play(page, WORKERS, sent(("batch", frame(1.0, [image(2)], change(1, "admitted", 0.5)))))
    visit.go("batch")
    expect(page.locator("dd").nth(3)).to_have_text("1/20")
    page.evaluate(COUNT_DRAWINGS)
    page.wait_for_timeout(2500)
    drawings, took_ms = page.evaluate("[drawings, performance.now() - began]")
    assert drawings <= 1.5 + took_ms / 1000  # it looks once a second


def test_a_page_in_the_background_does_not_watch(visit: Visit) -> None:
    page = visit.page
    watched = play(page, WORKERS[1:2], sent(("batch", frame(1.0, [image(2)]))))
    visit.go("batch")
    expect(page.locator("dd").nth(3)).to_have_text("1/20")
    page.evaluate(TURN, True)
    page.wait_for_timeout(1000)
    count = len(watched)
    page.wait_for_timeout(1500)
    assert len(watched) == count
    with page.expect_request("**/v1/workers/one/batch/events"):
        page.evaluate(TURN, False)


def test_of_several_workers_one_is_chosen(visit: Visit) -> None:
    page = visit.page
    watched = play(page, WORKERS, sent(("batch", frame(1.0, [image(2)]))))
    visit.go("batch")
    expect(page.locator("[aria-live]")).to_have_text(
        "The last pass advanced 1 of 1 images, in 2 of 6 rows: Euler at step 2 of 10."
    )
    assert page.get_by_label("Worker").locator("option").all_text_contents() == [
        "emoji · one", "emoji · two/emoji",
    ]  # fmt: skip
    with page.expect_request("**/v1/workers/two/emoji/batch/events"):
        page.get_by_label("Worker").select_option("two/emoji")
    assert watched[0] == "one/batch/events"


def test_a_worker_that_goes_is_said_to_be_gone(visit: Visit) -> None:
    page = visit.page
    stream = sent(("batch", frame(1.0, [image(2)])), ("gone", {"worker": "one"}))
    play(page, WORKERS[1:2], stream)
    visit.go("batch")
    expect(page.get_by_role("status")).to_contain_text("This worker is gone")


def test_it_is_said_when_nobody_works(visit: Visit) -> None:
    play(visit.page, [])
    page = visit.go("batch")
    expect(page.locator(".batch [role=status]")).to_have_text(re.compile("No worker is running"))
    expect(page.get_by_role("button", name=SEND)).to_be_disabled()


def test_a_key_that_may_not_watch_is_told_so(visit: Visit) -> None:
    page = visit.page
    refusal = {"status": 403, "code": "forbidden", "detail": "no"}
    page.route("**/v1/workers", lambda route: route.fulfill(json=refusal, status=403))
    visit.go("batch")
    expect(page.locator(".batch [role=status]")).to_have_text(
        "Only an operator's key may watch a batch."
    )
    visit.expect_errors("403")
