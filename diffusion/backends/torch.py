"""The UNet in PyTorch."""

import logging
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from diffusion.backends.acceleration import PLAIN, Acceleration
from diffusion.backends.backend import EXTRAS, Added, torch_name
from diffusion.backends.packed import pack

log = logging.getLogger(__name__)
TOLERANCE = 1e-4


class TorchBackend:
    """Runs diffusers' ``UNet2DConditionModel``.

    On the CPU it is traced and its convolutions packed, unless it is compiled.
    """

    def __init__(self, unet: Any, device: torch.device, acceleration: Acceleration = PLAIN) -> None:
        unet = unet.to(device).eval().requires_grad_(False)
        self.name = torch_name(unet.dtype)
        if device.type != "cpu":
            # Convolutions of an accelerator take this layout without transposing.
            unet = unet.to(memory_format=torch.channels_last)
        network: Any = positional(unet)
        if not acceleration.compile(unet) and device.type == "cpu":
            pack(unet, int(unet.config.sample_size))
            examples = [
                [*unet_example(unet, rows, times, tokens).values()]
                for rows, times, tokens in ((2, 1, 8), (3, 2, 5))
            ]
            network = traced(network, *examples)
        self._unet = network

    def predict(
        self, sample: Tensor, timesteps: Tensor, embeddings: Tensor, added: Added | None
    ) -> Tensor:
        """Return the prediction (N, C, h, w) float32."""
        extra = [] if added is None else [added[key] for key in EXTRAS if key in added]
        prediction: Tensor = self._unet(sample, timesteps, embeddings, *extra)
        return prediction


class Positional(nn.Module):
    """A UNet with only positional float32 tensors as inputs, whatever its own dtype."""

    def __init__(self, unet: Any) -> None:
        super().__init__()
        self.unet = unet

    def forward(
        self,
        sample: Tensor,
        timesteps: Tensor,
        embeddings: Tensor,
        text_embeds: Tensor | None = None,
        time_ids: Tensor | None = None,
    ) -> Tensor:
        """Return the prediction (N, C, h, w) float32; timesteps stay float32 inside."""
        return self._predict(sample, timesteps, embeddings, None, text_embeds, time_ids)

    def _predict(
        self,
        sample: Tensor,
        timesteps: Tensor,
        embeddings: Tensor,
        timestep_cond: Tensor | None,
        text_embeds: Tensor | None,
        time_ids: Tensor | None,
    ) -> Tensor:
        dtype = self.unet.dtype
        added = None
        if text_embeds is not None and time_ids is not None:
            added = {"text_embeds": text_embeds, "time_ids": time_ids}  # cast by the UNet itself
        prediction: Tensor = self.unet(
            sample.to(dtype),
            timesteps,
            embeddings.to(dtype),
            timestep_cond=None if timestep_cond is None else timestep_cond.to(dtype),
            added_cond_kwargs=added,
            return_dict=False,
        )[0]
        return prediction.float()


class Distilled(Positional):
    """A UNet that takes the guidance scale as an input (Meng et al. 2023)."""

    def forward(  # type: ignore[override]
        self,
        sample: Tensor,
        timesteps: Tensor,
        embeddings: Tensor,
        timestep_cond: Tensor,
        text_embeds: Tensor | None = None,
        time_ids: Tensor | None = None,
    ) -> Tensor:
        """Return the prediction (N, C, h, w) float32."""
        return self._predict(sample, timesteps, embeddings, timestep_cond, text_embeds, time_ids)


def positional(unet: Any) -> Positional:
    """Return a UNet with the inputs that :func:`unet_example` names, in this order."""
    return (Positional if unet.config.time_cond_proj_dim is None else Distilled)(unet)


@torch.inference_mode()
def traced(plain: nn.Module, example: Sequence[Tensor], other: Sequence[Tensor]) -> Any:
    """Return a network as a TorchScript trace, or untraced if the trace computes something else.

    A trace runs without Python: it is a sixth faster on 16 rows and a third on one, and releases
    the GIL to other threads. It is recorded with one example and checked with an ``other``, which
    ought to have another batch size, image size and number of tokens.
    """
    try:
        with warnings.catch_warnings():
            # Tracing is deprecated in favour of compilers that need a C++ toolchain at run time.
            # The branches it warns about are for huge batches and sizes that are not served.
            warnings.simplefilter("ignore")
            recorded = torch.jit.trace(plain, tuple(example), check_trace=False)  # type: ignore[no-untyped-call]
        if torch.allclose(recorded(*other), plain(*other), rtol=TOLERANCE, atol=TOLERANCE):
            return recorded
        log.warning("the trace of this network gives other results; it runs untraced")
    except (RuntimeError, TypeError, ValueError) as error:
        log.warning("this network cannot be traced; it runs untraced: %s", error)
    return plain


def unet_example(unet: Any, rows: int, times: int, tokens: int) -> dict[str, Tensor]:
    """Return ``rows`` float32 inputs, ``times`` the smallest size high and twice that wide."""
    config = unet.config
    side = times * 2 ** (len(config.block_out_channels) - 1)
    generator = torch.Generator().manual_seed(rows)

    def noise(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float32)

    inputs = {
        "sample": noise(rows, config.in_channels, side, 2 * side),
        "timesteps": torch.linspace(1, 999, rows),
        "embeddings": noise(rows, tokens, config.cross_attention_dim),
    }
    if config.time_cond_proj_dim is not None:
        inputs["timestep_cond"] = noise(rows, config.time_cond_proj_dim)
    if config.addition_embed_type == "text_time":
        ids = 6
        pooled = config.projection_class_embeddings_input_dim - ids * config.addition_time_embed_dim
        inputs["text_embeds"] = noise(rows, pooled)
        inputs["time_ids"] = torch.full((rows, ids), 64.0)
    return inputs
