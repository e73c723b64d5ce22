"""A network's raw forward rows a second by batch: eager, compiled, as a CUDA graph."""

import gc
from collections.abc import Callable, Mapping
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from diffusion.backbones.backbone import Condition
from diffusion.bundle.bundle import Bundle, load_bundle
from tests.backbones import backend_of
from tests.gpu.ground import Figures, Ground
from tests.gpu.models import sd15_of, sdxl_of

BATCHES = (1, 2, 4, 8, 16, 32)
AT_LEAST_S = 1.0
COMPILED = 8  # the batch that is compiled: each takes a minute
Pass = Callable[[], object]


def sdxl(ground: Ground, _: Mapping[str, Figures]) -> Figures:
    """Measure SDXL's UNet at its base resolution."""
    return measure(ground, sdxl_of(ground))


def sd15(ground: Ground, _: Mapping[str, Figures]) -> Figures:
    """Measure Stable Diffusion 1.5's UNet at its base resolution."""
    return measure(ground, sd15_of(ground))


@torch.inference_mode()
def measure(ground: Ground, folder: Path) -> Figures:
    """Return rows a second, and bytes of the device, by batch and by how the network is run."""
    bundle = load_bundle(folder, device=str(ground.device), backend="torch")
    try:
        eager, memory = _by_batch(ground, bundle, eager_pass)
        figures: Figures = {"eager_rows_per_s": eager, "eager_peak_bytes": memory}
        if ground.cuda:
            figures["graph_rows_per_s"], _ = _by_batch(ground, bundle, graph_pass)
        else:
            figures["graph_rows_per_s"] = "CUDA alone has graphs"
        if ground.left_s < 180 or ground.tiny:
            figures["compiled_rows_per_s"] = "not run: it takes minutes"
        else:
            figures["compiled_rows_per_s"] = _compiled(ground, bundle)
        return figures
    finally:
        del bundle
        gc.collect()
        if ground.cuda:
            torch.cuda.empty_cache()


def best(figures: Figures) -> float:
    """Return the best rows a second of what was measured here, the engine's way: eager."""
    return max(rate for rate in figures["eager_rows_per_s"].values() if isinstance(rate, float))


def _by_batch(
    ground: Ground, bundle: Bundle, make: Callable[[Bundle, int], Pass]
) -> tuple[dict[str, float | str], dict[str, int]]:
    rates: dict[str, float | str] = {}
    memory: dict[str, int] = {}
    for batch in BATCHES[:3] if ground.tiny else BATCHES:
        if ground.cuda:
            torch.cuda.reset_peak_memory_stats(ground.device)
        try:
            call = make(bundle, batch)
            seconds = ground.seconds(call, at_least_s=0.1 if ground.tiny else AT_LEAST_S)
        except torch.OutOfMemoryError:
            rates[str(batch)] = "out of memory"
            break
        rates[str(batch)] = round(batch / seconds, 2)
        if ground.cuda:
            memory[str(batch)] = torch.cuda.max_memory_allocated(ground.device)
    return rates, memory


def eager_pass(bundle: Bundle, rows: int) -> Pass:
    """Return a pass as the engine makes it."""
    info = bundle.info
    noise = torch.randn(bundle.latent_shape(info.width, info.height))
    sample = noise.expand(rows, *noise.shape).to(bundle.device).contiguous()
    times = torch.linspace(1, 999, rows).to(bundle.device)
    (prompt,) = bundle.encode_prompts(["a red apple on a wooden table"])
    conditions = [Condition(prompt, (info.width, info.height))] * rows
    return lambda: bundle.backbone.predict(sample, times, conditions)


def graph_pass(bundle: Bundle, rows: int) -> Pass:
    """Return a pass that is recorded once and replayed."""
    call = eager_pass(bundle, rows)
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        inputs = _inputs(bundle, call)
        backend_of(bundle).predict(*inputs)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        backend_of(bundle).predict(*inputs)

    def replay() -> object:
        graph.replay()
        return inputs  # which the graph reads

    return replay


def _inputs(bundle: Bundle, call: Pass) -> tuple[Any, ...]:
    """Return what a pass gives the backend, which holds no copy from the host."""
    backend = backend_of(bundle)
    kept: list[tuple[Any, ...]] = []
    predict = backend.predict
    backend.predict = lambda *inputs: kept.append(inputs)  # type: ignore[method-assign,assignment]
    try:
        call()
    finally:
        backend.predict = predict  # type: ignore[method-assign]
    return kept[0]


def _compiled(ground: Ground, bundle: Bundle) -> dict[str, float | str]:
    unet = backend_of(bundle)._unet.unet  # type: ignore[attr-defined]
    started = perf_counter()
    try:
        unet.compile_repeated_blocks(fullgraph=True)
        call = eager_pass(bundle, COMPILED)
        call()
        ground.synchronize()
        took = perf_counter() - started
        seconds = ground.seconds(call, at_least_s=AT_LEAST_S, warm=2)
    except Exception as error:  # a compiler that fails is a figure, too
        return {"failed": f"{type(error).__name__}: {str(error)[:500]}"}
    return {"compile_s": round(took, 1), str(COMPILED): round(COMPILED / seconds, 2)}
