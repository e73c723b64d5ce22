"""Overlapping calls and postprocessing: in order, none lost to another's fault."""

import threading
from copy import copy
from functools import partial

import pytest
import torch
from torch import Tensor

from diffusion.bundle.bundle import Bundle
from tests.workers.harness import image_request
from workers.engine.admission import SlotAdmission
from workers.engine.forward import Evaluated, Overlap
from workers.engine.messages import Advanced, Failed, Finished, Previewed, Released, Report, Saved
from workers.engine.postprocess import Postprocess
from workers.engine.slot import Slot

DEVICES = [(torch.device("cpu"), True), (torch.device("cuda"), False)]


@pytest.mark.parametrize(("device", "other_thread"), DEVICES)
def test_only_cpu_calls_run_in_another_thread(device: torch.device, other_thread: bool) -> None:
    done: list[int] = []

    def call(number: int) -> int:
        done.append(number)
        return threading.get_ident()

    overlap = Overlap(device)
    results = [overlap.submit(partial(call, number)) for number in range(5)]
    threads = {result() for result in results}
    assert done == [0, 1, 2, 3, 4]
    assert (threading.get_ident() not in threads) == other_thread
    overlap.close()


@pytest.mark.parametrize("device", [device for device, _ in DEVICES])
def test_a_call_raises_where_its_result_is_asked_for(device: torch.device) -> None:
    overlap = Overlap(device)
    result = overlap.submit(lambda: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        result()
    overlap.close()


def moved_slot(bundle: Bundle, **changes: object) -> Slot:
    """Return a slot after its first row."""
    slot, _ = SlotAdmission(bundle).open(image_request(**changes))  # type: ignore[arg-type]
    slot.row = 1
    return slot


def evaluated(slot: Slot, denoised: torch.Tensor) -> Evaluated:
    """Return the result of an evaluation of one slot."""
    return Evaluated([slot], denoised, slot.state[None], [True], 0.0, 0.0)


def test_reports_come_in_order_and_a_fault_holds_none_back(bundle: Bundle) -> None:
    reports: list[Report] = []
    postprocess = Postprocess(bundle, reports.append, preview_s=0.0)
    slot, other = (moved_slot(bundle, preview=1) for _ in range(2))
    last = moved_slot(bundle, steps=1)
    postprocess.report(Failed("a", 0, "internal", "first"))
    # No latents: the preview cannot be decoded.
    postprocess.advanced(0, evaluated(other, torch.zeros(1, 3)), [other])
    postprocess.advanced(1, evaluated(slot, slot.state[:1]), [slot])
    postprocess.advanced(2, evaluated(slot, slot.state[:1]), [slot])  # shown at this step already
    postprocess.advanced(3, evaluated(last, last.state[:1]), [last])
    postprocess.save([slot, slot])
    postprocess.release("job", [slot])
    postprocess.run()
    assert [type(report) for report in reports] == [
        Failed, Advanced, Advanced, Previewed, Advanced, Advanced, Saved, Finished, Released,
    ]  # fmt: skip
    postprocess.run()
    assert len(reports) == 9


def test_an_image_whose_decoding_fails_fails_alone(bundle: Bundle) -> None:
    reports: list[Report] = []
    postprocess = Postprocess(bundle, reports.append, preview_s=0.0)
    slot = moved_slot(bundle, steps=1)
    slot.state = slot.state[:, :, 0]
    postprocess.advanced(0, evaluated(slot, slot.state), [slot])
    postprocess.run()
    _, failed = reports
    assert isinstance(failed, Failed)
    assert failed.code == "internal"


class SlowDecoder:
    """Takes so long for an image, by a clock of its own."""

    def __init__(self, bundle: Bundle, seconds: float) -> None:
        self._inner = bundle.decoder
        self._seconds = seconds
        self.now = 0.0

    def decode(self, latents: Tensor) -> Tensor:
        """Decode."""
        self.now += self._seconds
        return self._inner.decode(latents)


def test_many_that_end_at_once_do_not_hold_up_the_others(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    reports: list[Report] = []
    slow, decoder = copy(bundle), SlowDecoder(bundle, 0.05)
    slow.decoder = decoder
    monkeypatch.setattr("workers.engine.postprocess.monotonic", lambda: decoder.now)
    postprocess = Postprocess(slow, reports.append, preview_s=0.0)
    slots = [moved_slot(bundle, job_id=f"job{n}", steps=1) for n in range(6)]
    states = torch.stack([slot.state for slot in slots])
    ended = Evaluated(slots, states[:, 0], states, [True] * 6, 0.08, 0.0)
    postprocess.advanced(0, ended, slots)
    counts: list[int] = []
    while not counts or postprocess.waits:
        postprocess.run()
        counts.append(sum(isinstance(report, Finished) for report in reports))
    assert counts == [2, 4, 6]
    assert [r.job_id for r in reports if isinstance(r, Finished)] == [f"job{n}" for n in range(6)]


def test_a_job_that_leaves_takes_its_finished_images_with_it(bundle: Bundle) -> None:
    reports: list[Report] = []
    postprocess = Postprocess(bundle, reports.append, preview_s=0.0)
    first, second, third = (moved_slot(bundle, job_id=name, steps=1) for name in ("a", "b", "b"))
    for tick, slot in enumerate((first, second, third)):
        postprocess.advanced(tick, evaluated(slot, slot.state[:1]), [slot])
    postprocess.release("b", [])
    postprocess.run()
    seen = [r for r in reports if isinstance(r, Finished | Released)]
    assert [r.job_id for r in seen] == ["b", "b", "b", "a"]
    assert isinstance(seen[2], Released)


def test_an_image_that_does_not_fit_in_memory_is_decoded_in_tiles(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []
    decode = Bundle.decode

    def scarce(self: Bundle, latents: Tensor, **options: bool) -> object:
        asked.append(options.get("tiled", False))
        if not asked[-1]:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return decode(self, latents)

    monkeypatch.setattr(Bundle, "decode", scarce)
    reports: list[Report] = []
    postprocess = Postprocess(bundle, reports.append, preview_s=0.0)
    slot = moved_slot(bundle, steps=1)
    postprocess.advanced(0, evaluated(slot, slot.state[:1]), [slot])
    postprocess.run()
    assert isinstance(reports[-1], Finished)
    assert asked == [False, False, True]
