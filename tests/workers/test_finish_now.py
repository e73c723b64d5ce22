"""Jobs that are ended at their present step, with their estimates as their images."""

import json
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from diffusion.bundle.bundle import Bundle
from jobs.errors import JobNotFound, NotBegun
from jobs.schema import JobStatus
from tests.workers.harness import Bench, image_request, solo
from tests.workers.inside import Inside
from workers.engine.engine import EngineSettings
from workers.engine.messages import Advanced, Finished, Previewed


def step_of(bench: Bench, job_id: str) -> int:
    """Return how far an image is, as reported."""
    steps = [i.step for a in bench.of(Advanced) for i in a.images if i.job_id == job_id]
    return max(steps, default=0)


def test_an_image_ends_with_the_estimate_of_its_next_evaluation(bundle: Bundle) -> None:
    settings = EngineSettings(preview_s=0.0)
    others = [image_request(f"other{n}", seed=n, steps=30) for n in range(3)]
    expected = solo(bundle, others, settings)
    bench = Bench(bundle, settings)
    for request in (*others, image_request("short", steps=40, preview=1)):
        bench.engine.submit(request)
    while step_of(bench, "short") < 3:  # others do not wait for its prompt to be encoded
        bench.engine.tick()
    before = step_of(bench, "short")
    bench.engine.finish_now("short")
    bench.engine.finish_now("gone")
    bench.engine.tick()
    bench.engine.tick()  # postprocessing is beside the next pass
    (ended,) = (each for each in bench.of(Finished) if each.job_id == "short")
    assert ended.early in (before + 1, before + 2), "progress is reported with the next tick"
    found = bench.run()
    assert not vars(bench.engine)["_ending"]
    for key, pixels in expected.items():
        assert np.abs(found[key].astype(int) - pixels).max() <= 1, "a neighbour's image changed"
    assert [each.early for each in bench.of(Finished) if each.job_id != "short"] == [None] * 3

    again = Bench(bundle, settings)
    again.draw(image_request("short", steps=40, preview=1))
    (shown,) = (each for each in again.of(Previewed) if each.step == ended.early)
    assert np.abs(shown.pixels.astype(int) - ended.pixels).max() <= 1


@pytest.mark.parametrize("images", [1, 3])
async def test_a_running_job_ends_at_once(inside: Inside, images: int) -> None:
    with inside.held("job", pace_s=0.2):
        await inside.submit("job", num_inference_steps=1000, num_images=images)
        await inside.moving("job", 10)
        record = await inside.store.finish_now("job")
        assert record.status is JobStatus.RUNNING
        record = await inside.ended("job")
    assert record.status is JobStatus.SUCCEEDED
    assert record.finished_early is not None
    assert len(record.images) == images
    assert record.finished_early < 200, "it went on for many rows"
    image = await inside.store.image("job", 0)
    said = json.loads(Image.open(BytesIO(image.data)).info["sfumato"])
    assert record.finished_early <= said["finished_early"] < 1000
    assert (await inside.store.finish_now("job")).status is JobStatus.SUCCEEDED


async def test_a_job_that_has_not_begun_has_nothing_to_end_with(inside: Inside) -> None:
    await inside.create("job")
    with pytest.raises(NotBegun):
        await inside.store.finish_now("job")
    with pytest.raises(JobNotFound):
        await inside.store.finish_now("other")
    await inside.store.cancel("job")
    assert (await inside.store.finish_now("job")).status is JobStatus.CANCELED
