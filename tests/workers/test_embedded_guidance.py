"""A job on a model that takes the guidance scale as an input."""

import pytest

from diffusion.bundle.bundle import Bundle, load_bundle
from tests.layouts.flows import flux
from tests.workers.inside import Inside


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return load_bundle(flux(tmp_path_factory.mktemp("layouts") / "flux"))


async def test_work_progress_and_engine_count_one_pass_a_row(inside: Inside) -> None:
    """Its negative prompt, of which the text encoders would not read all, is not read at all."""
    fields = {"guidance_scale": 4.0, "negative_prompt": "blurry " * 200, "num_images": 2}
    await inside.submit("job", sampler="euler", num_inference_steps=5, **fields)
    record = await inside.ended("job")
    assert record.units == record.units_done == 2 * 5
    assert record.evaluations == 2 * 5
    assert record.warnings == ()
    (served,) = inside.host.served.values()
    assert served.engine.stats.rows == 2 * 5
