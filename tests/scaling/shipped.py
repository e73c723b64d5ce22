"""The ScaledObject that is shipped for the cluster."""

from pathlib import Path

from tests.scaling.scaled_object import ScaledObject, scaled_objects

MANIFEST = Path(__file__).parent / "worker.yaml"


def shipped() -> ScaledObject:
    """Return the settings of the manifest's one ScaledObject."""
    (scaled,) = scaled_objects(MANIFEST.read_text())
    return scaled
