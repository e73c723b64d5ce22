"""The transformers in the parity table.

Diffusers' other schedulers of flows ask a network at whole timesteps, or step in t: what our
samplers draw with these networks is held to their published loops in tests/diffusion/backbones.
"""

from functools import partial
from typing import Any

from diffusers.pipelines.flux.pipeline_flux import FluxPipeline
from diffusers.pipelines.pixart_alpha.pipeline_pixart_alpha import PixArtAlphaPipeline
from diffusers.pipelines.pixart_alpha.pipeline_pixart_sigma import PixArtSigmaPipeline
from diffusers.pipelines.stable_diffusion_3.pipeline_stable_diffusion_3 import (
    StableDiffusion3Pipeline,
)
from diffusers.pipelines.z_image.pipeline_z_image import ZImagePipeline

from tests.flow_layouts import flux, z_image
from tests.layouts import pixart, sd3
from tests.parity.entry import Entry
from tests.parity.unet_family import DDIM, DPMPP_2M_SDE, EULER

SIZE: dict[str, Any] = {"width": 32, "height": 32}
PIXART: dict[str, Any] = {"use_resolution_binning": False, "clean_caption": False}

ENTRIES: tuple[Entry, ...] = (
    Entry("PixArt-Σ", pixart, PixArtSigmaPipeline, (EULER, DDIM), call=PIXART),
    Entry(
        "PixArt-α",
        partial(pixart, alpha=True),
        PixArtAlphaPipeline,
        (EULER, DPMPP_2M_SDE),
        call=PIXART,
    ),
    Entry("SD 3.5", sd3, StableDiffusion3Pipeline, call=SIZE),
    Entry("FLUX.1 dev", flux, FluxPipeline, guidance_scale=3.5, call=SIZE),
    Entry(
        "FLUX.1 schnell",
        partial(flux, dev=False),
        FluxPipeline,
        steps=(1, 2, 4),
        guidance_scale=1.0,
        call=SIZE,
    ),
    Entry(
        "Z-Image-Turbo",
        z_image,
        ZImagePipeline,
        guidance_scale=1.0,
        call=SIZE | {"guidance_scale": 0.0},
    ),
    Entry(
        "Z-Image, guided",
        z_image,
        ZImagePipeline,
        guidance_scale=4.0,
        call=SIZE | {"guidance_scale": 3.0, "negative_prompt": ""},
    ),
)
