"""A network's raw forward rows a second by batch: as it is, as CUDA graphs, compiled."""

import gc
from collections.abc import Callable, Mapping
from pathlib import Path
from time import perf_counter
from typing import TypeVar

import torch

from diffusion.backbones.backbone import Condition
from diffusion.backends.acceleration import PLAIN, Acceleration
from diffusion.bundle.bundle import Bundle, load_bundle
from tests.gpu.ground import Figures, Ground
from tests.gpu.models import sd15_of, sdxl_of

BATCHES = (1, 2, 4, 8, 16, 32)
AT_LEAST_S = 1.0
COMPILED = 8  # the batch that is compiled: each takes a minute
RECORDED = 2  # passes until one of these shapes is replayed
Pass = Callable[[], object]
T = TypeVar("T")


def sdxl(ground: Ground, _: Mapping[str, Figures]) -> Figures:
    """Measure SDXL's UNet at its base resolution."""
    return measure(ground, sdxl_of(ground))


def sd15(ground: Ground, _: Mapping[str, Figures]) -> Figures:
    """Measure Stable Diffusion 1.5's UNet at its base resolution."""
    return measure(ground, sd15_of(ground))


@torch.inference_mode()
def measure(ground: Ground, folder: Path) -> Figures:
    """Return rows a second, and bytes of the device, by batch and by how the network is run."""
    eager, memory = _loaded(ground, folder, PLAIN, _by_batch)
    figures: Figures = {"eager_rows_per_s": eager, "eager_peak_bytes": memory}
    if ground.cuda:
        recorded, memory = _loaded(ground, folder, Acceleration(), _by_batch)
        figures |= {"graph_rows_per_s": recorded, "graph_peak_bytes": memory}
    else:
        figures["graph_rows_per_s"] = "CUDA alone has graphs"
    if ground.left_s < 180 or ground.tiny:
        figures["compiled_rows_per_s"] = "not run: it takes minutes"
    else:
        accelerated = Acceleration(compiled=True)
        figures["compiled_rows_per_s"] = _loaded(ground, folder, accelerated, _compiled)
    return figures


def _loaded(
    ground: Ground, folder: Path, acceleration: Acceleration, run: Callable[[Ground, Bundle], T]
) -> T:
    bundle = load_bundle(
        folder, device=str(ground.device), backend="torch", acceleration=acceleration
    )
    try:
        return run(ground, bundle)
    finally:
        del bundle
        gc.collect()
        if ground.cuda:
            torch.cuda.empty_cache()


def best(figures: Figures) -> float:
    """Return the best rows a second of what was measured here as a worker runs it by default."""
    replayed = figures["graph_rows_per_s"]
    rates = replayed if isinstance(replayed, dict) else figures["eager_rows_per_s"]
    return max(rate for rate in rates.values() if isinstance(rate, float))


def _by_batch(ground: Ground, bundle: Bundle) -> tuple[dict[str, float | str], dict[str, int]]:
    rates: dict[str, float | str] = {}
    memory: dict[str, int] = {}
    for batch in BATCHES[:3] if ground.tiny else BATCHES:
        if ground.cuda:
            torch.cuda.reset_peak_memory_stats(ground.device)
        try:
            call = a_pass(bundle, batch)
            at_least_s = 0.1 if ground.tiny else AT_LEAST_S
            seconds = ground.seconds(call, at_least_s=at_least_s, warm=RECORDED)
        except torch.OutOfMemoryError:
            rates[str(batch)] = "out of memory"
            break
        rates[str(batch)] = round(batch / seconds, 2)
        if ground.cuda:
            memory[str(batch)] = torch.cuda.max_memory_allocated(ground.device)
    return rates, memory


def a_pass(bundle: Bundle, rows: int) -> Pass:
    """Return a pass as the engine makes it."""
    info = bundle.info
    noise = torch.randn(bundle.latent_shape(info.width, info.height))
    sample = noise.expand(rows, *noise.shape).to(bundle.device).contiguous()
    times = torch.linspace(1, 999, rows).to(bundle.device)
    (prompt,) = bundle.encode_prompts(["a red apple on a wooden table"])
    inputs = bundle.backbone.inputs([Condition(prompt, (info.width, info.height))] * rows)
    network = bundle.acceleration.recorded(bundle.backbone.predict, bundle.device)
    return lambda: network(sample, times, inputs)


def _compiled(ground: Ground, bundle: Bundle) -> dict[str, float | str]:
    started = perf_counter()
    try:
        call = a_pass(bundle, COMPILED)
        call()
        ground.synchronize()
        took = perf_counter() - started
        seconds = ground.seconds(call, at_least_s=AT_LEAST_S, warm=RECORDED)
    except Exception as error:  # a compiler that fails is a figure, too
        return {"failed": f"{type(error).__name__}: {str(error)[:500]}"}
    return {"first_pass_s": round(took, 1), str(COMPILED): round(COMPILED / seconds, 2)}
