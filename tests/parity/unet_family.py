"""The UNet family in the parity table."""

import json
from pathlib import Path
from typing import Any

from diffusers.pipelines.ddim.pipeline_ddim import DDIMPipeline
from diffusers.pipelines.ddpm.pipeline_ddpm import DDPMPipeline
from diffusers.pipelines.latent_consistency_models.pipeline_latent_consistency_text2img import (
    LatentConsistencyModelPipeline,
)
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl import (
    StableDiffusionXLPipeline,
)
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from diffusers.schedulers.scheduling_edm_dpmsolver_multistep import EDMDPMSolverMultistepScheduler
from diffusers.schedulers.scheduling_edm_euler import EDMEulerScheduler
from diffusers.schedulers.scheduling_euler_ancestral_discrete import EulerAncestralDiscreteScheduler
from diffusers.schedulers.scheduling_euler_discrete import EulerDiscreteScheduler
from diffusers.schedulers.scheduling_heun_discrete import HeunDiscreteScheduler
from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler

from tests.layouts.pixels import ddim, ddpm
from tests.layouts.unet_family import (
    NOISE,
    lcm,
    lcm_xl,
    lightning,
    playground,
    sd15,
    sd21,
    sd21_base,
    sdxl,
    turbo,
    vega,
    zero_snr,
)
from tests.parity.entry import Entry, Sampler

LEADING: dict[str, Any] = {"timestep_spacing": "leading"}
TRAILING: dict[str, Any] = {"timestep_spacing": "trailing"}
TO_ZERO: dict[str, Any] = {"clip_sample": False, "set_alpha_to_one": True}
SDE: dict[str, Any] = {"algorithm_type": "sde-dpmsolver++"}

EULER = Sampler("euler", "leading", EulerDiscreteScheduler, LEADING)
EULER_A = Sampler("euler_ancestral", "leading", EulerAncestralDiscreteScheduler, LEADING)
HEUN = Sampler("heun", "leading", HeunDiscreteScheduler, LEADING)
DDIM = Sampler("ddim", "trailing", DDIMScheduler, TRAILING | TO_ZERO)
DPMPP_2M = Sampler("dpmpp_2m", "trailing", DPMSolverMultistepScheduler, TRAILING)
DPMPP_2M_SDE = Sampler("dpmpp_2m_sde", "trailing", DPMSolverMultistepScheduler, TRAILING | SDE)
UNIPC = Sampler("unipc", "trailing", UniPCMultistepScheduler, TRAILING)
EDM_EULER = Sampler("euler", "karras", EDMEulerScheduler)
EDM_SDE = Sampler("dpmpp_2m_sde", "karras", EDMDPMSolverMultistepScheduler, SDE)
FEW = (1, 2, 4)


class ByClass(DDPMPipeline):  # type: ignore[misc]
    """DDPMPipeline gives its network no class, so that those of classes are not drawn at all."""

    def __call__(self, *, label: int, **options: Any) -> Any:
        """Draw one of a class."""
        import torch

        plain = self.unet.forward
        labels = torch.tensor([label])
        self.unet.forward = lambda sample, t, **rest: plain(sample, t, class_labels=labels, **rest)
        try:
            return super().__call__(**options)
        finally:
            del self.unet.forward


def of_2022(folder: Path) -> Path:
    """Write a model whose scheduler says neither ``steps_offset`` nor ``clip_sample``."""
    sd15(folder, scheduler=DDIMScheduler(**NOISE))
    path = folder / "scheduler" / "scheduler_config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({k: config[k] for k in ("_class_name", *NOISE)}))
    return folder


def by_class(folder: Path) -> Path:
    """Write a model of pixels of ten classes."""
    return ddpm(folder, num_class_embeds=10)


def grey(folder: Path) -> Path:
    """Write a model of grey pixels, clipped elsewhere than at 1."""
    return ddpm(
        folder,
        scheduler=DDPMScheduler(clip_sample_range=0.8, timestep_spacing="trailing"),
        in_channels=1,
        out_channels=1,
        class_embed_type=None,
    )


def large(folder: Path) -> Path:
    """Write a model of pixels as Ho et al. published theirs, of variance β."""
    return ddpm(folder, scheduler=DDPMScheduler(variance_type="fixed_large"))


def unclipped(folder: Path) -> Path:
    """Write a model of pixels whose estimates are not clipped."""
    return ddpm(folder, scheduler=DDPMScheduler(clip_sample=False))


ENTRIES: tuple[Entry, ...] = (
    Entry("SD 1.5, PNDM", sd15, StableDiffusionPipeline, (EULER, DPMPP_2M)),
    Entry("SD 1.4 of 2022, DDIM", of_2022, StableDiffusionPipeline, (EULER_A, DPMPP_2M)),
    Entry("SD 2.1, DDIM, v", sd21, StableDiffusionPipeline, (EULER_A, UNIPC)),
    Entry("SD 2.1, DDIM, v, rescaled", sd21, StableDiffusionPipeline, guidance_rescale=0.7),
    Entry("SD 2.1-base, PNDM", sd21_base, StableDiffusionPipeline, (DDIM, DPMPP_2M_SDE)),
    Entry("zero SNR, DDIM, v", zero_snr, StableDiffusionPipeline, (DPMPP_2M, EULER_A)),
    Entry(
        "LCM",
        lcm,
        LatentConsistencyModelPipeline,
        steps=(2, 4, 8),
        guidance_scale=8.5,
    ),
    Entry(  # the pipeline above takes no other scheduler
        "LCM, by the plain pipeline",
        lcm,
        StableDiffusionPipeline,
        (DPMPP_2M, DDIM),
        steps=(2, 4, 8),
        guidance_scale=7.3,
    ),
    Entry("SDXL, Euler", sdxl, StableDiffusionXLPipeline, (EULER_A, DPMPP_2M)),
    Entry("SDXL, rescaled", sdxl, StableDiffusionXLPipeline, (DPMPP_2M,), guidance_rescale=0.7),
    Entry("SDXL, no prompt", sdxl, StableDiffusionXLPipeline, steps=(4,), prompt=""),
    Entry("Segmind Vega, Euler", vega, StableDiffusionXLPipeline, (HEUN, DDIM)),
    Entry(
        "SDXL-Turbo, Euler a",
        turbo,
        StableDiffusionXLPipeline,
        (DDIM, DPMPP_2M),
        steps=FEW,
        guidance_scale=1.0,
    ),
    Entry(
        "SDXL-Lightning, Euler",
        lightning,
        StableDiffusionXLPipeline,
        (DDIM, UNIPC),
        steps=(2, 4, 8),
        guidance_scale=1.0,
    ),
    Entry("Playground v2.5, EDM", playground, StableDiffusionXLPipeline, (EDM_EULER, EDM_SDE)),
    Entry(
        "LCM of SDXL",
        lcm_xl,
        StableDiffusionXLPipeline,
        (EULER, UNIPC),
        steps=(2, 4, 8),
        guidance_scale=6.3,
    ),
    Entry("UNet2DModel, DDPM", ddpm, DDPMPipeline, steps=(10, 50), prompt=None),
    Entry(
        "UNet2DModel, DDPM, by DDIM",
        ddpm,
        DDIMPipeline,
        (
            Sampler("ddim", "leading", DDIMScheduler),
            Sampler("ddim", "trailing", DDIMScheduler, TRAILING),
        ),
        steps=(10, 50),
        prompt=None,
        call={"use_clipped_model_output": True},
        own=False,
    ),
    Entry(  # the other schedulers do not clip
        "UNet2DModel, DDPM, unclipped",
        unclipped,
        DDPMPipeline,
        (DPMPP_2M, DPMPP_2M_SDE),
        steps=(10, 50),
        prompt=None,
    ),
    Entry("UNet2DModel, DDPM, of variance β", large, DDPMPipeline, steps=(10, 50), prompt=None),
    Entry("UNet2DModel, DDPM, grey", grey, DDPMPipeline, steps=(10,), prompt=None),
    Entry("UNet2DModel, DDIM", ddim, DDIMPipeline, steps=(10, 50), prompt=None),
    Entry(
        "UNet2DModel, DDPM, by class",
        by_class,
        ByClass,
        steps=(10,),
        prompt="7",
        call={"label": 7, "prompt": None, "guidance_scale": None},
    ),
)
