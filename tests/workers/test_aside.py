"""Errands: done beside the engine or by it, in order, none lost to another's fault."""

import threading
from functools import partial

import pytest
import torch

from diffusion.bundle import Bundle
from tests.workers.harness import order
from workers.aftermath import Aftermath
from workers.aside import Aside, Beside, Later, aside_for
from workers.messages import Failed, Finished, Previewed, Released, Report
from workers.opening import Opening


@pytest.mark.parametrize(("aside", "other_thread"), [(Beside(), True), (Later(), False)])
def test_errands_are_done_in_order(aside: Aside, other_thread: bool) -> None:
    done: list[int] = []

    def do(number: int) -> int:
        done.append(number)
        return threading.get_ident()

    errands = [aside.submit(partial(do, number)) for number in range(5)]
    threads = {errand.result() for errand in errands}
    assert done == [0, 1, 2, 3, 4]
    assert (threading.get_ident() not in threads) == other_thread
    aside.close()


def test_an_errand_raises_where_its_result_is_asked_for() -> None:
    for aside in (Beside(), Later()):
        errand = aside.submit(lambda: 1 // 0)
        with pytest.raises(ZeroDivisionError):
            errand.result()
        aside.close()


def test_only_the_cpu_is_shared_with_another_thread() -> None:
    assert isinstance(aside_for(torch.device("cpu")), Beside)
    assert isinstance(aside_for(torch.device("cuda")), Later)


def test_what_a_tick_leaves_is_told_in_order_and_a_fault_keeps_nothing_back(bundle: Bundle) -> None:
    reports: list[Report] = []
    aftermath = Aftermath(bundle, reports.append, preview_s=0.0)
    slot, _ = Opening(bundle).open(order(preview=1))
    slot.row = 1
    other, _ = Opening(bundle).open(order(preview=1))
    other.row = 1
    aftermath.tell(Failed("a", 0, "internal", "first"))
    aftermath.preview([other], torch.zeros(1, 3), [True])  # no latents: it cannot be decoded
    aftermath.preview([slot], slot.state[:1], [True])
    aftermath.preview([slot], slot.state[:1], [True])  # shown at this step already
    aftermath.finish(slot)
    aftermath.release("job", [slot])
    aftermath.take()()
    assert [type(report) for report in reports] == [Failed, Previewed, Finished, Released]
    aftermath.take()()
    assert len(reports) == 4


def test_a_picture_whose_decoding_fails_fails_alone(bundle: Bundle) -> None:
    reports: list[Report] = []
    aftermath = Aftermath(bundle, reports.append, preview_s=0.0)
    slot, _ = Opening(bundle).open(order())
    slot.state = slot.state[:, :, 0]
    aftermath.finish(slot)
    aftermath.take()()
    (failed,) = reports
    assert isinstance(failed, Failed)
    assert failed.code == "internal"
