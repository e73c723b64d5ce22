"""The published loop of every sampler, by our name."""

from tests.diffusion.samplers import k_diffusion, papers
from tests.diffusion.samplers.k_diffusion import Loop

LOOPS: dict[str, Loop] = {
    "euler": k_diffusion.euler,
    "euler_ancestral": k_diffusion.euler_ancestral,
    "heun": k_diffusion.heun,
    "dpm2": k_diffusion.midpoint(0.0),
    "dpm2_ancestral": k_diffusion.midpoint(1.0),
    "lms": k_diffusion.lms,
    "dpmpp_2m": k_diffusion.dpmpp_2m,
    "dpmpp_2s_ancestral": k_diffusion.dpmpp_2s_ancestral,
    "dpmpp_sde": k_diffusion.dpmpp_sde,
    "dpmpp_2m_sde": k_diffusion.dpmpp_2m_sde,
    "dpmpp_3m_sde": k_diffusion.dpmpp_3m_sde,
    "ddpm": papers.ddpm,
    "ddim": papers.ddim(0.0),
    "plms": papers.plms,
    "deis": papers.deis,
    "unipc": papers.unipc,
}
"""Every sampler but ``lcm``, which needs its timesteps, under its default η."""
