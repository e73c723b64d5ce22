"""ONNX Runtime sessions on one execution provider, which is never replaced silently."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diffusion.backends.onnx.files import UNET, Graph, check_external_data, shared_weights
from diffusion.backends.onnx.tensorrt import provider_options
from diffusion.errors import BundleError
from diffusion.files import read_json

log = logging.getLogger(__name__)
PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
# A tick has any number of rows. By default each new number makes cuDNN time every convolution's
# algorithms, and the arena grows in powers of two next to what torch holds.
CUDA = {"cudnn_conv_algo_search": "HEURISTIC", "arena_extend_strategy": "kSameAsRequested"}
# In the messages of its arenas, of CUDA and of the C++ library.
OUT_OF_MEMORY = (
    "Failed to allocate memory",
    "smaller than requested",
    "out of memory",
    "bad_alloc",
)
HEAVY = {"Attention", "Conv", "FusedMatMul", "Gemm", "MatMul", "MatMulInteger"}
"""Operators that belong on the chosen device."""
NUMPY = {torch.float32: np.float32, torch.float16: np.float16, torch.int64: np.int64}


@dataclass(frozen=True)
class SessionSettings:
    """How sessions run."""

    provider: str = "auto"  # "auto" is the device's: cpu or cuda
    threads: int = 0  # for operators on the CPU; 0: as many as torch has
    cache: Path | None = None  # where TensorRT keeps its engines; None: nowhere
    most_rows: int = 40  # of a batch


class Session:
    """One graph, run on torch tensors without a copy."""

    def __init__(
        self,
        bundle: Path,
        graph: Graph,
        files: Mapping[str, str],
        device: torch.device,
        settings: SessionSettings,
    ) -> None:
        self._device = device
        # The session uses the memory of shared weights, which must live as long as it does.
        self._session, self._held = _open(bundle, graph, files, device, settings)
        self.inputs = tuple(entry.name for entry in self._session.get_inputs())
        self.outputs = tuple(entry.name for entry in self._session.get_outputs())

    def run(
        self, inputs: Mapping[str, Tensor], shapes: Mapping[str, Sequence[int]]
    ) -> dict[str, Tensor]:
        """Return the outputs named in ``shapes``, float32 tensors of these shapes on the device.

        Raises:
            MemoryError: the device is out of memory; the session stays usable.
        """
        binding = self._session.io_binding()
        held = {name: tensor.contiguous() for name, tensor in inputs.items() if name in self.inputs}
        outputs = {
            name: torch.empty(tuple(shape), dtype=torch.float32, device=self._device)
            for name, shape in shapes.items()
        }
        place = self._device.type, self._device.index or 0
        for name, tensor in held.items():
            binding.bind_input(
                name, *place, NUMPY[tensor.dtype], tuple(tensor.shape), tensor.data_ptr()
            )
        for name, tensor in outputs.items():
            binding.bind_output(name, *place, np.float32, tuple(tensor.shape), tensor.data_ptr())
        if self._device.type == "cuda":
            torch.cuda.current_stream(self._device).synchronize()  # the session has its own stream
        try:
            self._session.run_with_iobinding(binding)
        except Exception as error:  # which class ONNX Runtime raises depends on where it fails
            if any(words in str(error) for words in OUT_OF_MEMORY):
                raise MemoryError(str(error)) from error
            raise
        return outputs


def _open(
    bundle: Path,
    graph: Graph,
    files: Mapping[str, str],
    device: torch.device,
    settings: SessionSettings,
) -> tuple[Any, list[Any]]:
    import onnx
    import onnxruntime

    provider = chosen_provider(settings.provider, device)
    options = _options(settings)
    if graph.part != UNET and provider == PROVIDERS["tensorrt"]:
        provider = PROVIDERS["cuda"]  # runs once an image: an engine would not pay
    try:
        model = onnx.load(graph.path, load_external_data=False)
        check_external_data(model, files, graph)
        source: str | bytes = str(graph.path)
        values: list[Any] = []
        if graph.shared:
            held = _shared(model, bundle, graph.part)
            values = [onnxruntime.OrtValue.ortvalue_from_numpy(a) for a in held.values()]
            options.add_external_initializers(list(held), values)
            source = model.SerializeToString()
        providers = _with_device(provider, device)
        if provider == PROVIDERS["tensorrt"]:
            providers[0][1].update(_sizes(model, bundle, settings))
        session = onnxruntime.InferenceSession(
            source, options, providers=providers, enable_fallback=0
        )
    except BundleError:
        raise
    except Exception as error:  # onnx and ONNX Runtime let any parser's exception through
        raise BundleError(f"{graph.path.name}: {error}") from error
    if session.get_providers()[0] != provider:
        raise BundleError(
            f"{provider} did not start, {session.get_providers()[0]} would run instead; "
            "see the log of ONNX Runtime for a missing library"
        )
    _log_elsewhere(graph.path.name, session, provider)
    return session, values


def _sizes(model: Any, bundle: Path, settings: SessionSettings) -> dict[str, Any]:
    """Return what TensorRT is told of a UNet."""
    from onnx import TensorProto

    inputs = {
        entry.name: [each.dim_param or each.dim_value for each in entry.type.tensor_type.shape.dim]
        for entry in model.graph.input
    }
    side = read_json(bundle / "unet" / "config.json").get("sample_size")
    halves = any(each.data_type == TensorProto.FLOAT16 for each in model.graph.initializer)
    return provider_options(
        inputs, int(side or 64), settings.most_rows, settings.cache, halves=halves
    )


def _options(settings: SessionSettings) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = settings.threads or torch.get_num_threads()
    options.inter_op_num_threads = 1
    # A thread that spins while it waits takes a core away from publishing.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    return options


def _log_elsewhere(name: str, session: Any, provider: str) -> None:
    for other, operators in nodes_elsewhere(session, provider).items():
        counts = ", ".join(f"{count} {operator}" for operator, count in operators.most_common())
        level = logging.WARNING if HEAVY & operators.keys() else logging.INFO
        log.log(level, "%s: %s runs %s instead of %s", name, other, counts, provider)


def nodes_elsewhere(session: Any, provider: str) -> dict[str, Counter[str]]:
    """Return how many nodes of each operator run on other providers, by provider.

    CUDA leaves shape arithmetic to the CPU, which costs nothing; a convolution there would.
    """
    found: dict[str, Counter[str]] = {}
    for part in session.get_provider_graph_assignment_info():
        if part.ep_name != provider:
            found.setdefault(part.ep_name, Counter()).update(n.op_type for n in part.get_nodes())
    return found


def chosen_provider(name: str, device: torch.device) -> str:
    """Return the execution provider that a setting means on a device.

    Raises:
        BundleError: it is unknown, not for this device, or missing from this build.
    """
    import onnxruntime

    wanted = device.type if name == "auto" else name
    if wanted not in PROVIDERS:
        raise BundleError(f"unknown provider {wanted!r}; available: {', '.join(PROVIDERS)}")
    if (wanted == "cpu") != (device.type == "cpu"):
        raise BundleError(f"the provider {wanted} does not run on the device {device}")
    provider = PROVIDERS[wanted]
    there = onnxruntime.get_available_providers()
    if provider not in there:
        raise BundleError(
            f"this build of ONNX Runtime has no {provider}, only {', '.join(there)}; "
            "the extra worker-gpu installs one that does"
        )
    return provider


def _with_device(provider: str, device: torch.device) -> list[Any]:
    if device.type == "cpu":
        return [provider]
    place: dict[str, Any] = {"device_id": device.index or 0}
    cuda = (PROVIDERS["cuda"], place | CUDA)
    # CUDA takes the nodes that TensorRT has no kernel for.
    return [cuda] if provider == PROVIDERS["cuda"] else [(provider, place), cuda]


def _shared(model: Any, bundle: Path, part: str) -> dict[str, Any]:
    """Return the shared initializers' values by name."""
    from onnx import TensorProto

    wanted = [tensor for tensor in model.graph.initializer if tensor.external_data]
    halves = any(tensor.data_type == TensorProto.FLOAT16 for tensor in wanted)
    weights = shared_weights(bundle, part, torch.float16 if halves else torch.float32)
    held, missing = {}, []
    for tensor in wanted:
        value = weights.get(tensor.name)
        if value is None or list(value.shape) != list(tensor.dims):
            missing.append(tensor.name)
        else:
            held[tensor.name] = np.ascontiguousarray(value)
    if missing:
        first = ", ".join(missing[:3])
        raise BundleError(
            f"{part}.onnx: {len(missing)} of the graph's weights are not in the bundle ({first})"
        )
    return held
