"""Weighted, scheduled and long prompts in the engine: mixed, resumed, and what is cut."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline

from diffusion.bundle.bundle import Bundle, load_bundle
from tests.layouts.unet_family import sd15, sdxl
from tests.parity.table import SEED, our_noise
from tests.workers.harness import Bench, image_request, solo
from workers.engine.admission import SlotAdmission
from workers.engine.engine import EngineSettings
from workers.engine.messages import Admitted, ImageRequest, Resume, Saved

PROMPTS = (
    "a red apple",
    "a (red:1.4) apple",
    "a [red|green] apple",
    "a [red:green:0.5] apple",
    f"a (red) apple, {'and a pear, ' * 8}",
    f"[a cat:{'a long dog, ' * 8}:2]",
    "a [[red]] apple BREAK b BREAK c",
    r"a \(red\) apple",
)


@pytest.fixture(scope="module", params=[sd15, sdxl], ids=["SD 1.5", "SDXL"])
def network(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return load_bundle(request.param(tmp_path_factory.mktemp("syntax") / "m"))


def asked(number: int) -> ImageRequest:
    """Return one of twelve requests that differ in everything."""
    return image_request(
        f"job{number}",
        prompt=PROMPTS[number % len(PROMPTS)],
        negative_prompt=("", "(blurry:1.3)", "[grey:dark:0.4]")[number % 3],
        prompt_syntax=("a1111", "a1111_mean", "plain")[number % 5 % 3],
        sampler=("euler", "dpmpp_2m", "heun", "euler_ancestral")[number % 4],
        steps=3 + number % 3,
        guidance_scale=1.0 if number == 7 else 5.0,
        seed=number,
    )


@pytest.mark.parametrize("deterministic", [False, True])
def test_twelve_in_a_batch_equal_their_solo_runs(network: Bundle, deterministic: bool) -> None:
    requests = [asked(number) for number in range(12)]
    settings = EngineSettings(
        slots=12, rows_per_tick=7 if deterministic else 24, deterministic=deterministic
    )
    together, alone = Bench(network, settings).draw(*requests), solo(network, requests, settings)
    assert len(alone) == 12
    for key, pixels in alone.items():
        difference = np.abs(together[key].astype(int) - pixels).max()
        assert difference <= (0 if deterministic else 1), key


SETTINGS = EngineSettings(checkpoint_s=0.0, deterministic=True, rows_per_tick=2)


@pytest.mark.parametrize("sampler", ["euler", "heun"])
def test_a_prompt_that_changes_is_one_and_then_the_other(network: Bundle, sampler: str) -> None:
    request = image_request(prompt_syntax="a1111", sampler=sampler, schedule="trailing", steps=5)
    both = Bench(network, SETTINGS).draw(replace(request, prompt="[a cat:a dog:2]"))["job", 0]
    first = Bench(network, SETTINGS)
    first.draw(replace(request, prompt="a cat"))
    rows = 2 if sampler == "euler" else 4
    (saved,) = (each for each in first.of(Saved) if each.row == rows)
    resume = Resume(saved.row, saved.state, saved.identity)
    then = Bench(network, SETTINGS).draw(replace(request, prompt="a dog", resume=resume))
    assert np.array_equal(then["job", 0], both)


def test_a_state_taken_up_at_any_row_ends_in_the_same_image(network: Bundle) -> None:
    request = image_request(prompt_syntax="a1111", prompt=PROMPTS[5], sampler="ddpm", steps=5)
    request = replace(request, schedule="trailing", negative_prompt="[a|b]")
    bench = Bench(network, SETTINGS)
    whole = bench.draw(request)["job", 0]
    for saved in bench.of(Saved):
        resumed = replace(request, resume=Resume(saved.row, saved.state, saved.identity))
        assert np.array_equal(Bench(network, SETTINGS).draw(resumed)["job", 0], whole)


def test_texts_that_take_turns_are_kept_once(network: Bundle) -> None:
    admission = SlotAdmission(network)
    request = image_request(
        prompt_syntax="a1111", prompt=f"[a|{'b' * 90}]", negative_prompt="[c|d|e]", steps=60
    )
    slot, _ = admission.open(request)
    kept = {id(each) for g in slot.guidances for each in (g.cond.embeddings, g.uncond.embeddings)}
    assert (len(slot.guidances), len(kept)) == (60, 5)


@pytest.mark.parametrize("syntax", ["a1111", "a1111_mean"])
def test_no_weight_overflows_and_a_limited_one_is_reported(network: Bundle, syntax: str) -> None:
    bench = Bench(network)
    nines = "9" * 400
    prompts = (f"a (cat:{nines})", f"((a:0):{nines})", f"(a:-{nines})", "a (cat:15)")
    drawn = bench.draw(
        *(
            image_request(f"job{i}", prompt_syntax=syntax, prompt=prompt, negative_prompt="(b:2)")
            for i, prompt in enumerate(prompts)
        )
    )
    assert len(drawn) == len(prompts)
    limited = {each.job_id for each in bench.of(Admitted) if each.at_weight_limit}
    assert limited == {"job0", "job2"}


def test_what_is_cut_of_any_of_its_texts_is_reported(network: Bundle) -> None:
    bench = Bench(network)
    bench.draw(
        image_request(
            prompt_syntax="a1111", prompt=f"[a:{'b' * 310}:2]", negative_prompt="c" * 301, steps=3
        )
    )
    (admitted,) = bench.of(Admitted)
    assert {(cut.read, cut.tokens) for cut in admitted.prompt_cut} == {(300, 310)}
    assert {(cut.read, cut.tokens) for cut in admitted.negative_prompt_cut} == {(300, 301)}


def test_weighted_and_long_prompts_draw_what_diffusers_draws_from_their_states(
    tmp_path: Path,
) -> None:
    folder = sd15(tmp_path / "m")
    bundle = load_bundle(folder)
    pipeline: Any = StableDiffusionPipeline.from_pretrained(folder, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    prompt, negative = f"a (red:1.5) apple {'b' * 90}", "[blurry]"
    request = image_request(
        prompt=prompt,
        negative_prompt=negative,
        prompt_syntax="a1111",
        seed=SEED,
        sampler="plms",
        schedule="model",
        steps=6,
        guidance_scale=4.0,
    )
    (drawn,) = Bench(bundle).draw(request).values()
    cond, uncond = (bundle.encode_prompt(text, "interpolated") for text in (prompt, negative))
    with our_noise(pipeline):
        (image,) = pipeline(
            prompt_embeds=cond.embeddings[None],
            negative_prompt_embeds=uncond.repeated(len(cond.embeddings)).embeddings[None],
            num_inference_steps=6,
            guidance_scale=4.0,
            output_type="np",
        ).images
    assert abs((image * 255).round() - drawn).max() <= 1


def test_a_model_that_pools_over_all_tokens_reads_one_chunk(bundle: Bundle) -> None:
    bench = Bench(bundle)
    drawn = bench.draw(
        image_request("long", prompt_syntax="a1111", prompt=f"a (red:1.2) apple {'b ' * 90}"),
        image_request("weighted", prompt_syntax="a1111", prompt="a (red:1.2) apple"),
        image_request("plain", prompt="a red apple"),
    )
    (cut,) = next(each.prompt_cut for each in bench.of(Admitted) if each.job_id == "long")
    assert cut.read < cut.tokens
    assert not np.array_equal(drawn["weighted", 0], drawn["plain", 0])


def test_an_export_draws_weighted_and_scheduled_prompts(onnx_bundle: Bundle) -> None:
    requests = [replace(asked(number), schedule="karras") for number in (1, 2, 3)]
    settings = EngineSettings(slots=3, rows_per_tick=6)
    together = Bench(onnx_bundle, settings).draw(*requests)
    for key, pixels in solo(onnx_bundle, requests, settings).items():
        assert np.abs(together[key].astype(int) - pixels).max() <= 1
