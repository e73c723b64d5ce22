"""The transformers in the parity table."""

from functools import partial
from typing import Any

import numpy as np
from diffusers.pipelines.flux.pipeline_flux import FluxPipeline
from diffusers.pipelines.pixart_alpha.pipeline_pixart_alpha import PixArtAlphaPipeline
from diffusers.pipelines.pixart_alpha.pipeline_pixart_sigma import PixArtSigmaPipeline
from diffusers.pipelines.stable_diffusion_3.pipeline_stable_diffusion_3 import (
    StableDiffusion3Pipeline,
)
from diffusers.pipelines.z_image.pipeline_z_image import ZImagePipeline
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from diffusers.schedulers.scheduling_flow_match_euler_discrete import (
    FlowMatchEulerDiscreteScheduler,
)

from tests.layouts.flows import flux, z_image
from tests.layouts.transformers import pixart, sd3
from tests.parity.entry import Entry, Sampler
from tests.parity.unet_family import DDIM, DPMPP_2M_SDE, EULER

SIZE: dict[str, Any] = {"width": 32, "height": 32}
PIXART: dict[str, Any] = {"use_resolution_binning": False, "clean_caption": False}


class OnFlowLevels(DPMSolverMultistepScheduler):  # type: ignore[misc]
    """Diffusers' solver on the levels of the model's own scheduler.

    By itself it cuts timesteps to integers, so that the network is asked beside the state's level.
    """

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: Any = None,
        mu: float | None = None,
        timesteps: Any = None,
        *,
        sigmas: Any = None,
    ) -> None:
        """Take the levels of the scheduler that this one was made from."""
        own = FlowMatchEulerDiscreteScheduler.from_config(self.config)
        own.set_timesteps(num_inference_steps, device, sigmas=sigmas, mu=mu)
        super().set_timesteps(len(own.timesteps), device)
        self.sigmas, self.timesteps = own.sigmas, own.timesteps


class OnFluxLevels(OnFlowLevels):
    """Likewise with the ends that FLUX.1's pipeline gives to a scheduler of flows alone."""

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: Any = None,
        mu: float | None = None,
        timesteps: Any = None,
        *,
        sigmas: Any = None,
    ) -> None:
        """Take the levels between 1 and one step."""
        steps = num_inference_steps or 0
        sigmas = np.linspace(1, 1 / steps, steps)
        super().set_timesteps(steps, device, mu, sigmas=sigmas)


FLOW: dict[str, Any] = {"prediction_type": "flow_prediction", "use_flow_sigmas": True}
FLOW_SDE = FLOW | {"algorithm_type": "sde-dpmsolver++"}
SOLVERS = (
    Sampler("dpmpp_2m", "model", OnFlowLevels, FLOW),
    Sampler("dpmpp_2m_sde", "model", OnFlowLevels, FLOW_SDE),
)
FLUX_SOLVERS = (  # no noise: its latents are packed
    Sampler("dpmpp_2m", "model", OnFluxLevels, FLOW),
    Sampler("ddim", "model", OnFluxLevels, FLOW | {"solver_order": 1}),
)

ENTRIES: tuple[Entry, ...] = (
    Entry("PixArt-Σ", pixart, PixArtSigmaPipeline, (EULER, DDIM), call=PIXART),
    Entry(
        "PixArt-α",
        partial(pixart, alpha=True),
        PixArtAlphaPipeline,
        (EULER, DPMPP_2M_SDE),
        call=PIXART,
    ),
    Entry("SD 3.5", sd3, StableDiffusion3Pipeline, SOLVERS, call=SIZE),
    Entry("FLUX.1 dev", flux, FluxPipeline, FLUX_SOLVERS, guidance_scale=3.5, call=SIZE),
    Entry(
        "FLUX.1 schnell",
        partial(flux, dev=False),
        FluxPipeline,
        FLUX_SOLVERS,
        steps=(1, 2, 4),
        guidance_scale=1.0,
        call=SIZE,
    ),
    Entry(
        "Z-Image-Turbo",
        z_image,
        ZImagePipeline,
        SOLVERS,
        guidance_scale=1.0,
        call=SIZE | {"guidance_scale": 0.0},
    ),
    Entry(
        "Z-Image, guided",
        z_image,
        ZImagePipeline,
        SOLVERS,
        guidance_scale=4.0,
        call=SIZE | {"guidance_scale": 3.0, "negative_prompt": ""},
    ),
)
