"""What previews and checkpoints of a large model take of a worker's time.

The latents are those of SDXL at 1024×1024, and the VAE has SDXL's shape; both networks are narrow.
On a device whose ticks are shorter than a processor's the shares are larger in proportion.
"""

import json
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

from diffusion.bundle.bundle import Bundle, load_bundle
from diffusion.parts.preview import LatentColours
from tests.layouts.unet_family import sdxl
from workers.engine.engine import Engine, EngineSettings
from workers.engine.messages import ImageRequest, Previewed, Report, Saved

SLOTS = 8
SIDE = 1024
STEPS = 1000
SECONDS = 20.0


class Spent:
    """Seconds spent in calls."""

    def __init__(self, call: Callable[..., None]) -> None:
        self.seconds = 0.0
        self._call = call

    def __call__(self, *arguments: Any) -> None:
        """Make the call."""
        started = perf_counter()
        try:
            self._call(*arguments)
        finally:
            self.seconds += perf_counter() - started


def measure() -> dict[str, Any]:
    """Draw for some seconds with previews and checkpoints as a worker makes them."""
    with TemporaryDirectory() as folder:
        bundle = large(Path(folder) / "sdxl")
        bundle.previews = LatentColours.fit(bundle.decoder, 4, bundle.device)
        return figures(bundle)


def large(folder: Path) -> Bundle:
    """Write and load a narrow SDXL of the real image size."""
    config = sdxl(folder) / "unet" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"sample_size": SIDE // 8}))
    widths = (8, 8, 8, 8)
    AutoencoderKL(
        block_out_channels=widths,
        down_block_types=("DownEncoderBlock2D",) * len(widths),
        up_block_types=("UpDecoderBlock2D",) * len(widths),
        norm_num_groups=8,
        sample_size=SIDE,
        scaling_factor=0.13025,
    ).save_pretrained(folder / "vae")
    return load_bundle(folder)


def figures(bundle: Bundle) -> dict[str, Any]:
    """Return the shares of the time, and bytes of checkpoints a second."""
    reports: list[Report] = []
    engine = Engine(bundle, EngineSettings(slots=SLOTS, rows_per_tick=SLOTS), reports.append)
    postprocess: Any = vars(engine)["_postprocess"]
    preview = postprocess._preview = Spent(postprocess._preview)
    save = postprocess._save = Spent(postprocess._save)
    for number in range(SLOTS):
        engine.submit(request(number))
    engine.tick()
    reports.clear()
    preview.seconds = save.seconds = 0.0
    ticks, started = 0, perf_counter()
    while (took := perf_counter() - started) < SECONDS:
        engine.tick()
        ticks += 1
    engine.stop()
    states = [report for report in reports if isinstance(report, Saved)]
    return {
        "image": f"{SIDE}×{SIDE}",
        "slots": SLOTS,
        "tick_s": round(took / ticks, 4),
        "previews_per_s": round(sum(isinstance(r, Previewed) for r in reports) / took, 2),
        "preview_ms_a_tick": round(1000 * preview.seconds / ticks, 3),
        "checkpoint_ms_a_tick": round(1000 * save.seconds / ticks, 3),
        "preview_share": round(preview.seconds / took, 5),
        "checkpoint_bytes_per_s": round(sum(bytes_of(state) for state in states) / took),
        "checkpoint_share": round(save.seconds / took, 5),
        "threads": torch.get_num_threads(),
    }


def bytes_of(saved: Saved) -> int:
    """Return the size of a state."""
    return saved.state.nbytes


def request(number: int) -> ImageRequest:
    """Return an image that does not end while it is measured."""
    return ImageRequest(
        job_id=f"job{number}",
        image=0,
        prompt="a red apple",
        seed=number,
        sampler="euler",
        schedule="model",
        steps=STEPS,
        guidance_scale=1.0,
        width=SIDE,
        height=SIDE,
        preview=1,
    )
