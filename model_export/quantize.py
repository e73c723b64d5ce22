"""Eight-bit weights for the products of a graph."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import onnx


def quantize(model: Any, room: Path, *, beside: bool = False) -> Any:
    """Return the graph with int8 weights in its matrix products, activations measured as it runs.

    Convolutions stay as they are: eight bits with measured activations make them slower on CPUs.
    ``room`` is a folder for what it takes on the way; weights that no single file can hold lie
    ``beside`` their graphs there.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with TemporaryDirectory(dir=room) as folder:
        given, prepared, quantized = (
            Path(folder) / f"{name}.onnx" for name in ("given", "prepared", "quantized")
        )
        if beside:
            onnx.save_model(model, given, save_as_external_data=True, location="given.data")
        # Weights that are transposed in the graph have to be constants to be found.
        quant_pre_process(
            given if beside else model,
            prepared,
            skip_symbolic_shape=True,
            save_as_external_data=beside,
            all_tensors_to_one_file=beside,
            external_data_location="prepared.data" if beside else None,
        )
        quantize_dynamic(
            prepared,
            quantized,
            op_types_to_quantize=["MatMul", "Gemm"],
            weight_type=QuantType.QInt8,
            per_channel=True,
            use_external_data_format=beside,
        )
        return onnx.load(quantized)
