"""Compares an export with the torch networks it came from: numbers, images, and speed."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diffusion.backbones.backbone import Condition, predict
from diffusion.backends.onnx.files import DECODER, UNET
from diffusion.backends.onnx.session import Session
from diffusion.bundle.bundle import Bundle
from diffusion.model import OF_SAMPLER
from model_export.errors import VerificationError
from model_export.evaluation.measures import psnr_db
from model_export.evaluation.sampling import SamplingSettings, draw
from model_export.onnx.graphs import Network

ROWS = (1, 2, 3, 5, 8, 17)
SIZES = ((1, 2), (3, 1))  # the exported example's height and width times these
FEW = 3  # the largest number of rows at which other sizes are compared too
SPEED_ROWS = (1, 4, 8, 16)
SPEED_ROUNDS = 7
LONGEST_S = 20.0  # of one pass; larger batches are skipped after a longer one
IMAGES = 4
SIZED = ("sample", "embeddings", "tokens", "latents")  # inputs whose size varies


@dataclass(frozen=True)
class Bounds:
    """How much an export may differ."""

    relative: float  # largest difference of any value, relative to the largest value
    psnr_db: float  # of each image to torch's


BOUNDS = {
    "fp32": Bounds(1e-4, 50.0),
    "fp16": Bounds(3e-2, 30.0),
    "int8": Bounds(1.0, 30.0),  # numbers do differ; what counts is whether images do
}


@torch.no_grad()
def compare(network: Network, session: Session, bounds: Bounds) -> dict[str, Any]:
    """Return the largest differences of a part over numbers of rows, sizes and timesteps.

    Raises:
        VerificationError: one is above the bound; the message says where.
    """
    worst: dict[str, float] = {}
    for case, inputs in _cases(network):
        wanted = network.module(*inputs.values())
        wanted = wanted if isinstance(wanted, tuple) else (wanted,)
        shapes = {n: w.shape for n, w in zip(network.outputs, wanted, strict=True)}
        found = session.run(inputs, shapes)
        for name, reference in zip(network.outputs, wanted, strict=True):
            scale = max(float(reference.abs().max()), 1e-6)
            difference = float((found[name] - reference).abs().max()) / scale
            if not difference <= bounds.relative:  # so that NaN fails too
                raise VerificationError(
                    f"{network.part}: {name} differs from torch by {difference:.2g} of its largest "
                    f"value at {case}; the bound is {bounds.relative:g}"
                )
            worst[case] = max(worst.get(case, 0.0), difference)
    return {"largest_relative_difference": max(worst.values()), "cases": worst}


def _cases(network: Network) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Yield named inputs: each number of rows, few rows of other sizes, one row of the base size.

    Torch is some thirty times slower on the CPU in float16: there only the drawn images have the
    base size.
    """
    generator = torch.Generator().manual_seed(0)
    example = {name: tuple(tensor.shape[1:]) for name, tensor in network.inputs.items()}
    shapes = [(rows, example) for rows in ROWS]
    if network.part in (UNET, DECODER):
        others = [_resized(example, high, wide) for high, wide in SIZES]
        shapes += [(rows, other) for rows in ROWS if rows <= FEW for other in others]
    halves = any(p.dtype == torch.float16 for p in network.module.parameters())
    if network.base_size != example and not halves:
        shapes.append((1, network.base_size))
    for rows, row in shapes:
        inputs = {
            name: _values(name, (rows, *row[name]), tensor, generator)
            for name, tensor in network.inputs.items()
        }
        size = " and ".join("×".join(map(str, row[name])) for name in row if name in SIZED)
        yield f"{rows} row{'s' * (rows > 1)} of {size}", inputs


def _resized(row: dict[str, tuple[int, ...]], high: int, wide: int) -> dict[str, tuple[int, ...]]:
    return {
        name: (shape[0], high * shape[1], wide * shape[2]) if len(shape) == 3 else shape
        for name, shape in row.items()
    }


def _values(name: str, shape: Sequence[int], example: Tensor, generator: torch.Generator) -> Tensor:
    if name == "timesteps":
        return torch.linspace(999, 0, shape[0])
    if not example.is_floating_point():
        last = int(example.max())
        tokens = torch.randint(0, last + 1, tuple(shape), generator=generator)
        # CLIP's last token ends a prompt; the projection is taken at its position.
        for row, place in enumerate(range(1, 3 * len(tokens), 3)):
            tokens[row, place % tokens.shape[1]] = last
        return tokens
    if name == "time_ids":
        return example[:1].expand(*shape).contiguous()
    return torch.randn(tuple(shape), generator=generator)


def compare_images(theirs: Bundle, ours: Bundle, bounds: Bounds) -> dict[str, Any]:
    """Return how close the export's images are to torch's.

    Raises:
        VerificationError: one is further off than the bound.
    """
    info = theirs.info
    prompts = [*info.examples, "a picture", "a face", "", "a red thing"][:IMAGES]
    settings = SamplingSettings(
        sampler=info.default_sampler,
        schedule=None if info.default_schedule == OF_SAMPLER else info.default_schedule,
        steps=min(info.default_steps, 15),
        guidance_scale=info.default_guidance_scale,
        batch=1,
    )
    seeds = list(range(len(prompts)))
    wanted, found = (np.stack(list(draw(b, prompts, seeds, settings))) for b in (theirs, ours))
    # Equal images have infinite PSNR, which JSON cannot hold.
    closeness = np.minimum(psnr_db(found, wanted), 100.0)
    worst = float(closeness.min())
    if not worst >= bounds.psnr_db:
        raise VerificationError(
            f"{prompts[int(closeness.argmin())]!r} is drawn {worst:.1f} dB close to torch's "
            f"image; the bound is {bounds.psnr_db:g} dB"
        )
    largest = int(np.abs(found.astype(np.int16) - wanted).max())
    return {
        "drawn": len(prompts),
        "sampler": settings.sampler,
        "steps": settings.steps,
        "lowest_psnr_db": round(worst, 2),
        "largest_difference_levels": largest,
    }


@torch.inference_mode()
def speeds(theirs: Bundle, ours: Bundle) -> dict[str, dict[str, float]]:
    """Return rows per second of both, measured in turns, at several numbers of rows."""
    info = theirs.info
    found = {}
    cond = theirs.encode_prompts(["a picture"])[0]
    for rows in SPEED_ROWS:
        latents = torch.randn(rows, *theirs.latent_shape(info.width, info.height))
        conditions = [Condition(cond, (info.width, info.height))] * rows
        inputs = latents, torch.linspace(1, 999, rows), conditions
        first = _seconds(lambda: predict(theirs.backbone, *inputs))  # noqa: B023 - called at once
        if first > LONGEST_S:
            break
        taken = [
            (
                _seconds(lambda: predict(theirs.backbone, *inputs)),  # noqa: B023
                _seconds(lambda: predict(ours.backbone, *inputs)),  # noqa: B023
            )
            for _ in range(SPEED_ROUNDS)
        ]
        torch_s, onnx_s = (median(column) for column in zip(*taken[1:], strict=True))
        found[str(rows)] = {
            "torch_rows_per_s": round(rows / torch_s, 1),
            "onnx_rows_per_s": round(rows / onnx_s, 1),
            "ratio": round(torch_s / onnx_s, 2),
        }
    return found


def _seconds(call: Callable[[], object]) -> float:
    started = perf_counter()
    call()
    return perf_counter() - started
