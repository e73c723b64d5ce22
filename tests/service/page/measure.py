"""What the page costs: ``python -m tests.service.page.measure`` prints it.

The first paint after an empty cache, and the processor time of a browser with twenty cards that
follow twenty jobs, and while it draws a batch, for all of its processes and for the page's own.
"""

import os
import sys
import uuid
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import monotonic, sleep

from playwright.sync_api import Browser

from tests.service.page.browser import Visit, chromium
from tests.service.page.conftest import EMOJI
from tests.stack.up import MARK, Up, marked

VISITS = 7
JOBS = 20
SECONDS = 15.0
PAINT = """() => performance.getEntriesByName("first-contentful-paint")[0]?.startTime"""
LOADED = """() => performance.getEntriesByType("resource").reduce((sum, each) =>
  each.name.includes("/page/") ? sum + each.encodedBodySize : sum, 0)"""


def first_paints(browser: Browser, url: str) -> tuple[list[float], int]:
    """Return the times to the first paint in milliseconds, and the bytes that were loaded."""
    paints, loaded = [], 0
    for _ in range(VISITS):
        visit = Visit(browser, url)
        page = visit.go()
        page.locator("#draw-prompt").wait_for()
        while (paint := page.evaluate(PAINT)) is None:
            sleep(0.02)
        paints.append(float(paint))
        loaded = int(page.evaluate(LOADED))
        visit.context.close()
    return paints, loaded


def cpu_s(pids: dict[int, str]) -> float:
    """Return the processor time that these processes have had."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def family(pid: int) -> dict[int, str]:
    """Return a process and all below it with their command lines: renderers hide their marks."""
    found = {pid: Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")}
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found |= family(int(child))
    return found


def following(browser: Browser, url: str, mark: str) -> tuple[float, float, int]:
    """Return the share of a core of all processes and of the page, and the previews a second."""
    visit = Visit(browser, url)
    page = visit.go()
    page.locator("summary").click()
    page.locator("#draw-num_inference_steps").fill("1000")
    for number in range(JOBS):
        page.locator("#draw-prompt").fill(f"red heart {number}")
        page.locator("#draw-prompt").press("Enter")
    page.get_by_role("article").nth(JOBS - 1).wait_for()
    page.locator("article img").nth(JOBS - 1).wait_for()
    every = {pid: line for first in marked(mark) for pid, line in family(first).items()}
    pages = {pid: line for pid, line in every.items() if "--type=renderer" in line}
    page.evaluate(
        """() => {
          window.changes = 0;
          new MutationObserver((all) => { window.changes += all.length; }).observe(document.body,
            { subtree: true, attributeFilter: ["src"] });
        }"""
    )
    began, before = monotonic(), (cpu_s(every), cpu_s(pages))
    sleep(SECONDS)
    after, took_s = (cpu_s(every), cpu_s(pages)), monotonic() - began
    previews = int(page.evaluate("window.changes"))
    shares = [(late - early) / took_s for early, late in zip(before, after, strict=True)]
    return shares[0], shares[1], round(previews / took_s)


def watching(browser: Browser, url: str, mark: str) -> tuple[float, float]:
    """Return the share of a core of all processes and of the page, while it draws a batch."""
    visit = Visit(browser, url)
    page = visit.go("batch")
    page.get_by_role("button", name="Send it a mixed load").click()
    page.locator(".batch li").nth(3).wait_for()
    every = {pid: line for first in marked(mark) for pid, line in family(first).items()}
    pages = {pid: line for pid, line in every.items() if "--type=renderer" in line}
    began, before = monotonic(), (cpu_s(every), cpu_s(pages))
    sleep(SECONDS)
    after, took_s = (cpu_s(every), cpu_s(pages)), monotonic() - began
    page.get_by_text("The worker is idle").wait_for(timeout=300_000)
    visit.context.close()
    return (after[0] - before[0]) / took_s, (after[1] - before[1]) / took_s


def main() -> int:
    """Start a stack and a browser, measure, stop both."""
    mark = uuid.uuid4().hex
    with TemporaryDirectory() as folder:
        stack = Up(Path(folder), EMOJI, "--door", "uvicorn")
        try:
            url = stack.ready()
            with chromium(**{MARK: mark}) as browser:
                paints, loaded = first_paints(browser, url)
                print(
                    f"first paint, empty cache: median {median(paints):.0f} ms, "
                    f"{min(paints):.0f} to {max(paints):.0f}, of {VISITS}; {loaded} bytes loaded"
                )
                every, page = watching(browser, url, mark)
                print(f"a batch, drawn: {page:.1%} of a core in the page, {every:.1%} in all")
                every, page, previews = following(browser, url, mark)
                print(
                    f"{JOBS} cards following {JOBS} jobs: {page:.1%} of a core in the page, "
                    f"{every:.1%} in all of the browser; {previews} previews a second"
                )
        finally:
            stack.end()
    return 0


if __name__ == "__main__":
    sys.exit(main())
