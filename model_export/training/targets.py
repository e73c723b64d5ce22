"""The latents that a run is trained towards: each image's, in all of its trained colours."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from diffusion.codec import PatchPCACodec
from model_export.data.captions import Caption
from model_export.data.data import Dataset
from model_export.data.subjects import Subject
from model_export.training.codec import to_tensor


class Targets:
    """Latents of a data set's images, and of those turned to other colours."""

    def __init__(
        self,
        dataset: Dataset,
        subjects: Sequence[Subject],
        codec: PatchPCACodec,
        device: torch.device,
    ) -> None:
        keys = [(i, colour) for i, subject in enumerate(subjects) for colour in subject.trained]
        turned = [image for subject in subjects for image in subject.trained.values()]
        images = np.concatenate([dataset.images, np.stack(turned)]) if turned else dataset.images
        self._places = {key: len(dataset) + n for n, key in enumerate(keys)}
        self._latents = codec.encode(to_tensor(images)).to(device)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one image's latents, (C, h, w)."""
        return tuple(self._latents.shape[1:])

    def of(self, images: Sequence[int], captions: Sequence[Caption]) -> Tensor:
        """Return the latents (B, C, h, w) of images in the colours that their captions name."""
        places = [
            image if caption.colour is None else self._places[image, caption.colour]
            for image, caption in zip(images, captions, strict=True)
        ]
        return self._latents[torch.tensor(places, device=self._latents.device)]
