"""Image i of a job is the image of seed + i drawn alone."""

import json
from io import BytesIO

import pytest
from PIL import Image

from jobs.schema import MAX_SEED
from tests.workers.inside import Inside

pytestmark = pytest.mark.parametrize(
    "inside", [{"slots": 3, "rows_per_tick": 4, "deterministic": True}], indirect=True
)
SEED = 2**53 - 1  # as a double, it and its successors are not told apart


@pytest.mark.parametrize(
    "fields",
    [
        {"sampler": "euler_ancestral", "num_inference_steps": 3, "output_format": "png"},
        {"sampler": "ddim", "eta": 0.5, "num_inference_steps": 3, "output_format": "webp"},
    ],
    ids=["png", "webp"],
)
async def test_each_image_is_that_of_its_own_seed(
    inside: Inside, fields: dict[str, object]
) -> None:
    await inside.submit("together", seed=SEED, num_images=3, **fields)
    together = await inside.ended("together")
    assert [image.seed for image in together.images] == [SEED, SEED + 1, SEED + 2]
    files = [(await inside.store.image("together", i)).data for i in range(3)]
    assert len(set(files)) == 3
    for index, file in enumerate(files):
        name = f"alone-{index}"
        await inside.submit(name, seed=SEED + index, **fields)
        assert (await inside.ended(name)).images[0].seed == SEED + index
        assert (await inside.store.image(name, 0)).data == file


async def test_the_last_seed_is_that_of_the_last_image(inside: Inside) -> None:
    await inside.submit("job", seed=MAX_SEED - 1, num_images=2, num_inference_steps=1)
    assert [image.seed for image in (await inside.ended("job")).images] == [MAX_SEED - 1, MAX_SEED]
    file = Image.open(BytesIO((await inside.store.image("job", 1)).data))
    assert json.loads(file.info["sfumato"])["seed"] == MAX_SEED
