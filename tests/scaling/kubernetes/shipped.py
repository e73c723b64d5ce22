"""The ScaledObject that is shipped for the cluster, as it is rendered."""

from pathlib import Path

from tests.scaling.kubernetes.scaled_object import ScaledObject, scaled_objects

MANIFEST = Path(__file__).parents[3] / "deploy" / "kustomize" / "base" / "sfumato.yaml"


def shipped() -> ScaledObject:
    """Return the settings of the manifest's one ScaledObject."""
    (scaled,) = scaled_objects(MANIFEST.read_text())
    return scaled
