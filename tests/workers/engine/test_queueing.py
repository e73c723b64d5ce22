"""The engine's thread and the one beside it: what waits, and what goes first."""

import os
import sys
import threading
from functools import partial
from time import monotonic, sleep

import pytest
import torch
from torch import Tensor

from diffusion.bundle.bundle import Bundle
from diffusion.model import Conditioning
from tests.faults.devices import Faulty
from tests.processes import PATIENCE_S
from tests.workers.harness import Bench, image_request
from workers.engine import engine
from workers.engine.engine import EngineSettings
from workers.engine.forward import Overlap
from workers.engine.messages import Admitted, Advanced, Failed, Finished


def wait_for(bench: Bench, finished: int) -> None:
    """Wait until so many images have been finished."""
    deadline = monotonic() + PATIENCE_S
    while len(bench.of(Finished)) < finished:
        assert monotonic() < deadline, bench.reports
        sleep(0.005)


@pytest.mark.parametrize("slots", [1, 2])
def test_the_engine_draws_more_images_than_it_has_slots(bundle: Bundle, slots: int) -> None:
    bench = Bench(bundle, EngineSettings(slots=slots, rows_per_tick=2))
    bench.engine.start()
    for i in range(5):
        bench.engine.submit(image_request(f"job{i}", steps=3))
    wait_for(bench, 5)


def test_images_that_wait_are_drawn_after_one_that_leaves_the_last_slot(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By release, by a request that cannot be drawn, and by its end."""
    drawing, go_on = threading.Event(), threading.Event()

    def held(_call: int, prediction: Tensor) -> Tensor:
        drawing.set()
        go_on.wait(PATIENCE_S)
        return prediction

    monkeypatch.setattr(bundle, "backbone", Faulty(bundle.backbone, held))
    bench = Bench(bundle, EngineSettings(slots=1))
    bench.engine.start()
    bench.engine.submit(image_request("released", steps=900))
    bench.engine.submit(image_request("bad", sampler="no_such"))
    bench.engine.submit(image_request("good", steps=2))
    assert drawing.wait(PATIENCE_S)
    bench.engine.release("released")
    go_on.set()
    wait_for(bench, 1)
    assert [finished.job_id for finished in bench.of(Finished)] == ["good"]
    assert [failed.job_id for failed in bench.of(Failed)] == ["bad"]


def test_the_ticks_own_work_goes_before_prompts_that_wait() -> None:
    done: list[str] = []
    running, go_on = threading.Event(), threading.Event()

    def prompt(name: str) -> None:
        running.set()
        go_on.wait(PATIENCE_S)
        done.append(name)

    overlap = Overlap(torch.device("cpu"))
    prompts = [overlap.submit(partial(prompt, name)) for name in "abc"]
    assert running.wait(PATIENCE_S)
    overlap.submit(partial(done.append, "awaited"), first=True)()
    overlap.submit(partial(done.append, "tick"), first=True)
    go_on.set()
    for result in prompts:
        result()
    overlap.close()
    assert done == ["awaited", "a", "tick", "b", "c"]


@pytest.mark.skipif(sys.platform != "linux", reason="schedulers differ")
def test_what_is_done_beside_a_pass_does_not_interrupt_it() -> None:
    overlap = Overlap(torch.device("cpu"))
    assert overlap.submit(lambda: os.sched_getscheduler(0))() == os.SCHED_BATCH
    overlap.close()


def test_an_overlap_that_nobody_holds_ends_its_thread() -> None:
    before = {*threading.enumerate()}
    overlap = Overlap(torch.device("cpu"))
    (thread,) = {*threading.enumerate()} - before
    del overlap
    thread.join(PATIENCE_S)
    assert not thread.is_alive()


def test_where_nothing_overlaps_one_image_begins_at_a_time(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "Overlap", lambda _: Overlap(torch.device("meta")))
    bench = Bench(bundle, EngineSettings(slots=8, rows_per_tick=16))
    bench.engine.submit(image_request("drawn", steps=20))
    bench.engine.tick()
    for i in range(3):
        bench.engine.submit(image_request(f"job{i}", steps=20))
    begun = []
    for _ in range(4):
        bench.engine.tick()
        begun.append(len(bench.of(Admitted)))
    assert begun == [2, 3, 4, 4]
    assert len(bench.run()) == 4


def test_a_slow_prompt_holds_up_no_image_that_is_being_drawn(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode, go_on = bundle.encode_prompts, threading.Event()

    def slowly(prompts: list[str]) -> list[Conditioning]:
        if "slow" in prompts:
            assert go_on.wait(PATIENCE_S)
        return encode(prompts)

    bench = Bench(bundle, EngineSettings())
    bench.engine.submit(image_request("drawn", steps=50))
    bench.engine.tick()
    monkeypatch.setattr(bundle, "encode_prompts", slowly)
    bench.engine.submit(image_request("waits", prompt="slow"))
    bench.engine.submit(image_request("behind", prompt="cat", steps=5))
    try:
        for _ in range(20):
            bench.engine.tick()
        assert len(bench.of(Advanced)) >= 20
    finally:
        go_on.set()
    assert len(bench.run()) == 3
