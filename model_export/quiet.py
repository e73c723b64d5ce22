"""Silences the libraries that log on every load and save."""

import logging

import onnxruntime
from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging


def quiet_libraries() -> None:
    """Let diffusers, transformers, ONNX Runtime and the exporter log errors only."""
    for library in (diffusers_logging, transformers_logging):
        library.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    onnxruntime.set_default_logger_severity(3)  # errors
