"""The families that are read from single files, and what no file says of its network."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from diffusion.tensor_file import TensorEntry

UNET = "model.diffusion_model."
VAE = "first_stage_model."
NOISE = {
    "num_train_timesteps": 1000,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "trained_betas": None,
}


@dataclass(frozen=True)
class ClipPart:
    """One of a family's text encoders."""

    part: str  # its folder
    prefix: str  # of its tensors
    open_clip: bool  # whose blocks are OpenCLIP's, not transformers'
    projects: bool
    pad: str  # what fills up a prompt

    @property
    def kind(self) -> str:
        """Its class in transformers."""
        return "CLIPTextModelWithProjection" if self.projects else "CLIPTextModel"


@dataclass(frozen=True)
class Family:
    """A family of checkpoints."""

    title: str
    pipeline: str
    encoders: tuple[ClipPart, ...]
    scaling_factor: float  # of the VAE's latents
    side: int  # of the base resolution, in latents
    heads: int | None  # of every attention layer; None: one for 64 channels
    scheduler: Mapping[str, Any]
    index: Mapping[str, Any]  # keys of model_index.json beside the parts
    vae: Mapping[str, Any]  # keys of the VAE's configuration beside its shape
    unet: Mapping[str, Any]  # keys of the UNet's configuration beside its shape


END = "<|endoftext|>"
NO_CHECKER = {
    "safety_checker": [None, None],
    "feature_extractor": [None, None],
    "requires_safety_checker": False,
}
_PNDM = {
    "_class_name": "PNDMScheduler",
    **NOISE,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
}
_DDIM = {
    "_class_name": "DDIMScheduler",
    **NOISE,
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}
EULER = {
    "_class_name": "EulerDiscreteScheduler",
    **NOISE,
    "interpolation_type": "linear",
    "timestep_spacing": "leading",
    "steps_offset": 1,
    "use_karras_sigmas": False,
}

SD15 = Family(
    title="Stable Diffusion 1.5",
    pipeline="StableDiffusionPipeline",
    encoders=(ClipPart("text_encoder", "cond_stage_model.transformer.", False, False, END),),
    scaling_factor=0.18215,
    side=64,
    heads=8,
    scheduler=_PNDM,
    index=NO_CHECKER,
    vae={},
    unet={},
)
SD21 = Family(
    title="Stable Diffusion 2.1",
    pipeline="StableDiffusionPipeline",
    encoders=(ClipPart("text_encoder", "cond_stage_model.model.", True, False, "!"),),
    scaling_factor=0.18215,
    side=64,
    heads=None,
    scheduler=_DDIM,
    index=NO_CHECKER,
    vae={},
    unet={"upcast_attention": True},  # its attention overflows float16
)
SDXL = Family(
    title="Stable Diffusion XL",
    pipeline="StableDiffusionXLPipeline",
    encoders=(
        ClipPart("text_encoder", "conditioner.embedders.0.transformer.", False, False, END),
        ClipPart("text_encoder_2", "conditioner.embedders.1.model.", True, True, "!"),
    ),
    scaling_factor=0.13025,
    side=128,
    heads=None,
    scheduler=EULER,
    index={"force_zeros_for_empty_prompt": True},
    vae={"force_upcast": True},
    unet={},
)
FAMILIES = (SD15, SD21, SDXL)


def family_of(entries: Mapping[str, TensorEntry]) -> Family | None:
    """Return the family whose text encoders a file holds, None if it holds those of none."""
    for family in FAMILIES:
        if all(any(n.startswith(each.prefix) for n in entries) for each in family.encoders):
            return family
    return None
