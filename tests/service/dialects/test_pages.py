"""The examples of the pages about our API and others run as they are written."""

import asyncio
import json
import os
import re
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import trustme
from PIL import Image

from jobs.redis.store import RedisStore
from jobs.store import Claim, FinishedImage
from service.dialects import openai_images
from service.settings import ServiceSettings
from tests.jobs.examples import claim, picture
from tests.service.dialects.playing import Act, drawing, png
from tests.service.served import served
from tests.service.worker import PNG, advance, finish

PAGES = Path(__file__).parents[3] / "docs" / "apis"
ADDRESS = "http://127.0.0.1:8000"


def examples(page: Path) -> list[str]:
    """Return a page's programs in Python."""
    return re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)


async def ran(program: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Return how a program ended that was run in a folder."""
    return await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", program], env=os.environ | variables,
        cwd=folder, capture_output=True, text=True, timeout=150,
    )  # fmt: skip


async def drawn_twice(
    program: str, store: RedisStore, work: Act, folder: Path, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run a program that draws two jobs, one after the other, and play its worker."""
    run = asyncio.create_task(ran(program, folder, **variables))
    for _ in range(2):
        while not (await store.backlog("toy")).pending_jobs and not run.done():
            await asyncio.sleep(0.01)
        assert not run.done(), run.result().stderr
        await work(await claim(store))
    return await run


async def test_openai_s_example_draws(
    settings: ServiceSettings,
    announced: None,
    store: RedisStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (example,) = examples(PAGES / "openai.md")
    assert ADDRESS in example
    made: list[str] = []
    frame = openai_images._frame

    def noted(kind: str, data: dict[str, Any]) -> bytes:
        made.append(kind)
        return frame(kind, data)

    monkeypatch.setattr(openai_images, "_frame", noted)

    async def work(held: Claim) -> None:
        for step in range(1, held.record.total_steps):
            await advance(store, held, step, preview=True)
        while held.record.spec.preview.every and len(made) < 3:
            await asyncio.sleep(0.01)  # until the door has read them: an ended job keeps one
        await finish(store, held)

    with served(settings) as (url, _):
        outcome = await drawn_twice(example.replace(ADDRESS, url), store, work, tmp_path)
    assert outcome.returncode == 0, outcome.stderr
    kinds = [line.split()[0] for line in outcome.stdout.splitlines()]
    assert kinds == ["image_generation.partial_image"] * 3 + ["image_generation.completed"]
    assert [path.read_bytes() for path in sorted(tmp_path.glob("*.png"))] == [PNG, PNG]


async def test_our_own_example_follows_a_job_and_draws_it_again(
    settings: ServiceSettings, announced: None, store: RedisStore, tmp_path: Path
) -> None:
    (example,) = examples(PAGES / "native.md")
    example = example.replace("sfumato_client", "service.client")  # as it is called in here

    async def work(held: Claim) -> None:
        await advance(store, held, 2, preview=True)
        record = picture(0, PNG).record.model_copy(update={"sha256": sha256(PNG).hexdigest()})
        await store.add_image(held.lease, FinishedImage(record, PNG))
        await store.finish(held.lease, 10)

    with served(settings) as (url, _):
        outcome = await drawn_twice(example.replace(ADDRESS, url), store, work, tmp_path)
    assert outcome.returncode == 0, outcome.stderr
    assert outcome.stdout.splitlines() == ["sample 2 9", "True"]


async def test_hugging_face_s_example_draws(
    settings: ServiceSettings, announced: None, store: RedisStore, tmp_path: Path
) -> None:
    (example,) = examples(PAGES / "hugging-face.md")
    picture = png()
    with served(settings) as (url, _):
        program = example.replace(ADDRESS, url).replace("models/emoji", "models/toy")
        async with drawing(store, lambda held: finish(store, held, picture)):
            outcome = await ran(program, tmp_path)
    assert outcome.returncode == 0, outcome.stderr
    with Image.open(tmp_path / "apple.png") as image:
        assert image.size == (64, 64)


async def test_automatic1111_s_example_draws(
    settings: ServiceSettings, announced: None, store: RedisStore, tmp_path: Path
) -> None:
    (example,) = examples(PAGES / "automatic1111.md")
    picture = png()
    with served(settings) as (url, _):
        program = example.replace(ADDRESS, url).replace("DPM++ 2M", "Euler")
        async with drawing(store, lambda held: finish(store, held, picture)):
            outcome = await ran(program, tmp_path)
    assert outcome.returncode == 0, outcome.stderr
    assert (tmp_path / "apple.png").exists()


async def test_fal_s_example_draws(
    settings: ServiceSettings, announced: None, store: RedisStore, tmp_path: Path
) -> None:
    page = PAGES / "fal.md"
    (example,) = examples(page)
    exports = dict(re.findall(r"^export (\w+)=(\S+)", page.read_text(), re.MULTILINE))

    async def work(held: Claim) -> None:
        await advance(store, held, 3, preview=True)
        await finish(store, held)

    issuer = trustme.CA()
    issuer.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    issued = issuer.issue_cert("127.0.0.1")
    issued.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "door.pem"))
    with served(settings, certificate=tmp_path / "door.pem") as (url, _):
        host = url.removeprefix("https://")
        hosts = {
            name: value.replace("pictures.example.org", host) for name, value in exports.items()
        }
        hosts["SSL_CERT_FILE"] = str(tmp_path / "ca.pem")
        program = example.replace("fal-ai/emoji", "fal-ai/toy")
        outcome = await drawn_twice(program, store, work, tmp_path, **hosts)
    assert outcome.returncode == 0, outcome.stderr
    *_, link, estimate, last = outcome.stdout.splitlines()
    assert link.startswith(f"https://{host}/v1/jobs/")
    assert (estimate, last) == ("image/png", "image/png")


async def test_mcp_s_example_draws(
    settings: ServiceSettings, announced: None, store: RedisStore, tmp_path: Path
) -> None:
    (example,) = examples(PAGES / "mcp.md")
    with served(settings) as (url, _):
        async with drawing(store, lambda held: finish(store, held)) as claimed:
            outcome = await ran(example.replace(ADDRESS, url), tmp_path)
    assert outcome.returncode == 0, outcome.stderr
    assert f"job {claimed[0].id} is " in outcome.stdout  # queued, or running by then
    assert "image 0: seed 7, http" in outcome.stdout
    assert (tmp_path / "apple.jpeg").read_bytes() == PNG


def test_mcp_s_configurations_are_json_and_name_the_address() -> None:
    page = (PAGES / "mcp.md").read_text()
    configurations = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    assert len(configurations) == 2
    for each in configurations:
        assert f"{ADDRESS}/mcp" in json.dumps(json.loads(each))


async def test_replicate_s_example_draws(
    settings: ServiceSettings, announced: None, store: RedisStore, tmp_path: Path
) -> None:
    (example,) = examples(PAGES / "replicate.md")
    with served(settings) as (url, _):
        program = example.replace(ADDRESS, url).replace("sfumato/emoji", "sfumato/toy")
        outcome = await drawn_twice(program, store, lambda held: finish(store, held), tmp_path)
    assert outcome.returncode == 0, outcome.stderr
    assert (tmp_path / "apple.png").read_bytes() == PNG
    assert outcome.stdout.split() == ["logs", "output", "done"]
