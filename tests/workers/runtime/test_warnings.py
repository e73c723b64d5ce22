"""What a worker finds in a request is in the job's record once."""

import numpy as np

from diffusion.bundle.bundle import Bundle
from diffusion.model import Truncation
from jobs.store import Checkpoint
from tests.bundles import TOKENS
from tests.workers.harness import Bench, image_request
from tests.workers.inside import Inside
from workers.engine.messages import Admitted
from workers.runtime.warnings import warnings

LONG = "apple " * 50


def test_a_prompt_as_long_as_the_encoder_is_read_whole(bundle: Bundle) -> None:
    read = TOKENS - 2  # beside the marks of its start and end
    longest, longer = bundle.encode_prompts([" ".join("a" * read), " ".join("a" * (read + 1))])
    assert longest.truncations == ()
    assert longer.truncations == (Truncation("text_encoder", read, read + 1),)
    (again,) = bundle.encode_prompts([" ".join("a" * 1000)])
    assert again.truncations == (Truncation("text_encoder", read, 1000),)


def test_a_negative_prompt_that_has_no_effect_is_not_cut(bundle: Bundle) -> None:
    bench = Bench(bundle)
    bench.draw(
        image_request("guided", negative_prompt=LONG),
        image_request("unguided", negative_prompt=LONG, guidance_scale=1.0),
    )
    cut = {admitted.job_id: admitted.negative_prompt_cut for admitted in bench.of(Admitted)}
    assert [each.encoder for each in cut["guided"]] == ["text_encoder"]
    assert cut["unguided"] == ()


def test_every_encoder_is_named() -> None:
    cut = (Truncation("text_encoder", 75, 80), Truncation("text_encoder_2", 75, 90))
    found = warnings(Admitted("job", 0, 0, refused=True, prompt_cut=cut, at_weight_limit=True))
    assert sorted(found) == ["prompt_truncated", "prompt_weight_limited", "started_over"]
    assert "the limit of 16" in found["prompt_weight_limited"].detail
    assert "text_encoder read 75 of the 80 tokens of prompt" in found["prompt_truncated"].detail
    assert "text_encoder_2 read 75 of the 90" in found["prompt_truncated"].detail


async def test_the_record_says_what_was_not_read(inside: Inside) -> None:
    fields = {"num_images": 3, "num_inference_steps": 2, "guidance_scale": 2.0}
    await inside.submit("long", prompt=LONG, negative_prompt=LONG, **fields)
    found = (await inside.ended("long")).warnings
    assert [each.code for each in found] == ["negative_prompt_truncated", "prompt_truncated"]
    await inside.submit("short", **fields)
    assert (await inside.ended("short")).warnings == ()


async def test_a_job_that_starts_over_says_so(inside: Inside) -> None:
    await inside.create("job", num_inference_steps=2)
    held = await inside.store.claim("tiny", "another", idle=True)
    assert held is not None
    blob = np.zeros(16, np.float32).tobytes()
    await inside.store.checkpoint(
        held.lease, [Checkpoint(0, 1, "former:torch:table", (1, 4, 2, 2), blob)]
    )
    await inside.store.requeue(held.lease, "drain")
    inside.threads.submit(inside.host.answer, "job")
    assert [each.code for each in (await inside.ended("job")).warnings] == ["started_over"]
