"""What an error says about the device: too little memory, or broken for good."""

import re

import torch

from diffusion.errors import NonFiniteError

OUT_OF_MEMORY = re.compile(
    "out of memory|_STATUS_ALLOC_FAILED|can't allocate memory|not enough memory"
)
"""In errors of torch that are not of its own class; the session of ONNX Runtime knows its own."""
REFUSED = re.compile(r"invalid (configuration )?argument|not supported")
"""Calls that CUDA refuses without harm to what comes after them."""
BROKEN = re.compile(
    r"CUDA error|CUDA failure|CUDA driver error|HIP error|device-side assert"
    r"|CU(BLAS|DNN)_STATUS_(EXECUTION_FAILED|INTERNAL_ERROR|MAPPING_ERROR|NOT_INITIALIZED)",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether the device, or the host, had too little memory: a smaller batch may fit."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and OUT_OF_MEMORY.search(str(error)) is not None


def is_broken(error: BaseException) -> bool:
    """Return whether the device works no more in this process.

    After most errors of CUDA every later call raises the same one, whatever it is asked to do.
    """
    of_runtime = type(error).__module__.startswith("onnxruntime")
    if is_out_of_memory(error) or not (of_runtime or isinstance(error, RuntimeError)):
        return False
    text = str(error)
    if REFUSED.search(text):
        return False
    return isinstance(error, torch.AcceleratorError) or BROKEN.search(text) is not None


def failure_code(error: Exception) -> str:
    """Return the code with which an image fails.

    Raises:
        Exception: the error itself if the device is broken, for which no image is failed.
    """
    if is_broken(error):
        raise error
    if isinstance(error, NonFiniteError):
        return "non_finite"
    return "out_of_memory" if is_out_of_memory(error) else "internal"


def free_memory(device: torch.device) -> None:
    """Return the memory that torch keeps for later to the device."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
