"""Loading one part with the library that defines it, from local safetensors only."""

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import torch

from diffusion.config import Table, fault
from diffusion.errors import BundleError
from diffusion.files import read_json
from diffusion.parts.weights import (
    check_loaded,
    check_weights,
    read_weights,
    stored_dtype,
    weight_files,
)
from diffusion.tensor_file import TensorEntry

DIFFUSERS_STEM, TRANSFORMERS_STEM = "diffusion_pytorch_model", "model"


def read_config(folder: Path, table: Table) -> dict[str, Any]:
    """Return the configuration of a part, of which every key is in its table.

    Raises:
        BundleError: it is missing or broken, or asks for what is not served; it names the file.
    """
    config = read_json(folder / "config.json")
    if wrong := fault(config, table):
        raise BundleError(f"{folder.name}/config.json: {wrong}")
    return config


def load_part(
    kind: Any,
    folder: Path,
    config: Mapping[str, Any],
    dtype: torch.dtype | None,
) -> Any:
    """Load one part with its library's loader, from safetensors in this folder only.

    The weights are compared with the network that the configuration describes first, so that a
    broken part costs neither time nor memory. ``dtype`` None is the one they are stored in.

    Raises:
        BundleError: the weights are not the network's, or the loader failed; it names the file.
    """
    diffusers = kind.__module__.startswith("diffusers")
    stem = DIFFUSERS_STEM if diffusers else TRANSFORMERS_STEM
    weights = read_weights(folder, stem)
    wanted = dtype or stored_dtype(weights)
    state = _untied(kind, weights, described(folder, lambda: _build(kind, config)))
    check_weights(_of_base(kind, weights), state)
    try:
        part, info = kind.from_pretrained(
            str(folder),
            local_files_only=True,
            use_safetensors=True,
            variant=weight_files(folder, stem).variant,
            torch_dtype=wanted,
            output_loading_info=True,
            **({"low_cpu_mem_usage": False} if diffusers else {}),
        )
    except Exception as error:  # the loaders let any parser's exception through
        raise BundleError(f"{folder.name}: {one_line(error)}") from error
    check_loaded(folder, info)
    if diffusers:  # it keeps what is stored if the first tensor, a buffer in SD3, has its own type
        for parameter in part.parameters():
            parameter.data = parameter.data.to(wanted)
    return part


def _of_base(kind: Any, weights: Mapping[str, TensorEntry]) -> dict[str, TensorEntry]:
    """Return weights under the names of a base network, whose file may be that of a whole one."""
    prefix = f"{kind.base_model_prefix}." if hasattr(kind, "base_model_prefix") else ""
    return {name.removeprefix(prefix): entry for name, entry in weights.items()}


def _untied(kind: Any, weights: Collection[str], state: dict[str, Any]) -> dict[str, Any]:
    """Return a network's state without the second names of tensors that are stored once."""
    for pair in (getattr(kind, "_tied_weights_keys", None) or {}).items():
        absent = [name for name in pair if name not in weights]
        if len(absent) == 1:
            del state[absent[0]]
    return state


def described(folder: Path, build: Callable[[], Any]) -> dict[str, Any]:
    """Return the state of the network that a configuration describes, without its memory.

    Raises:
        BundleError: no network is built from it.
    """
    try:
        with torch.device("meta"):
            state: dict[str, Any] = build().state_dict()
    except Exception as error:  # the networks let any parser's exception through
        raise BundleError(f"{folder.name}/config.json: {one_line(error)}") from error
    return state


def _build(kind: Any, config: Mapping[str, Any]) -> Any:
    if kind.__module__.startswith("diffusers"):
        return kind.from_config(dict(config))
    return kind(kind.config_class.from_dict(dict(config)))


def one_line(error: BaseException) -> str:
    """Return an error's text on one line and not too long."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 300 else f"{text[:300]}…"
