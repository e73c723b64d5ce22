"""The engine: mixing, resuming, leaving, and keeping one image's fault from the others."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from time import monotonic, sleep

import numpy as np
import pytest
import torch
from torch import Tensor

from diffusion.backbones.backbone import Condition
from diffusion.bundle.bundle import Bundle
from diffusion.samplers import table
from diffusion.samplers.registry import SAMPLERS, compile_table
from tests.backbones import Wrapped
from tests.processes import PATIENCE_S
from tests.workers.harness import Bench, image_request, solo
from workers.engine.engine import EngineSettings
from workers.engine.messages import (
    Admitted,
    Advanced,
    Failed,
    Finished,
    ImageRequest,
    Previewed,
    Released,
    Resume,
    Saved,
)


def mixed_requests(count: int) -> list[ImageRequest]:
    """Return requests that differ in everything a client can choose."""
    chooser = random.Random(5)
    names = list(SAMPLERS)
    return [
        image_request(
            f"job{i}",
            sampler=(name := names[i % len(names)]),
            schedule=chooser.choice(SAMPLERS[name].schedules),
            steps=chooser.randint(1, 14),
            seed=chooser.randrange(2**40),
            prompt=chooser.choice(["a red apple", "cat", "蓝色的心", ""]),
            negative_prompt=chooser.choice(["", "blurry"]),
            guidance_scale=chooser.choice([1.0, 2.0, 5.5]),
            guidance_rescale=chooser.choice([0.0, 0.7]),
        )
        for i in range(count)
    ]


def run_mixed(
    bundle: Bundle, requests: list[ImageRequest], settings: EngineSettings
) -> dict[tuple[str, int], np.ndarray[tuple[int, ...], np.dtype[np.uint8]]]:
    """Submit the requests at random ticks."""
    chooser = random.Random(9)
    bench = Bench(bundle, settings)
    left = list(requests)
    while left:
        for _ in range(min(len(left), chooser.randint(0, 4))):
            bench.engine.submit(left.pop(0))
        bench.engine.tick()
    return bench.run()


@pytest.mark.parametrize(
    ("which", "options", "levels"),
    [
        ("bundle", {"rows_per_tick": 16}, 1),
        ("bundle", {"rows_per_tick": 16, "batch_sizes": (4, 10, 16)}, 1),
        ("bundle", {"rows_per_tick": 8, "deterministic": True}, 0),
        ("onnx_bundle", {"rows_per_tick": 16}, 0),  # bit for bit by default on the CPU
    ],
    ids=["torch", "torch in a few sizes", "torch deterministic", "onnx"],
)
def test_mixed_batch_equals_solo(
    request: pytest.FixtureRequest, which: str, options: dict[str, int], levels: int
) -> None:
    bundle, requests = request.getfixturevalue(which), mixed_requests(40)
    settings = EngineSettings(slots=12, **options)  # type: ignore[arg-type]
    together, alone = run_mixed(bundle, requests, settings), solo(bundle, requests, settings)
    assert len(together) == 40
    for key, pixels in alone.items():
        assert np.abs(together[key].astype(int) - pixels.astype(int)).max() <= levels, key


def test_batches_come_in_the_sizes_that_were_chosen(with_backbone: Bundle) -> None:
    network = Wrapped(with_backbone.backbone)
    with_backbone.backbone = network
    sizes = (3, 8, 12)
    bench = Bench(with_backbone, EngineSettings(rows_per_tick=12, batch_sizes=sizes))
    images = [image_request(f"job{n}", steps=20 + n, guidance_scale=1.0 + n % 2) for n in range(7)]
    bench.draw(*images)
    assert set(network.calls) == {*sizes}
    assert bench.engine.stats.rows < sum(network.calls), "padding is counted"


@pytest.mark.parametrize("sampler", ["dpmpp_2m", "dpmpp_sde", "lms", "unipc", "euler_ancestral"])
def test_a_state_taken_up_at_any_row_ends_in_the_same_image(bundle: Bundle, sampler: str) -> None:
    settings = EngineSettings(checkpoint_s=0.0, deterministic=True, rows_per_tick=4)
    request = image_request(sampler=sampler, steps=5)
    bench = Bench(bundle, settings)
    whole = bench.draw(request)["job", 0]
    states = bench.of(Saved)
    assert [s.row for s in states] == list(range(1, bench.engine.stats.evaluations))
    for saved in states:
        second = Bench(bundle, settings)
        resumed = replace(request, resume=Resume(saved.row, saved.state, saved.identity))
        assert np.array_equal(second.draw(resumed)["job", 0], whole), saved.row
        assert second.of(Admitted)[0].row == saved.row
        assert second.engine.stats.evaluations == bench.engine.stats.evaluations - saved.row


def test_an_early_image_is_saved_once_after_its_first_evaluation(bundle: Bundle) -> None:
    bench = Bench(bundle, EngineSettings(checkpoint_s=1e9))
    bench.draw(image_request("early", early=True), image_request("late"))
    assert [(saved.job_id, saved.row) for saved in bench.of(Saved)] == [("early", 1)]


def test_a_state_of_another_build_starts_again_and_says_so(bundle: Bundle) -> None:
    settings = EngineSettings(checkpoint_s=0.0)
    bench = Bench(bundle, settings)
    whole = bench.draw(image_request())["job", 0]
    saved = bench.of(Saved)[2]
    second = Bench(bundle, settings)
    resume = Resume(saved.row, saved.state, "another:torch:table")
    again = second.draw(image_request(resume=resume))["job", 0]
    assert np.abs(again.astype(int) - whole).max() <= 1
    assert second.of(Admitted)[0] == Admitted("job", 0, 0, refused=True)


def test_a_state_of_the_former_tables_starts_again(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Until table version 2 the images of a job had one seed: their noise was another.
    compiled = compile_table("dpmpp_2m", bundle.noise_schedule, schedule="karras", steps=6)
    with monkeypatch.context() as former:
        former.setattr(table, "TABLE_VERSION", 1)
        identity = f"{bundle.info.sha256}:torch:{compiled.fingerprint()}"
    state = np.zeros((2, *bundle.latent_shape(32, 32)), np.float32)
    bench = Bench(bundle)
    bench.draw(image_request(resume=Resume(3, state, identity)))
    assert bench.of(Admitted)[0] == Admitted("job", 0, 0, refused=True)


def test_release_gives_the_last_states_and_frees_the_slot(bundle: Bundle) -> None:
    bench = Bench(bundle, EngineSettings(slots=1))
    for name in ("first", "second", "third"):
        bench.engine.submit(image_request(name))
    for _ in range(3):
        bench.engine.tick()
    bench.engine.release("first")
    bench.engine.release("second")  # it waits for a slot
    assert set(bench.run()) == {("third", 0)}
    first, second = sorted(bench.of(Released), key=lambda released: released.job_id)
    assert (first.job_id, [saved.row for saved in first.saved]) == ("first", [3])
    assert second == Released("second")


class Poisoned(Wrapped):
    """Gives NaN for rows of one prompt."""

    def __init__(self, bundle: Bundle, prompt: str, *, raises: bool = False) -> None:
        super().__init__(bundle.backbone)
        self.poison = bundle.encode_prompts([prompt])[0].embeddings
        self.raises = raises

    def spoil(self, prediction: Tensor, conditions: Sequence[Condition]) -> Tensor:
        embeddings = torch.stack([each.prompt.embeddings for each in conditions])
        hit = torch.isclose(embeddings, self.poison, atol=1e-4).flatten(1).all(1)
        if self.raises and hit.any():
            raise RuntimeError("shape mismatch")
        return torch.where(hit.reshape(-1, 1, 1, 1), torch.nan, prediction)


class Small(Wrapped):
    """Holds so many rows and no more."""

    def __init__(self, bundle: Bundle, most: int) -> None:
        super().__init__(bundle.backbone)
        self.most = most

    def spoil(self, prediction: Tensor, conditions: Sequence[Condition]) -> Tensor:
        if len(prediction) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return prediction


@pytest.fixture
def with_backbone(bundle: Bundle) -> Iterator[Bundle]:
    original = bundle.backbone
    yield bundle
    bundle.backbone = original


@pytest.mark.parametrize(("raises", "code"), [(False, "non_finite"), (True, "internal")])
def test_a_failing_row_fails_its_job_alone(with_backbone: Bundle, raises: bool, code: str) -> None:
    good = [image_request(f"job{i}", seed=i) for i in range(4)]
    expected = solo(with_backbone, good, EngineSettings())
    with_backbone.backbone = Poisoned(with_backbone, "poison", raises=raises)
    bench = Bench(with_backbone)
    finished = bench.draw(*good, image_request("bad", prompt="poison"))
    assert finished.keys() == expected.keys()
    for key, pixels in expected.items():
        assert np.abs(finished[key].astype(int) - pixels).max() <= 1
    (failed,) = bench.of(Failed)
    assert (failed.job_id, failed.code) == ("bad", code)
    assert failed.detail


@pytest.mark.parametrize("deterministic", [False, True])
def test_out_of_memory_halves_the_batch_and_goes_on(
    with_backbone: Bundle, deterministic: bool
) -> None:
    with_backbone.backbone = Small(with_backbone, 5)
    settings = EngineSettings(rows_per_tick=16, deterministic=deterministic)
    bench = Bench(with_backbone, settings)
    assert len(bench.draw(*(image_request(f"job{i}", seed=i) for i in range(8)))) == 8
    assert bench.engine.rows_per_tick == 4
    assert not bench.of(Failed)


def test_an_image_too_large_for_the_device_fails_alone(with_backbone: Bundle) -> None:
    with_backbone.backbone = Small(with_backbone, 1)
    bench = Bench(with_backbone)
    requests = image_request("guided"), image_request("unguided", guidance_scale=1.0)
    assert set(bench.draw(*requests)) == {("unguided", 0)}
    (failed,) = bench.of(Failed)
    assert (failed.job_id, failed.code) == ("guided", "out_of_memory")


def test_a_request_that_cannot_be_compiled_fails_alone(bundle: Bundle) -> None:
    bench = Bench(bundle)
    requests = image_request("bad", sampler="no_such"), image_request("good")
    assert set(bench.draw(*requests)) == {("good", 0)}
    (failed,) = bench.of(Failed)
    assert (failed.job_id, failed.code) == ("bad", "invalid_request")
    assert "no_such" in failed.detail


def test_previews_come_at_the_asked_interval_and_end_as_the_image(bundle: Bundle) -> None:
    bench = Bench(bundle, EngineSettings(preview_s=0.0))
    bench.draw(image_request(steps=10, preview=3))
    assert [p.step for p in bench.of(Previewed)] == [3, 6, 9]
    assert all(p.pixels.shape == (32, 32, 3) for p in bench.of(Previewed))


def test_guided_images_cost_two_rows_and_others_one(bundle: Bundle) -> None:
    bench = Bench(bundle)
    bench.draw(
        image_request("guided", steps=4), image_request("plain", steps=4, guidance_scale=1.0)
    )
    assert bench.engine.stats.rows == 4 * 2 + 4
    images = [image for report in bench.of(Advanced) for image in report.images]
    assert {i.job_id: i.evaluations for i in images if i.row == i.rows} == {"guided": 8, "plain": 4}


def test_images_of_two_sizes_are_never_in_one_pass(bundle: Bundle) -> None:
    bench = Bench(bundle)
    finished = bench.draw(image_request("small", steps=3), image_request("wide", steps=3, width=64))
    assert finished["wide", 0].shape == (32, 64, 3)
    assert all(len(report.images) == 1 for report in bench.of(Advanced))


def test_the_threaded_engine_serves_and_stops(bundle: Bundle) -> None:
    bench = Bench(bundle)
    bench.engine.start()
    bench.engine.submit(image_request())
    deadline = monotonic() + PATIENCE_S
    # It reports an image a moment before it is idle.
    while not (bench.of(Finished) and bench.engine.silent_s == 0.0):
        assert monotonic() < deadline, bench.reports
        sleep(0.005)
    bench.engine.stop()


def test_an_image_alone_does_not_make_the_engine_look_slow(bundle: Bundle) -> None:
    bench = Bench(bundle, EngineSettings(slots=8, rows_per_tick=8, units_per_s=1e6))
    bench.draw(image_request(steps=6))
    assert bench.engine.stats.units_per_s == 1e6  # no tick was full: the calibration stands


def test_full_batches_measure_the_speed(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """Measured anew if need be: on a busy machine, one tick may take several times another's."""
    monkeypatch.setattr("workers.engine.throughput.SETTLED_S", 0.0)
    ratios: list[float] = []
    while not ratios or (ratios[-1] != pytest.approx(1, rel=0.3) and len(ratios) < 20):
        bench = Bench(bundle, EngineSettings(slots=8, rows_per_tick=8, units_per_s=1e6))
        bench.draw(*(image_request(f"job{i}", steps=6, width=64) for i in range(4)))
        stats = bench.engine.stats
        seconds = stats.model_s + stats.step_s + stats.overhead_s
        # A row of 64×32 is two units of this model of 32×32.
        ratios.append(stats.units_per_s / (2 * stats.rows / seconds))
    assert ratios[-1] == pytest.approx(1, rel=0.3), ratios
