"""What a worker's images are drawn with, for their records."""

from diffusion.bundle.bundle import Bundle
from diffusion.samplers.table import TABLE_VERSION
from jobs.schema import ImageOrigin
from workers.engine.kept import device_name, installed
from workers.settings import WorkerSettings

PACKAGES = (
    "sfumato", "torch", "onnxruntime", "onnxruntime-gpu", "diffusers", "transformers", "numpy",
    "pillow",
)  # fmt: skip
"""What pixels and files depend on."""


def image_origin(bundle: Bundle, settings: WorkerSettings) -> ImageOrigin:
    """Return what images of a model are drawn with here, without the eta that each has."""
    versions = {name: installed(name) for name in PACKAGES}
    return ImageOrigin(
        worker=settings.worker_id,
        model_sha256=bundle.info.sha256,
        backend=bundle.backbone.name,
        device=device_name(bundle.device),
        deterministic=settings.deterministic,
        sampler_table_version=TABLE_VERSION,
        eta=None,
        versions={name: found for name, found in versions.items() if found is not None},
    )
