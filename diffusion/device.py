"""Devices by name, and what is sent to them."""

from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from diffusion.errors import BundleError


def usable_device(name: str) -> torch.device:
    """Return the device of this name.

    Raises:
        BundleError: this machine or this build of torch does not have it.
    """
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise BundleError(f"the device {name!r} cannot be used: {error}") from error
    return device


def sent(values: NDArray[Any], device: torch.device) -> Tensor:
    """Return values on a device. Copies to an accelerator do not wait for what it computes."""
    tensor = torch.from_numpy(values)
    if device.type == "cuda":
        tensor = tensor.pin_memory()  # from other memory a copy waits
    return tensor.to(device, non_blocking=True)
