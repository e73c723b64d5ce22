"""What a worker leaves of its images: previews as they were asked for, and what they depend on."""

from hashlib import sha256
from importlib.metadata import version
from io import BytesIO
from typing import Any

import orjson
import pytest
from PIL import Image

from diffusion.bundle.bundle import Bundle
from jobs.schema import JobRecord
from service.resources.links import Links
from service.resources.manifest import manifest
from tests.workers.inside import Inside

DETERMINISTIC = {"slots": 3, "rows_per_tick": 4, "deterministic": True, "preview_s": 0.0}
pytestmark = pytest.mark.parametrize("inside", [DETERMINISTIC], indirect=True)


def shown(record: JobRecord) -> Any:
    """Return a job's manifest as it is sent."""
    return orjson.loads(manifest(record, Links()).model_dump_json())


@pytest.mark.parametrize(
    ("fields", "eta"),
    [
        ({"sampler": "euler_ancestral", "negative_prompt": "blurry", "output_format": "webp"}, 1.0),
        ({"sampler": "heun", "guidance_scale": 2.5}, None),
    ],
    ids=["ancestral", "heun"],
)
async def test_the_request_of_a_manifest_draws_the_same_bytes(
    inside: Inside, bundle: Bundle, fields: dict[str, object], eta: float | None
) -> None:
    await inside.submit("first", seed=2**60, num_images=2, num_inference_steps=3, **fields)
    made = shown(await inside.ended("first"))
    assert made["request"]["eta"] == eta
    await inside.submit("again", **made["request"])
    again = shown(await inside.ended("again"))
    assert again["request"] == made["request"]
    assert again["images"] == made["images"]
    for image in made["images"]:
        assert image["seed"] == 2**60 + image["index"]
        for job in ("first", "again"):
            data = (await inside.store.image(job, image["index"])).data
            assert (len(data), sha256(data).hexdigest()) == (image["size_bytes"], image["sha256"])
        origin = image["origin"]
        assert origin["model_sha256"] == bundle.info.sha256
        assert (origin["backend"], origin["deterministic"], origin["eta"]) == ("torch", True, eta)
        assert origin["versions"]["torch"] == version("torch")
        assert origin["device"]


async def test_a_job_shows_samples_no_larger_than_it_asks(inside: Inside) -> None:
    wanted = {"of": "sample", "size": 16}
    await inside.submit("job", width=64, height=32, num_inference_steps=40, preview=wanted)
    await inside.ended("job")
    events = [each async for each in inside.store.events("job") if each.kind == "preview"]
    assert events
    for event in events:
        assert event.data["of"] == "sample"
        with Image.open(BytesIO(event.data["data"])) as preview:
            assert preview.size == (16, 8)
