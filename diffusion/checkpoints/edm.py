"""Kin of Stable Diffusion XL that were trained as EDM: Playground v2.5 and CosXL.

Karras et al. 2022. Their files hold the process' numbers as tensors.
"""

from collections.abc import Mapping
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

from diffusion.checkpoints.families import SDXL, Family
from diffusion.errors import BundleError
from diffusion.parts.loading import one_line
from diffusion.tensor_file import TensorEntry

MEAN, STD = "edm_mean", "edm_std"
SIGMA_MIN, SIGMA_MAX = "edm_vpred.sigma_min", "edm_vpred.sigma_max"
KEYS = (MEAN, STD, SIGMA_MIN, SIGMA_MAX)
MOST_NUMBERS = 64
PLAYGROUND_SCALING_FACTOR = 0.5
_PLAYGROUND: Mapping[str, Any] = {
    "_class_name": "EDMDPMSolverMultistepScheduler",
    "num_train_timesteps": 1000,
    "algorithm_type": "dpmsolver++",
    "solver_order": 2,
    "solver_type": "midpoint",
    "sigma_data": 0.5,
    "sigma_min": 0.002,
    "sigma_max": 80.0,
    "rho": 7.0,
    "final_sigmas_type": "zero",
    "lower_order_final": True,
    "euler_at_final": False,
}
_COSXL: Mapping[str, Any] = {
    "_class_name": "EDMEulerScheduler",
    "num_train_timesteps": 1000,
    "sigma_data": 1.0,
    "sigma_min": 0.002,
    "sigma_max": 120.0,
    "sigma_schedule": "exponential",
    "rho": 7.0,
}


def with_edm(family: Family, entries: Mapping[str, TensorEntry], file: Path) -> Family:
    """Return the family with the process that a file's tensors describe, if any do.

    Raises:
        BundleError: they are of another family, or are not the numbers that they should be.
    """
    found = [key for key in KEYS if key in entries]
    if not found:
        return family
    if family is not SDXL:
        raise BundleError(f"{file.name}: {found[0]} in a file of {family.title} is not served")
    numbers = _numbers(file, {key: entries[key] for key in found})
    if MEAN in numbers or STD in numbers:
        return _playground(family, numbers, file)
    scheduler = dict(_COSXL)
    for key, name in ((SIGMA_MIN, "sigma_min"), (SIGMA_MAX, "sigma_max")):
        if key in numbers:
            scheduler[name] = numbers[key][0]
    return replace(family, title="CosXL", scheduler=scheduler)


def _playground(family: Family, numbers: Mapping[str, list[float]], file: Path) -> Family:
    if not {MEAN, STD} <= numbers.keys():
        raise BundleError(f"{file.name}: {MEAN} and {STD} are of use together only")
    statistics = {"latents_mean": numbers[MEAN], "latents_std": numbers[STD]}
    return replace(
        family,
        title="Playground v2.5",
        scaling_factor=PLAYGROUND_SCALING_FACTOR,
        scheduler=_PLAYGROUND,
        vae=dict(family.vae) | statistics,
    )


def _numbers(file: Path, entries: Mapping[str, TensorEntry]) -> dict[str, list[float]]:
    from safetensors import SafetensorError, safe_open

    for key, entry in entries.items():
        if not 0 < prod(entry.shape) <= MOST_NUMBERS:
            raise BundleError(f"{file.name}: {key} is {list(entry.shape)}, not a few numbers")
    try:
        with safe_open(file, "pt") as opened:
            return {key: opened.get_tensor(key).flatten().double().tolist() for key in entries}
    except (OSError, RuntimeError, SafetensorError) as error:
        raise BundleError(f"{file.name}: {one_line(error)}") from error
