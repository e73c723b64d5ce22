"""The ScaledObject that is shipped for the cluster, as it is rendered."""

from pathlib import Path

from tests.scaling.scaled_object import ScaledObject, scaled_objects

MANIFEST = Path(__file__).parents[2] / "deploy" / "kustomize" / "base" / "sfumato.yaml"


def shipped() -> ScaledObject:
    """Return the settings of the manifest's one ScaledObject."""
    (scaled,) = scaled_objects(MANIFEST.read_text())
    return scaled
