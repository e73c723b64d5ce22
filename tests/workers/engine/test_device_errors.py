"""Errors of the device: what each is taken for, and that a broken device fails no image."""

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from diffusion.bundle.bundle import Bundle
from diffusion.errors import BundleError, DiffusionError, NonFiniteError
from tests.faults.devices import (
    ILLEGAL_ACCESS,
    Fault,
    Faulty,
    illegal_access,
    non_finite,
    out_of_memory,
    slow,
)
from tests.processes import PATIENCE_S
from tests.workers.harness import Bench, image_request, solo
from workers.engine.calibrate import calibrate
from workers.engine.device_errors import failure_code, is_broken, is_out_of_memory
from workers.engine.engine import EngineSettings
from workers.engine.messages import Failed, Finished


class Fail(Exception):
    """Stands for the classes of ONNX Runtime."""

    __module__ = "onnxruntime.capi.onnxruntime_pybind11_state"


BROKEN = [
    torch.AcceleratorError(ILLEGAL_ACCESS),
    torch.AcceleratorError("CUDA error: unspecified launch failure"),
    RuntimeError(ILLEGAL_ACCESS),
    RuntimeError("CUDA error: device-side assert triggered"),
    RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
    RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm( handle)`"),
    RuntimeError("HIP error: an illegal memory access was encountered"),
    Fail("[ONNXRuntimeError] : 1 : FAIL : CUDA failure 700: an illegal memory access"),
]
FULL = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    torch.AcceleratorError("CUDA error: out of memory"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:75] DefaultCPUAllocator: can't allocate memory"),
    MemoryError("std::bad_alloc"),
]
OTHERS = [
    RuntimeError("mat1 and mat2 shapes cannot be multiplied (2x3 and 4x5)"),
    RuntimeError("CUDA error: invalid configuration argument"),
    RuntimeError("cuDNN error: CUDNN_STATUS_NOT_SUPPORTED"),
    ValueError("the prompt 'CUDA error: an illegal memory access' has no tokens"),
    DiffusionError("unknown sampler 'CUDA error'"),
]


@pytest.mark.parametrize(
    ("errors", "broken", "full"),
    [(BROKEN, True, False), (FULL, False, True), (OTHERS, False, False)],
    ids=["broken", "full", "others"],
)  # fmt: skip
def test_errors_are_told_apart(errors: Sequence[Exception], broken: bool, full: bool) -> None:
    for error in errors:
        assert (is_broken(error), is_out_of_memory(error)) == (broken, full), error


def test_a_broken_device_is_no_reason_to_fail_an_image() -> None:
    for error in BROKEN:
        with pytest.raises(type(error)):
            failure_code(error)
    assert {failure_code(error) for error in FULL} == {"out_of_memory"}
    assert {failure_code(error) for error in OTHERS} == {"internal"}
    assert failure_code(NonFiniteError()) == "non_finite"


def faulty(bundle: Bundle, monkeypatch: pytest.MonkeyPatch, fault: Fault) -> None:
    monkeypatch.setattr(bundle, "backbone", Faulty(bundle.backbone, fault))


def raising(error: Exception) -> Any:
    def raises(*_: object, **__: object) -> None:
        raise error

    return raises


@pytest.mark.parametrize("plain", [False, True])
def test_a_device_that_breaks_ends_the_engine_and_fails_no_image(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, plain: bool
) -> None:
    faulty(bundle, monkeypatch, illegal_access(3, plain=plain))
    errors: list[Exception] = []
    ended = threading.Event()

    def failed(error: Exception) -> None:
        errors.append(error)
        ended.set()

    bench = Bench(bundle, failed=failed)
    for i in range(4):
        bench.engine.submit(image_request(f"job{i}"))
    bench.engine.start()
    assert ended.wait(PATIENCE_S)
    assert "illegal memory access" in str(errors)
    assert not bench.of(Failed)


@pytest.mark.parametrize("part", ["encode_prompts", "decode"])
def test_a_device_may_break_beside_the_forward_pass(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    bench = Bench(bundle)
    monkeypatch.setattr(bundle, part, raising(torch.AcceleratorError(ILLEGAL_ACCESS)))
    with pytest.raises(torch.AcceleratorError):
        bench.draw(image_request("job", steps=2), image_request("other", steps=9))
    assert not bench.of(Failed)


def test_a_device_that_is_broken_is_found_out_at_start(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    faulty(bundle, monkeypatch, illegal_access(0))
    with pytest.raises(BundleError, match="the device cpu is broken: CUDA error: an illegal"):
        calibrate(bundle, 4)


@pytest.mark.parametrize("part", ["encode_prompts", "decode"])
def test_what_runs_out_of_memory_beside_the_pass_is_tried_again(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    call, calls = getattr(bundle, part), 0

    def once(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return call(*arguments)

    monkeypatch.setattr(bundle, part, once)
    bench = Bench(bundle)
    assert len(bench.draw(image_request(steps=2))) == 1
    monkeypatch.setattr(bundle, part, raising(torch.OutOfMemoryError("CUDA out of memory")))
    bench.draw(image_request("full", prompt="cat", steps=2))
    assert [failed.code for failed in bench.of(Failed)] == ["out_of_memory"]


def test_non_finite_values_now_and_then_change_no_image(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = EngineSettings(rows_per_tick=8, deterministic=True)
    requests = [image_request(f"job{i}", seed=i, sampler="euler_ancestral") for i in range(4)]
    expected = solo(bundle, requests, settings)
    faulty(bundle, monkeypatch, non_finite(3))
    bench = Bench(bundle, settings)
    drawn = bench.draw(*requests)
    assert drawn.keys() == expected.keys()
    assert all(np.array_equal(drawn[key], pixels) for key, pixels in expected.items())


def test_a_row_that_stays_non_finite_fails_its_image(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    faulty(bundle, monkeypatch, non_finite(1))
    bench = Bench(bundle)
    bench.draw(image_request())
    assert [(failed.code, bench.engine.stats.ticks) for failed in bench.of(Failed)] == [
        ("non_finite", 2)
    ]


def test_a_slow_or_small_device_draws_every_image(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    for fault in (slow(5, 0.02), out_of_memory(4)):
        with monkeypatch.context() as patch:
            faulty(bundle, patch, fault)
            bench = Bench(bundle)
            assert len(bench.draw(*(image_request(f"job{i}") for i in range(6)))) == 6
            assert len(bench.of(Finished)) == 6
