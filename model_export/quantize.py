"""Eight-bit weights for the products of a graph."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import onnx


def quantize(model: Any) -> Any:
    """Return the graph with int8 weights in its matrix products, activations measured as it runs.

    Convolutions stay as they are: eight bits with measured activations make them slower on CPUs.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with TemporaryDirectory() as folder:
        prepared, quantized = Path(folder) / "prepared.onnx", Path(folder) / "quantized.onnx"
        # Weights that are transposed in the graph have to be constants to be found.
        quant_pre_process(model, prepared, skip_symbolic_shape=True)
        quantize_dynamic(
            prepared,
            quantized,
            op_types_to_quantize=["MatMul", "Gemm"],
            weight_type=QuantType.QInt8,
            per_channel=True,
        )
        return onnx.load(quantized)
