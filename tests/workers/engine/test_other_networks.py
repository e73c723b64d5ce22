"""Networks of other inputs than a UNet with prompts: mixed, resumed, and one image's fault."""

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from diffusion.bundle.bundle import Bundle, load_bundle
from diffusion.samplers.registry import SAMPLERS
from tests.layouts.pixels import ddpm
from tests.layouts.unet_family import lcm
from tests.workers.harness import Bench, image_request, solo
from workers.engine.calibrate import draw_once
from workers.engine.engine import EngineSettings
from workers.engine.messages import Admitted, Failed, ImageRequest, Resume, Saved

PROMPTS = {"text": ["a red apple", "cat", ""], "class": ["0", "9", "4"], "none": ["", "cat"]}


def by_class(folder: Path) -> Path:
    return ddpm(folder, num_class_embeds=10)


@pytest.fixture(scope="module", params=[lcm, ddpm, by_class], ids=["LCM", "pixels", "classes"])
def network(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    write: Callable[[Path], Path] = request.param
    return load_bundle(write(tmp_path_factory.mktemp("networks") / "m"))


def asked(bundle: Bundle, name: str, chooser: random.Random, sampler: str) -> ImageRequest:
    info = bundle.info
    return image_request(
        name,
        sampler=sampler,
        schedule=chooser.choice(SAMPLERS[sampler].schedules),
        steps=chooser.randint(1, 9),
        seed=chooser.randrange(2**40),
        prompt=chooser.choice(PROMPTS[info.prompt]),
        negative_prompt=chooser.choice(["", "blurry"]),
        guidance_scale=chooser.choice([1.0, 2.0, 8.5]),
        guidance_rescale=chooser.choice([0.0, 0.7]),
        width=info.width,
        height=info.height,
    )


@pytest.mark.parametrize("deterministic", [False, True])
def test_mixed_batch_equals_solo(network: Bundle, deterministic: bool) -> None:
    chooser = random.Random(5)
    requests = [
        asked(network, f"job{i}", chooser, sampler) for i, sampler in enumerate([*SAMPLERS, "ddpm"])
    ]
    settings = EngineSettings(slots=7, rows_per_tick=5, deterministic=deterministic)
    together, alone = Bench(network, settings).draw(*requests), solo(network, requests, settings)
    assert len(alone) == len(requests)
    for key, pixels in alone.items():
        difference = np.abs(together[key].astype(int) - pixels).max()
        assert difference <= (0 if deterministic else 1), key


def test_a_state_taken_up_at_any_row_ends_in_the_same_image(network: Bundle) -> None:
    settings = EngineSettings(checkpoint_s=0.0, deterministic=True, rows_per_tick=2)
    request = replace(asked(network, "job", random.Random(1), "ddpm"), schedule="trailing", steps=5)
    bench = Bench(network, settings)
    whole = bench.draw(request)["job", 0]
    states = bench.of(Saved)
    assert len(states) == 4
    for saved in states:
        second = Bench(network, settings)
        resumed = replace(request, resume=Resume(saved.row, saved.state, saved.identity))
        assert np.array_equal(second.draw(resumed)["job", 0], whole)
        assert second.of(Admitted)[0].row == saved.row


def test_an_image_takes_one_pass_whatever_its_guidance(network: Bundle) -> None:
    bench = Bench(network)
    request = asked(network, "job", random.Random(1), "euler")
    bench.draw(replace(request, guidance_scale=8.5, steps=3))
    assert bench.engine.stats.evaluations == 3


def test_the_scale_of_guidance_changes_what_a_network_draws_that_takes_it(network: Bundle) -> None:
    request = replace(asked(network, "job", random.Random(1), "euler"), steps=3)
    one, other = (
        Bench(network).draw(replace(request, guidance_scale=g))["job", 0] for g in (1.5, 8.5)
    )
    assert np.array_equal(one, other) != network.info.embeds_guidance


def test_a_worker_can_begin(network: Bundle) -> None:
    draw_once(network)


def test_a_prompt_that_is_no_class_fails_its_image_alone(network: Bundle) -> None:
    if network.info.prompt != "class":
        return
    bench = Bench(network)
    request = replace(asked(network, "sound", random.Random(1), "euler"), prompt="3")
    drawn = bench.draw(request, replace(request, job_id="wrong", prompt="a cat"))
    assert list(drawn) == [("sound", 0)]
    (failed,) = bench.of(Failed)
    assert (failed.job_id, failed.code) == ("wrong", "invalid_request")
    assert failed.detail.startswith("the prompt 'a cat' is no class of this model")
