"""Admission to a slot: the prompt encoded, the sampler compiled, the first noise drawn."""

from collections.abc import Hashable
from functools import partial

import torch

from diffusion.bundle.bundle import Bundle
from diffusion.denoiser import Guidance
from diffusion.model import Conditioning
from diffusion.samplers.noise import IMAGES, INITIAL_ROW, standard_noise
from diffusion.samplers.registry import MAX_REGISTERS
from workers.engine.batcher import Candidate
from workers.engine.messages import ImageRequest
from workers.engine.prompt_cache import PromptCache
from workers.engine.sampling_plan import sampling_plan
from workers.engine.slot import Slot


class SlotAdmission:
    """Opens slots for one bundle and caches the conditionings of recent prompts."""

    def __init__(self, bundle: Bundle, *, deterministic: bool = False) -> None:
        """``deterministic`` keeps prompts of different lengths out of one forward pass."""
        self._bundle = bundle
        self._deterministic = deterministic
        self._conditioning = PromptCache(partial(_encode, bundle))
        self._negative = PromptCache(bundle.encode_negative)

    def open(self, request: ImageRequest) -> tuple[Slot, bool]:
        """Return a slot and whether an earlier state had to be refused.

        Raises:
            SamplerError, ScheduleError: the request cannot be compiled.
        """
        cond = self._conditioning(request.prompt)
        info = self._bundle.info
        scale = request.guidance_scale if info.prompt == "text" else 1.0
        unguided = scale == 1.0 or info.embeds_guidance
        guidance = Guidance(
            cond,
            cond if unguided else self._negative(request.negative_prompt),
            size=(request.width, request.height),
            scale=scale,
            rescale=request.guidance_rescale,
            embedded=info.embeds_guidance,
        )
        lengths = (len(guidance.cond.embeddings), len(guidance.uncond.embeddings))
        return open_slot(
            self._bundle, request, guidance, group=lengths if self._deterministic else ()
        )


def _encode(bundle: Bundle, prompt: str) -> Conditioning:
    """Encode a prompt by itself, so that its bits never depend on others."""
    return bundle.encode_prompts([prompt])[0]


def open_slot(
    bundle: Bundle, request: ImageRequest, guidance: Guidance, *, group: Hashable = ()
) -> tuple[Slot, bool]:
    """Return a slot and whether an earlier state had to be refused.

    It shares forward passes with slots of latents of the same shape and an equal ``group``.

    Raises:
        SamplerError, ScheduleError: the request cannot be compiled.
    """
    plan = sampling_plan(
        request.sampler,
        bundle.noise_schedule,
        request.schedule,
        request.steps,
        request.eta,
        bundle.info.image_tokens(request.width, request.height),
    )
    identity = f"{bundle.info.sha256}:{bundle.backbone.name}:{plan.fingerprint}"
    shape = bundle.latent_shape(request.width, request.height)
    registers = plan.table.registers
    state = torch.zeros((MAX_REGISTERS, *shape))
    resume, row = request.resume, 0
    resumed = (
        resume is not None
        and resume.identity == identity
        and resume.state.shape == (registers, *shape)
        and 0 <= resume.row < plan.rows
    )
    if resume is not None and resumed:
        state[:registers] = torch.from_numpy(resume.state.copy())
        row = resume.row
    else:
        first = standard_noise(request.seed, IMAGES, INITIAL_ROW, shape)
        state[0] = torch.from_numpy(first) * plan.table.initial_scale
    candidate = Candidate(
        key=request.key,
        group=(shape, group),
        rank=request.rank,
        arrived=0.0,  # set by the engine on admission
        passes=guidance.passes,
        remaining=plan.rows - row,
        tenant=request.tenant,
        weight=request.weight,
    )
    base = bundle.info.width * bundle.info.height
    slot = Slot(
        request=request,
        plan=plan,
        guidance=guidance,
        state=state.to(bundle.device),
        identity=identity,
        candidate=candidate,
        units=guidance.passes * request.width * request.height / base,
        row=row,
        saved_row=row,
    )
    return slot, resume is not None and not resumed
