"""A bundle's networks as ONNX graphs for any batch and any size."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import torch
from onnxscript import opset20 as op
from torch import Tensor, nn

from diffusion.backends.onnx.files import DECODER, SHARED, TEXT_ENCODER, TEXT_ENCODER_2, UNET
from diffusion.backends.torch import positional, unet_example
from diffusion.parts.open import codec_config, load_decoder, load_unet
from diffusion.parts.prompt import TorchEncoder, text_config, torch_encoder
from diffusion.parts.unet_config import unet_config
from model_export.errors import ExportError

OPSET = 20
DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "int8": torch.float32}

Axes = dict[int, str]


@dataclass(frozen=True, eq=False)
class Network:
    """A part of a bundle, ready to be exported and compared with."""

    part: str
    module: nn.Module  # takes and returns float32, whatever it computes in
    inputs: dict[str, Tensor]
    outputs: tuple[str, ...]
    dynamic: dict[str, Axes]  # by input
    prefix: str  # of parameter names, relative to those in the bundle's safetensors
    base_size: dict[str, tuple[int, ...]]  # of a row of each input at the UNet's sample size


def networks(folder: Path, precision: str) -> Iterator[Network]:
    """Yield a bundle's parts, one in memory at a time.

    Raises:
        BundleError: a part is broken or of a kind that is not served.
    """
    dtype = DTYPES[precision]
    side = int(unet_config(folder)["sample_size"])
    yield _unet(folder, dtype, side)
    two = (folder / TEXT_ENCODER_2).is_dir()
    for part in (TEXT_ENCODER, TEXT_ENCODER_2)[: 1 + two]:
        yield _encoder(folder, part, dtype, penultimate=two)
    yield _decoder(folder, dtype, side)


def export_graph(network: Network) -> Any:
    """Return the network as an ``onnx.ModelProto`` with weights named as in the safetensors.

    Raises:
        ExportError: torch cannot export it.
    """
    try:
        model = _exported(network)
    except torch.onnx.OnnxExporterError as error:
        reason = str(error.__cause__ or error).partition("\n")[0]
        raise ExportError(f"{network.part}: torch cannot export it: {reason}") from error
    _strip(model)
    for tensor in model.graph.initializer:
        rename(model, tensor.name, tensor.name.removeprefix(network.prefix))
    return model


def _exported(network: Network) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about axes that share a name, and the exporter's calls
        program = torch.onnx.export(
            network.module,
            tuple(network.inputs.values()),
            dynamo=True,
            optimize=False,  # ONNX Runtime does; weights keep their names and shapes
            verbose=False,
            opset_version=OPSET,
            custom_translation_table={torch.ops.aten.mean.dim: _mean},
            input_names=list(network.inputs),
            output_names=list(network.outputs),
            dynamic_shapes=tuple(network.dynamic[name] for name in network.inputs),
        )
    assert program is not None
    return program.model_proto


def share_weights(model: Any, stored: Mapping[str, Any]) -> None:
    """Take the weights out of a graph that the bundle's safetensors hold: ``stored``, by name.

    Weights of another name or another shape stay in the graph.
    """
    for tensor in model.graph.initializer:
        # Before transformers 5 an encoder's weights had a prefix.
        for name in (tensor.name, f"text_model.{tensor.name}"):
            if name in stored and list(stored[name].shape) == list(tensor.dims):
                rename(model, tensor.name, name)
                tensor.ClearField("raw_data")
                tensor.data_location = onnx.TensorProto.EXTERNAL
                tensor.external_data.add(key="location", value=SHARED)
                break


def rename(model: Any, old: str, new: str) -> None:
    """Give a tensor of the graph another name."""
    for tensor in model.graph.initializer:
        if tensor.name == old:
            tensor.name = new
    for node in model.graph.node:
        for i, name in enumerate(node.input):
            if name == old:
                node.input[i] = new


def _mean(
    x: Any, dim: Sequence[int] | None = None, keepdim: bool = False, dtype: int | None = None
) -> Any:
    """Translate a mean, over the middle of three axes as pooling.

    ONNX Runtime's ``ReduceMean`` sums a single row in another order than several; with pooling a
    row's bits do not depend on the number of rows.
    """
    if dim is not None and list(dim) == [1] and keepdim and len(x.shape) == 3:
        turned = op.GlobalAveragePool(op.Transpose(x, perm=[0, 2, 1]))
        return op.Transpose(turned, perm=[0, 2, 1])
    if not dim:
        return op.ReduceMean(x, keepdims=keepdim)
    return op.ReduceMean(x, op.Constant(value_ints=list(dim)), keepdims=keepdim)


def _strip(model: Any) -> None:
    """Remove the nodes' source locations: most of a graph without weights."""
    graph = model.graph
    del graph.value_info[:]
    for entry in [*graph.node, *graph.input, *graph.output, *graph.initializer]:
        del entry.metadata_props[:]
        entry.doc_string = ""
    del graph.metadata_props[:]
    del model.metadata_props[:]


class _Decoder(nn.Module):
    """A codec's decoder as a module that returns float32."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner: Any = inner

    def forward(self, latents: Tensor) -> Tensor:
        """Return images (B, 3, H, W) float32 in [−1, 1]."""
        image: Tensor = self.inner.decode(latents)
        return image.float()


def _unet(folder: Path, dtype: torch.dtype, side: int) -> Network:
    unet = load_unet(folder, dtype)
    example = unet_example(unet, 2, 2, 7)
    length = int(text_config(folder / TEXT_ENCODER)["max_position_embeddings"])
    rows: Axes = {0: "rows"}
    dynamic = {name: rows for name in example} | {
        "sample": rows | {2: "height", 3: "width"},
        "embeddings": rows | {1: "tokens"},
    }
    return Network(
        part=UNET,
        module=positional(unet.eval().requires_grad_(False)),
        inputs=example,
        outputs=("prediction",),
        dynamic=dynamic,
        prefix="unet.",
        base_size={name: tuple(tensor.shape[1:]) for name, tensor in example.items()}
        | {"sample": (example["sample"].shape[1], side, side)}
        | {"embeddings": (length, example["embeddings"].shape[2])},
    )


def _encoder(folder: Path, part: str, dtype: torch.dtype, *, penultimate: bool) -> Network:
    config = text_config(folder / part)
    encoder = torch_encoder(folder / part, config, dtype)
    module = TorchEncoder(encoder, penultimate=penultimate)
    length = int(config["max_position_embeddings"])
    tokens = torch.linspace(0, int(config["vocab_size"]) - 1, 2 * length).long()
    tokens = tokens.reshape(2, length)
    with torch.no_grad():
        outputs = ("states", "pooled")[: len(module(tokens))]
    return Network(
        part=part,
        module=module,
        inputs={"tokens": tokens},
        outputs=outputs,
        dynamic={"tokens": {0: "prompts"}},
        prefix="encoder.",
        base_size={"tokens": (length,)},
    )


def _decoder(folder: Path, dtype: torch.dtype, side: int) -> Network:
    # A decoder configured not to run in float16, and our linear codec, stay float32.
    decoder, _ = load_decoder(folder, torch.device("cpu"), dtype)
    assert isinstance(decoder, nn.Module)
    config = codec_config(folder / "vae")
    channels = int(config.get("latent_channels", 4))
    return Network(
        part=DECODER,
        module=_Decoder(decoder),
        inputs={"latents": torch.randn(2, channels, 4, 6)},
        outputs=("picture",),
        dynamic={"latents": {0: "pictures", 2: "height", 3: "width"}},
        prefix="inner.vae." if config["_class_name"] == "AutoencoderKL" else "inner.",
        base_size={"latents": (channels, side, side)},
    )
