"""``python -m model_export.onnx MODEL``."""

from model_export.onnx.export import main

if __name__ == "__main__":
    main()
