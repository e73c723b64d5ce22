"""LoRAs of random weights, written under the names that trainers give them."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from tests.diffusion.checkpoints import original

Tensors = dict[str, Tensor]
TO = {"q_proj": "to_q", "k_proj": "to_k", "v_proj": "to_v", "out_proj": "to_out"}


@dataclass(frozen=True, eq=False)
class Pair:
    """One layer's difference, as it is trained."""

    down: Tensor
    up: Tensor
    alpha: float

    @property
    def scale(self) -> float:
        """alpha / rank."""
        return self.alpha / len(self.down)

    def change(self, weight: Tensor) -> Tensor:
        """Return the difference of the layer's weight, entry by entry of the rank."""
        total = torch.zeros(weight.shape, dtype=torch.float64)
        for row, column in zip(self.down.double(), self.up.double().flatten(1).T, strict=True):
            total += column.reshape(-1, *[1] * (weight.ndim - 1)) * row.reshape(weight.shape[1:])
        return self.scale * total


Pairs = dict[str, Pair]


def wanted(name: str, module: nn.Module, *, convs: bool) -> bool:
    """Return whether trainers adapt such a layer."""
    if isinstance(module, nn.Linear):
        return "time_" not in name and "add_" not in name
    return convs and isinstance(module, nn.Conv2d) and name not in ("conv_in", "conv_out")


def random_pairs(network: nn.Module, seed: int, *, convs: bool = True) -> Pairs:
    """Return differences of a network's layers, of unequal ranks and alphas."""
    generator = torch.Generator().manual_seed(seed)
    found: Pairs = {}
    for name, module in network.named_modules():
        if not wanted(name, module, convs=convs):
            continue
        weight = module.weight
        assert isinstance(weight, Tensor)
        rank = 2 + len(found) % 3
        down = torch.randn(rank, *weight.shape[1:], generator=generator)
        up = torch.randn(len(weight), rank, *[1] * (weight.ndim - 2), generator=generator)
        found[name] = Pair(down * 0.2, up * 0.2, alpha=float(1 + len(found) % 4))
    return found


def kohya(part: str, pairs: Pairs) -> Tensors:
    """Return kohya's names: dots become underscores."""
    head = {"unet": "lora_unet", "text_encoder": "lora_te", "text_encoder_1": "lora_te1",
            "text_encoder_2": "lora_te2"}[part]  # fmt: skip
    found: Tensors = {}
    for name, pair in pairs.items():
        if part != "unet" and not name.startswith("text_model."):
            name = f"text_model.{name}"
        stem = f"{head}_{name.replace('.', '_')}"
        found |= {f"{stem}.lora_down.weight": pair.down, f"{stem}.lora_up.weight": pair.up}
        found[f"{stem}.alpha"] = torch.tensor(pair.alpha)
    return found


def sgm(network: Any, pairs: Pairs) -> Tensors:
    """Return kohya's names of the original UNet's blocks."""
    names = {t.data_ptr(): n for n, t in original.unet(network, "").items()}
    own = {n: t.data_ptr() for n, t in network.state_dict().items()}
    renamed = {names[own[f"{name}.weight"]].removesuffix(".weight"): p for name, p in pairs.items()}
    return kohya("unet", renamed)


def peft(part: str, pairs: Pairs, prefix: str = "") -> Tensors:
    """Return peft's names; alphas are in its configuration."""
    found: Tensors = {}
    for name, pair in pairs.items():
        stem = f"{prefix}{part}.{name}" if part else f"{prefix}{name}"
        found |= {f"{stem}.lora_A.weight": pair.down, f"{stem}.lora_B.weight": pair.up}
    return found


def diffusers(part: str, pairs: Pairs, *, old: bool) -> Tensors:
    """Return diffusers' names of before peft, of its first form or of the later one."""
    found: Tensors = {}
    for name, pair in pairs.items():
        stem, _, last = name.rpartition(".")
        if part == "unet" and name.endswith("to_out.0"):
            head = f"{name.removesuffix('.to_out.0')}.processor.to_out_lora"
        elif part == "unet" and last in ("to_q", "to_k", "to_v"):
            head = f"{stem}.processor.{last}_lora"
        elif part == "unet":
            head = f"{name}.lora"
        elif last in TO:
            head = f"{stem}.{TO[last]}_lora" if old else f"{name}.lora_linear_layer"
        else:
            head = f"{name}.lora_linear_layer"
        found |= {f"{part}.{head}.down.weight": pair.down, f"{part}.{head}.up.weight": pair.up}
    return found


def without_alphas(pairs: Pairs) -> Pairs:
    """Return the same with alpha = rank, which is what no alpha means."""
    return {n: Pair(p.down, p.up, float(len(p.down))) for n, p in pairs.items()}


def write(path: Path, tensors: Mapping[str, Tensor], **config: Any) -> Path:
    """Write a LoRA's file, with peft's configuration as diffusers keeps it."""
    metadata = {"format": "pt"}
    metadata |= {"lora_adapter_metadata": json.dumps(config)} if config else {}
    save_file({name: each.contiguous() for name, each in tensors.items()}, path, metadata)
    return path


def hooked(network: nn.Module, pairs: Pairs, weight: float) -> Iterator[Any]:
    """Add a LoRA beside a network's layers, as adapters do; yield what removes it."""
    for name, pair in pairs.items():
        module = network.get_submodule(name)

        def add(module: Any, inputs: Any, output: Tensor, pair: Pair = pair) -> Tensor:
            down, up = pair.down, pair.up
            if isinstance(module, nn.Conv2d):
                inner = nn.functional.conv2d(inputs[0], down, None, module.stride, module.padding)
                more = nn.functional.conv2d(inner, up)
            else:
                more = inputs[0] @ down.T @ up.T
            return output + weight * pair.scale * more

        yield module.register_forward_hook(add)
