"""Forty mixed jobs over HTTP give the very files that each gives alone."""

import json
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from time import sleep
from typing import Any

import numpy as np
import pytest
from PIL import Image

from diffusion.samplers.registry import SAMPLERS
from service.cli.shared.exit_codes import ExitCode
from service.client.client import Sfumato
from tests.processes import PATIENCE_S
from tests.stack.up import Up, only_worker, sfumato

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def requests(count: int) -> list[dict[str, Any]]:
    """Return jobs that differ in everything that a client can choose."""
    chooser, names = random.Random(11), list(SAMPLERS)
    return [
        {
            "prompt": chooser.choice(("a red apple", "cat", "蓝色的心")),
            "negative_prompt": chooser.choice(("", "blurry")),
            "sampler": names[i % len(names)],
            "num_inference_steps": chooser.randint(2, 16),
            "guidance_scale": chooser.choice((1.0, 2.0, 4.0)),
            "seed": chooser.randrange(2**40),
            "num_images": chooser.choice((1, 1, 1, 2)),
            "output_format": chooser.choice(("png", "png", "webp")),
        }
        for i in range(count)
    ]


@pytest.fixture(
    scope="module",
    params=["deterministic", *(pytest.param(p, marks=pytest.mark.full) for p in ("torch", "onnx"))],
)
def stack(
    request: pytest.FixtureRequest, tiny: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, bool]]:
    """Yield a service's address, and whether its files are to be equal byte for byte."""
    folder = tmp_path_factory.mktemp("mixed")
    model: Path = tiny
    if request.param == "onnx":
        model = request.getfixturevalue("exported_tiny")
    env = {"deterministic": int(request.param == "deterministic"), "rows_per_tick": 8}
    running = Up(folder, model, "--door", "uvicorn", **env)
    url = running.ready()
    with Sfumato(url) as client:
        worker = only_worker(client)
        assert worker.backend == ("onnx-fp32" if request.param == "onnx" else "torch")
    yield url, request.param != "torch"
    running.end()


def draw(client: Sfumato, request: dict[str, Any]) -> list[bytes]:
    """Return a job's files."""
    job = client.wait(client.submit(**request).id)
    assert job.status == "succeeded", job.error
    return [client.image(job.id, image.index) for image in job.images]


def test_mixed_equals_solo(stack: tuple[str, bool]) -> None:
    url, byte_identical = stack
    chooser = random.Random(2)
    wanted = requests(40)
    with Sfumato(url, timeout_s=PATIENCE_S, retry_s=PATIENCE_S) as client:
        alone = [draw(client, request) for request in wanted]
        with ThreadPoolExecutor(40) as threads:
            futures = []
            for request in wanted:
                futures.append(threads.submit(draw, client, request))
                sleep(chooser.uniform(0, 0.05))
            together = [future.result() for future in futures]
    for request, one, other in zip(wanted, alone, together, strict=True):
        if byte_identical:
            assert one == other, request
        for a, b in zip(one, other, strict=True):
            first, second = (np.asarray(Image.open(BytesIO(d)), int) for d in (a, b))
            assert np.abs(first - second).max() <= 1, request


def test_the_file_has_its_parameters_and_nothing_of_the_job(stack: tuple[str, bool]) -> None:
    url, _ = stack
    with Sfumato(url) as client:
        job = client.wait(client.submit("a red apple", seed=5, metadata={"order": "17"}).id)
        data = client.image(job.id)
    image = Image.open(BytesIO(data))
    inside = json.loads(image.info["sfumato"])
    assert inside["seed"] == 5
    assert inside["prompt"] == "a red apple"
    assert "Steps: 4, Sampler: DDIM, Schedule type: Automatic" in image.info["parameters"]
    for secret in (job.id, job.worker, "order", "17-"):
        assert secret is not None
        assert secret.encode() not in data


def test_draw_command_saves_the_images(stack: tuple[str, bool], tmp_path: Path) -> None:
    url, _ = stack
    options = ["--seed", "5", "--steps", "6", "--sampler", "euler", "--n", "2", "--size", "32x32"]
    options += ["--preview", "sample", "--url", url, "--out", str(tmp_path), "--json"]
    outcome = sfumato("draw", "a red apple", *options)
    assert outcome.returncode == 0, outcome.stderr
    job = json.loads(outcome.stdout)
    assert job["status"] == "succeeded"
    assert job["request"]["preview"] == {"every": 1, "of": "sample", "size": None}
    assert len(job["files"]) == 2
    for path in job["files"]:
        with Image.open(path) as image:
            assert image.size == (32, 32)


def test_draw_command_names_what_is_wrong(stack: tuple[str, bool]) -> None:
    url, _ = stack
    outcome = sfumato("draw", "x", "--url", url, "--sampler", "eular")
    assert outcome.returncode == ExitCode.REFUSED
    assert "unknown sampler 'eular'" in outcome.stderr
