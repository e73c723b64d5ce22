"""Overlapping calls and postprocessing: in order, none lost to another's fault."""

import threading
from functools import partial

import pytest
import torch

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
        Failed, Advanced, Advanced, Previewed, Advanced, Advanced, Finished, Saved, Released,
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
