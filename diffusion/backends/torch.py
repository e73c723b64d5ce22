"""The UNet in PyTorch."""

import logging
import warnings
from typing import Any

import torch
from torch import Tensor, nn

from diffusion.backends.backend import Added
from diffusion.backends.packed import pack

log = logging.getLogger(__name__)
TOLERANCE = 1e-4


class TorchBackend:
    """Runs diffusers' ``UNet2DConditionModel``; on the CPU traced and with packed convolutions."""

    name = "torch"

    def __init__(self, unet: Any, device: torch.device) -> None:
        unet = unet.to(device).eval().requires_grad_(False)
        if device.type == "cpu":
            pack(unet, int(unet.config.sample_size))
            self._unet: Any = traced(unet)
        else:
            self._unet = Positional(unet)

    def predict(
        self, sample: Tensor, timesteps: Tensor, embeddings: Tensor, added: Added | None
    ) -> Tensor:
        """Return the prediction (N, C, h, w) float32."""
        extra = [] if added is None else [added[key] for key in ("text_embeds", "time_ids")]
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
        dtype = self.unet.dtype
        added = None
        if text_embeds is not None and time_ids is not None:
            added = {"text_embeds": text_embeds, "time_ids": time_ids}  # cast by the UNet itself
        prediction: Tensor = self.unet(
            sample.to(dtype),
            timesteps,
            embeddings.to(dtype),
            added_cond_kwargs=added,
            return_dict=False,
        )[0]
        return prediction.float()


@torch.inference_mode()
def traced(unet: Any) -> Any:
    """Return the UNet as a TorchScript trace, or untraced if the trace computes something else.

    A trace runs without Python: it is a sixth faster on 16 rows and a third on one, and releases
    the GIL to other threads. It is checked with a batch size, image size and number of tokens other
    than those it was recorded with.
    """
    plain = Positional(unet)
    try:
        with warnings.catch_warnings():
            # Tracing is deprecated in favour of compilers that need a C++ toolchain at run time.
            # The branches it warns about are for huge batches and sizes that are not served.
            warnings.simplefilter("ignore")
            recorded = torch.jit.trace(plain, unet_example(unet, 2, 1, 8), check_trace=False)  # type: ignore[no-untyped-call]
        other = unet_example(unet, 3, 2, 5)
        if torch.allclose(recorded(*other), plain(*other), rtol=TOLERANCE, atol=TOLERANCE):
            return recorded
        log.warning("the trace of this UNet gives other results; it runs untraced")
    except (RuntimeError, TypeError, ValueError) as error:
        log.warning("this UNet cannot be traced; it runs untraced: %s", error)
    return plain


def unet_example(unet: Any, rows: int, times: int, tokens: int) -> tuple[Tensor, ...]:
    """Return ``rows`` float32 inputs, ``times`` the smallest size high and twice that wide."""
    config = unet.config
    side = times * 2 ** (len(config.block_out_channels) - 1)
    generator = torch.Generator().manual_seed(rows)

    def noise(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float32)

    tensors = [
        noise(rows, config.in_channels, side, 2 * side),
        torch.linspace(1, 999, rows),
        noise(rows, tokens, config.cross_attention_dim),
    ]
    if config.addition_embed_type == "text_time":
        ids = 6
        pooled = config.projection_class_embeddings_input_dim - ids * config.addition_time_embed_dim
        tensors += [noise(rows, pooled), torch.full((rows, ids), 64.0)]
    return tuple(tensors)
