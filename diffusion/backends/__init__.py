"""What runs the networks: PyTorch, or ONNX Runtime."""
