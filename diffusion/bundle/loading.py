"""Loading one part with the library that defines it, from local safetensors only."""

from pathlib import Path
from typing import Any

import torch

from diffusion.errors import BundleError


def load_part(kind: Any, folder: Path, dtype: torch.dtype | None) -> Any:
    """Load one part with its library's loader, from safetensors in this folder only.

    Raises:
        BundleError: the loader failed; the message holds its error and the part's name.
    """
    variant = None if list(folder.glob("*model.safetensors*")) else "fp16"
    try:
        return kind.from_pretrained(
            str(folder),
            local_files_only=True,
            use_safetensors=True,
            variant=variant,
            torch_dtype=dtype or stored_dtype(folder),
            **({"low_cpu_mem_usage": False} if kind.__module__.startswith("diffusers") else {}),
        )
    except Exception as error:  # the loaders let any parser's exception through
        raise BundleError(f"{folder.name}: {error}") from error


def stored_dtype(folder: Path) -> torch.dtype:
    """Return the dtype that a part's weights are stored in.

    Raises:
        BundleError: there are none.
    """
    from safetensors import safe_open

    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            for key in file.keys():  # noqa: SIM118 - not a mapping
                dtype: torch.dtype = file.get_tensor(key).dtype
                return dtype
    raise BundleError(f"{folder.name} holds no safetensors file")
