"""The UNet in PyTorch."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


class TorchBackend:
    """Runs diffusers' ``UNet2DConditionModel`` as it is."""

    name = "torch"

    def __init__(self, unet: Any, device: torch.device) -> None:
        self._unet = unet.to(device).eval().requires_grad_(False)
        self._dtype: torch.dtype = unet.dtype

    def predict(
        self,
        sample: Tensor,
        timesteps: Tensor,
        embeddings: Tensor,
        added: Mapping[str, Tensor] | None,
    ) -> Tensor:
        """Return the prediction (N, C, h, w) float32."""
        cast = self._dtype
        extra = None if added is None else {key: value.to(cast) for key, value in added.items()}
        prediction: Tensor = self._unet(
            sample.to(cast),
            timesteps,
            embeddings.to(cast),
            added_cond_kwargs=extra,
            return_dict=False,
        )[0]
        return prediction.float()
