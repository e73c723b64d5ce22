"""The UNet, text encoders and decoder of a bundle's export, run by ONNX Runtime."""

import logging
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffusion.backends.backend import EXTRAS, Added
from diffusion.backends.onnx.files import DECODER, UNET, graphs
from diffusion.backends.onnx.session import Session, SessionSettings
from diffusion.errors import BundleError

log = logging.getLogger(__name__)
UNET_INPUTS = ("sample", "timesteps", "embeddings", *EXTRAS)


class OnnxExport:
    """A bundle's export: its files are checked at once, its sessions opened on demand."""

    def __init__(
        self,
        bundle: Path,
        folder: Path,
        manifest: Mapping[str, Any],
        device: torch.device,
        settings: SessionSettings,
    ) -> None:
        self._bundle = bundle
        self._manifest = manifest
        self._device = device
        self._settings = settings
        self._graphs = graphs(folder, manifest)
        self.precision = str(manifest["precision"])
        _log_other_runtime(f"onnx/{self.precision}", manifest.get("versions"))

    def session(self, part: str, inputs: Collection[str], output: str) -> Session:
        """Open a part that may take these inputs and gives this output.

        Raises:
            BundleError: it is not in the export, is another graph, or cannot be run here.
        """
        graph = self._graphs.get(part)
        if graph is None:
            raise BundleError(f"onnx/{self.precision} has no {part}; export it again")
        files = self._manifest["files"]
        session = Session(self._bundle, graph, files, self._device, self._settings)
        file = f"onnx/{self.precision}/{graph.path.name}"
        if strange := sorted(set(session.inputs) - set(inputs)):
            raise BundleError(f"{file} takes {', '.join(strange)[:120]}, which nothing gives it")
        if output not in session.outputs:
            raise BundleError(f"{file} has no output {output}")
        return session


def _log_other_runtime(name: str, versions: Any) -> None:
    import onnxruntime

    verified = versions.get("onnxruntime") if isinstance(versions, dict) else None
    if verified != onnxruntime.__version__:
        log.info(
            "%s was verified under ONNX Runtime %s but runs under %s; export it again to verify it",
            name,
            verified or "(unknown version)",
            onnxruntime.__version__,
        )


class OnnxBackend:
    """One forward pass of the UNet.

    On the CPU in fp32 a row's bits depend neither on its neighbours nor on the number of rows.
    """

    def __init__(self, export: OnnxExport) -> None:
        self.name = f"onnx-{export.precision}"
        self._session = export.session(UNET, UNET_INPUTS, "prediction")

    def predict(
        self, sample: Tensor, timesteps: Tensor, embeddings: Tensor, added: Added | None
    ) -> Tensor:
        """Return the prediction (N, C, h, w) float32."""
        inputs = {"sample": sample, "timesteps": timesteps, "embeddings": embeddings}
        if added is not None:
            inputs |= added
        # The UNets we serve return as many channels as they take.
        return self._session.run(inputs, {"prediction": sample.shape})["prediction"]


class OnnxEncoder:
    """A text encoder; see :class:`diffusion.parts.prompt.Encoder`."""

    def __init__(self, session: Session, width: int, pooled_width: int) -> None:
        self._session = session
        self._width = width
        self._pooled_width = pooled_width

    def __call__(self, tokens: Tensor) -> tuple[Tensor, ...]:
        """Return the states (N, L, D) and, where the encoder projects, the pooled prompt (N, P)."""
        shapes = {"states": (*tokens.shape, self._width)}
        if "pooled" in self._session.outputs:
            shapes["pooled"] = (len(tokens), self._pooled_width)
        return tuple(self._session.run({"tokens": tokens}, shapes).values())


class OnnxDecoder:
    """Decodes latents at sigma 0 to images in [−1, 1]."""

    def __init__(self, export: OnnxExport, factor: int) -> None:
        self.name = f"{DECODER} in ONNX {export.precision}"
        self._session = export.session(DECODER, ("latents",), "picture")
        self._factor = factor

    def decode(self, latents: Tensor) -> Tensor:
        """Return images (B, 3, H, W) float32 of latents (B, C, h, w)."""
        count, _, height, width = latents.shape
        shape = (count, 3, height * self._factor, width * self._factor)
        return self._session.run({"latents": latents}, {"picture": shape})["picture"]
