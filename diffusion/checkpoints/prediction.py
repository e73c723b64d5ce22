"""What a checkpoint's network predicts: its file says so, or it is asked for, or assumed."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from diffusion.checkpoints.edm import MEAN, SIGMA_MAX
from diffusion.checkpoints.families import EULER, SD21, Family
from diffusion.errors import BundleError

PredictionType = Literal["epsilon", "v_prediction"]
NAMES: Mapping[str, PredictionType] = {
    "epsilon": "epsilon",
    "eps": "epsilon",
    "v": "v_prediction",
    "v_prediction": "v_prediction",
    "v-prediction": "v_prediction",
}
SPEC = "modelspec.prediction_type"
"""Of Stability AI's ModelSpec, in a file's metadata."""
V_KEY, ZERO_SNR_KEY = "v_pred", "ztsnr"


@dataclass(frozen=True)
class Prediction:
    """What a network predicts, and how that is known."""

    type: PredictionType
    zero_snr: bool  # trained with zero terminal SNR (Lin et al. 2023)
    because: str  # a sentence


def prediction(
    family: Family,
    names: Collection[str],
    metadata: Mapping[str, Any],
    asked: str | None,
    zero_snr: bool | None,
) -> Prediction:
    """Return what a checkpoint's network predicts; what is asked for overrides what it says.

    Raises:
        BundleError: it cannot be.
    """
    kind, because = _type(family, names, metadata, asked)
    zero = ZERO_SNR_KEY in names if zero_snr is None else zero_snr
    if zero and str(family.scheduler["_class_name"]).startswith("EDM"):
        raise BundleError(f"{family.title} is of EDM, which knows no zero terminal SNR")
    if zero and kind == "epsilon":
        why = f"its key {ZERO_SNR_KEY} says" if zero_snr is None else "asked"
        raise BundleError(
            f"zero terminal SNR, as {why}, needs --prediction v_prediction: "
            "noise alone does not tell what noise was added"
        )
    return Prediction(kind, zero, because + ("; zero terminal SNR" if zero else ""))


def _type(
    family: Family, names: Collection[str], metadata: Mapping[str, Any], asked: str | None
) -> tuple[PredictionType, str]:
    if asked is not None:
        if asked not in NAMES:
            raise BundleError(f"--prediction {asked} is unknown: epsilon or v_prediction")
        return NAMES[asked], f"it predicts {_word(NAMES[asked])}, as asked"
    if MEAN in names:
        return "epsilon", f"it is preconditioned as EDM, as its key {MEAN} says"
    if SIGMA_MAX in names:
        return "v_prediction", f"it predicts v as EDM, as its key {SIGMA_MAX} says"
    if V_KEY in names:
        return "v_prediction", f"it predicts v, as its key {V_KEY} says"
    if said := NAMES.get(str(metadata.get(SPEC, "")).lower()):
        return said, f"it predicts {_word(said)}, as its {SPEC} says"
    if family is SD21:
        return "v_prediction", (
            "it is assumed to predict v, as Stable Diffusion 2.1 for 768 pixels does: "
            "its file does not say; if images are noise, add it with --prediction epsilon"
        )
    return "epsilon", (
        f"it is assumed to predict ε, as {family.title} does: "
        "its file does not say; if images are noise, add it with --prediction v_prediction"
    )


def _word(kind: PredictionType) -> str:
    return "ε" if kind == "epsilon" else "v"


def scheduler_config(family: Family, found: Prediction) -> dict[str, Any]:
    """Return the scheduler of a family, for what its network predicts."""
    if not found.zero_snr:
        return dict(family.scheduler) | {"prediction_type": found.type}
    return EULER | {
        "timestep_spacing": "trailing",
        "rescale_betas_zero_snr": True,
        "prediction_type": found.type,
    }


def side(family: Family, found: Prediction) -> int:
    """Return the side of a network's base resolution, in latents."""
    return 96 if family is SD21 and found.type == "v_prediction" else family.side
