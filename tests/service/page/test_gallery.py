"""The gallery, in a browser: pictures stay, and a picture's file restores what made it."""

import base64
import json
import re
import subprocess
import sys
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from playwright.sync_api import FilePayload, Page, expect

from tests.service.page.browser import Visit
from tests.service.page.conftest import Visits
from tests.service.page.test_draw import finished, submit

pytestmark = [pytest.mark.page, pytest.mark.needs("chromium")]
FOREIGN = """a (red:1.3) apple, on a table
under a lamp
Negative prompt: blurry, "quoted"
Steps: 33, Sampler: DPM++ 2M Karras, CFG scale: 4.5, Seed: 4294967295, Size: 96x64, Model hash: 0,
 Model: v1-5, Version: v1.10.1""".replace(",\n Model", ", Model")
DROP = """async ([name, type, data]) => {
  const bytes = Uint8Array.from(atob(data), (each) => each.charCodeAt(0));
  const transfer = new DataTransfer();
  transfer.items.add(new File([bytes], name, { type }));
  for (const kind of ["dragover", "drop"]) {
    document.body.dispatchEvent(
      new DragEvent(kind, { bubbles: true, cancelable: true, dataTransfer: transfer }));
  }
}"""


def drawn(visit: Visit, prompt: str = "a tiger", **fields: str) -> Page:
    """Draw a picture and open it in the gallery."""
    page = visit.go()
    finished(submit(page, prompt, **fields))
    page.get_by_role("link", name="Gallery").click()
    page.get_by_role("link", name=prompt).click()
    return page


def values(page: Page) -> dict[str, str]:
    """Return what the form of Draw holds."""
    page.locator("#draw-prompt").wait_for()
    return {
        field.get_attribute("id").removeprefix("draw-"): field.input_value()  # type: ignore[union-attr]
        for field in page.locator("form .field :is(input, textarea, select)").all()
    }


def sent(data: bytes, name: str = "picture.png") -> FilePayload:
    return {"name": name, "mimeType": f"image/{name.partition('.')[2]}", "buffer": data}


def saved(format_: str, **options: Any) -> bytes:
    out = BytesIO()
    Image.new("RGB", (8, 8)).save(out, format_, **options)
    return out.getvalue()


def png(texts: Mapping[str, str], *, zipped: bool = False, international: bool = False) -> bytes:
    info = PngInfo()
    for name, text in texts.items():
        if international:
            info.add_itxt(name, text, zip=zipped)
        else:
            info.add_text(name, text, zip=zipped)
    return saved("PNG", pnginfo=info)


def commented(text: str, encoding: str = "utf-16-be") -> Image.Exif:
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9286] = b"UNICODE\0" + text.encode(encoding)
    return exif


def test_pictures_outlive_a_reload_and_the_server(visit: Visit, url: str) -> None:
    page = visit.go()
    card = submit(page, "panda")
    finished(card)
    kept = page.evaluate("async () => (await import('./page/jobs/store.js')).load()")
    assert [entry["id"] for entry in kept] == [card.get_attribute("data-id")]
    with httpx.Client(base_url=url, timeout=60) as http:
        job = http.get(f"/v1/jobs/{kept[0]['id']}").json()
        assert http.delete(f"/v1/jobs/{job['id']}").status_code == 204
    page.reload()
    page.get_by_role("link", name="Gallery").click()
    page.get_by_role("link", name="panda").click()
    image = page.get_by_role("img")
    expect(image).to_have_js_property("naturalWidth", 64)
    expect(
        page.get_by_role("definition").filter(has_text=str(job["request"]["seed"]))
    ).to_be_visible()


def test_use_again_draws_the_same_picture(visit: Visit) -> None:
    page = drawn(visit, Steps="7", Guidance="3.5")
    with page.expect_download() as first:
        page.get_by_role("link", name="Download").click()
    page.get_by_role("button", name="Use again").click()
    held = values(page)
    assert (held["prompt"], held["num_inference_steps"], held["guidance_scale"]) == (
        "a tiger", "7", "3.5",
    )  # fmt: skip
    page.get_by_role("button", name="Draw", exact=True).click()
    expect(page.get_by_role("article")).to_have_count(2)
    finished(page.get_by_role("article").first)
    page.get_by_role("link", name="Gallery").click()
    page.get_by_role("link", name="a tiger").first.click()
    with page.expect_download() as second:
        page.get_by_role("link", name="Download").click()
    assert re.fullmatch(r"a-tiger-\d+\.png", first.value.suggested_filename)
    files = [Path(each.value.path()).read_bytes() for each in (first, second)]
    assert files[0] == files[1]


def test_code_to_copy_runs(visits: Visits, url: str, tmp_path: Path) -> None:
    visit = visits(permissions=["clipboard-read", "clipboard-write"])
    page = drawn(visit, 'it\'s a "tiger"', **{"Negative prompt": "line\none"})
    page.get_by_role("button", name="Copy as curl").click()
    expect(page.get_by_text("Copied.")).to_be_visible()
    command = page.evaluate("navigator.clipboard.readText()")
    outcome = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, timeout=120, check=True
    )
    job = json.loads(outcome.stdout)
    assert job["request"]["prompt"] == 'it\'s a "tiger"'
    assert job["request"]["negative_prompt"] == "line\none"
    page.get_by_role("button", name="Copy as Python").click()
    program = page.locator("pre").inner_text().replace("sfumato_client", "service.client")
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, timeout=120, check=True)
    with Image.open(tmp_path / "picture.png") as image:
        assert image.size == (64, 64)


def test_deleting_is_asked_about_and_deletes_in_both_places(visit: Visit, url: str) -> None:
    page = drawn(visit, "octopus")
    job_id = page.url.rpartition("/")[2]
    page.get_by_role("button", name="Delete", exact=True).click()
    page.get_by_role("button", name="Keep").click()
    page.get_by_role("button", name="Delete", exact=True).click()
    page.get_by_role("button", name="Delete here and on the server").click()
    expect(page.get_by_text("Nothing has been drawn")).to_be_visible()
    assert httpx.get(f"{url}/v1/jobs/{job_id}", timeout=60).status_code == 404
    page.reload()
    expect(page.get_by_text("Nothing has been drawn")).to_be_visible()


def test_another_tab_shows_what_this_one_draws_and_deletes(visit: Visit) -> None:
    other = visit.opened()
    other.goto(visit.url)
    expect(other.get_by_role("button", name="Draw", exact=True)).to_be_visible()
    page = drawn(visit, "octopus")
    finished(other.get_by_role("article"))
    page.get_by_role("button", name="Delete", exact=True).click()
    page.get_by_role("button", name="Delete here and on the server").click()
    expect(other.get_by_role("article")).to_have_count(0)


def test_our_own_files_restore_what_made_them(visit: Visit, url: str) -> None:
    page = visit.go("gallery")
    for format_ in ("png", "webp", "jpeg"):
        request = {
            "prompt": "蓝心 and é", "negative_prompt": "x", "num_inference_steps": 3, "seed": 5,
            "sampler": "euler_ancestral", "eta": 0.5, "schedule": "sgm_uniform", "width": 80,
            "guidance_scale": 1.5, "output_format": format_,
        }  # fmt: skip
        with httpx.Client(base_url=url, timeout=120) as http:
            job = http.post("/v1/jobs", json=request, headers={"prefer": "wait=60"}).json()
            data = http.get(f"/v1/jobs/{job['id']}/images/0").content
        page.get_by_label("Restore settings").set_input_files(sent(data, f"a.{format_}"))
        held = values(page)
        for name in (
            "prompt",
            "negative_prompt",
            "num_inference_steps",
            "seed",
            "sampler",
            "width",
        ):
            assert held[name] == str(request[name]), (format_, name)
        chips = page.get_by_role("button", name="Leave out")
        assert chips.all_inner_texts() == ["schedule sgm_uniform ×", "eta 0.5 ×"]
        page.go_back()


@pytest.mark.parametrize(
    "data",
    [
        png({"parameters": FOREIGN}),
        png({"parameters": FOREIGN}, zipped=True),
        png({"parameters": FOREIGN}, international=True),
        png({"parameters": FOREIGN}, international=True, zipped=True),
        saved("WEBP", exif=commented(FOREIGN)),
        saved("JPEG", exif=commented(FOREIGN)),
        saved("JPEG", exif=commented(FOREIGN, "utf-16-le")),
    ],
    ids=["tEXt", "zTXt", "iTXt", "iTXt-zipped", "webp", "jpeg", "jpeg-little-endian"],
)
def test_files_of_automatic1111_restore_what_can_be_had(visit: Visit, data: bytes) -> None:
    page = visit.go("gallery")
    page.get_by_label("Restore settings").set_input_files(sent(data))
    held = values(page)
    assert held["prompt"] == "a (red:1.3) apple, on a table\nunder a lamp"
    assert held["negative_prompt"] == 'blurry, "quoted"'
    assert (held["num_inference_steps"], held["guidance_scale"]) == ("33", "4.5")
    assert (held["seed"], held["width"], held["height"]) == ("4294967295", "96", "64")
    assert (held["sampler"], held["model"]) == ("dpmpp_2m", "emoji")
    expect(page.get_by_role("button", name="prompt_syntax a1111")).to_be_visible()


def test_a_picture_can_be_dropped(visit: Visit) -> None:
    page = visit.go("gallery")
    data = base64.b64encode(png({"parameters": FOREIGN})).decode()
    page.evaluate(DROP, ["a.png", "image/png", data])
    assert values(page)["seed"] == "4294967295"


@pytest.mark.parametrize(
    "data",
    [
        saved("PNG"),
        png({"sfumato": "{", "parameters": ""}),
        png({"parameters": FOREIGN})[:60],
        saved("WEBP", exif=commented(FOREIGN))[:90],
        b"\x89PNG\r\n\x1a\n" + b"\xff" * 40,
        b"RIFF\xff\xff\xff\xffWEBPEXIF\xff\xff\xff\xffII*\0\xff\xff\xff\x0f",
        b"",
    ],
    ids=["no texts", "no JSON", "short PNG", "short WebP", "bad PNG", "bad WebP", "empty"],
)
def test_a_file_that_says_nothing_is_said_to(visit: Visit, data: bytes) -> None:
    page = visit.go("gallery")
    page.get_by_label("Restore settings").set_input_files(sent(data, "holiday.png"))
    expect(page.get_by_role("alert").filter(has_text="holiday.png")).to_be_visible()
