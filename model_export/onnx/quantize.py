"""Eight-bit weights for the matrix products of a graph."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import onnx


def quantize(model: Any, scratch: Path, *, beside: bool = False) -> Any:
    """Return the graph with int8 weights in its matrix products, activations quantized at run time.

    Convolutions stay as they are: dynamic quantization makes them slower on CPUs. ``scratch`` is a
    folder for temporary files; weights that one file cannot hold go ``beside`` their graphs there.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with TemporaryDirectory(dir=scratch) as folder:
        given, prepared, quantized = (
            Path(folder) / f"{name}.onnx" for name in ("given", "prepared", "quantized")
        )
        if beside:
            onnx.save_model(model, given, save_as_external_data=True, location="given.data")
        # Transposed weights are only found once folded into constants.
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
