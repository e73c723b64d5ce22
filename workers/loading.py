"""Loads a worker's models as its settings say."""

import torch

from diffusion.backends.acceleration import Acceleration
from diffusion.backends.backend import DTYPES
from diffusion.backends.onnx.session import SessionSettings
from diffusion.bundle.bundle import Bundle, load_bundle
from diffusion.codec import Decoder
from diffusion.parts.preview import preview_decoder
from diffusion.parts.safety import SafetyChecker, load_safety_checker
from jobs.host.cpus import usable_cpus
from jobs.host.scheduling import compete
from workers.ops.memory import keep_freed_memory
from workers.settings import WorkerSettings


def load(settings: WorkerSettings) -> Bundle:
    """Load the model on the device that the settings name.

    Raises:
        BundleError: the folder is not a model we can serve.
    """
    compete()  # with the threads that libraries start here
    device = settings.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    keep_freed_memory()
    torch.set_num_threads(settings.threads or min(torch.get_num_threads(), usable_cpus()))
    bundle = load_bundle(
        settings.model,
        device=device,
        backend=settings.backend,
        dtype=settings.dtype,
        precision=settings.onnx_precision,
        sessions=SessionSettings(
            settings.onnx_provider,
            cache=settings.cache,
            most_rows=settings.rows_per_tick or 2 * settings.slots,
        ),
        acceleration=Acceleration(settings.graphs, settings.compile, settings.cache),
        name=settings.model_name,
    )
    if settings.preview_decoder == "auto":
        bundle.previews = load_previews(settings, bundle)
    return bundle


def load_previews(settings: WorkerSettings, bundle: Bundle) -> Decoder:
    """Return what decodes a model's previews.

    Raises:
        BundleError: the model has a distilled decoder, and it is broken.
    """
    dtype = DTYPES.get(settings.dtype)
    if dtype is None and bundle.device.type == "cpu":
        dtype = torch.float32
    channels = bundle.info.latent_channels
    return preview_decoder(settings.model, bundle.decoder, channels, bundle.device, dtype)


def load_safety(settings: WorkerSettings, bundle: Bundle) -> SafetyChecker | None:
    """Load the model's safety checker if the settings ask for it.

    Raises:
        BundleError: they do, and the model has none.
    """
    if settings.safety == "off":
        return None
    return load_safety_checker(settings.model, bundle.device)
