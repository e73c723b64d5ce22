"""Export to ONNX, and its verification."""
