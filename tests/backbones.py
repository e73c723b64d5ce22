"""A network with something done to what it returns."""

from collections.abc import Sequence

from torch import Tensor

from diffusion.backbones.backbone import Backbone, Condition, Inputs
from diffusion.backbones.unet import UNet
from diffusion.backends.backend import Backend
from diffusion.bundle.bundle import Bundle


class Wrapped:
    """Passes calls on to another network; a subclass overrides :meth:`spoil`."""

    def __init__(self, inner: Backbone) -> None:
        self.inner = inner
        self.name = inner.name
        self.calls: list[int] = []  # their rows

    def inputs(self, conditions: Sequence[Condition]) -> Inputs:
        """Return the conditions, too."""
        return {"inner": self.inner.inputs(conditions), "conditions": conditions}

    def predict(self, sample: Tensor, c_noise: Tensor, inputs: Inputs) -> Tensor:
        """Return the network's output, spoiled."""
        self.calls.append(len(sample))
        prediction = self.inner.predict(sample, c_noise, inputs["inner"])
        return self.spoil(prediction, inputs["conditions"])

    def spoil(self, prediction: Tensor, conditions: Sequence[Condition]) -> Tensor:
        """Return what is returned for a prediction (N, C, h, w)."""
        return prediction


def backend_of(bundle: Bundle) -> Backend:
    """Return what runs a bundle's UNet."""
    assert isinstance(bundle.backbone, UNet)
    return bundle.backbone.backend
