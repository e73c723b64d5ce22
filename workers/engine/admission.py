"""Admission to a slot: the prompt encoded, the sampler compiled, the first noise drawn."""

from bisect import bisect_left
from collections.abc import Hashable, Iterator, Mapping, Sequence
from functools import partial

import torch

from diffusion.bundle.bundle import Bundle
from diffusion.denoiser import Guidance
from diffusion.model import Conditioning
from diffusion.parts.weighted_prompt import Weighting
from diffusion.samplers.noise import IMAGES, INITIAL_ROW, standard_noise
from diffusion.samplers.registry import MAX_REGISTERS
from jobs.validation.prompt_schedule import prompt_schedule
from workers.engine.batcher import Candidate
from workers.engine.messages import ImageRequest
from workers.engine.prompt_cache import PromptCache
from workers.engine.sampling_plan import sampling_plan
from workers.engine.slot import Slot

WEIGHTING: Mapping[str, Weighting] = {"a1111": "interpolated", "a1111_mean": "mean"}
"""What weights in prompts of a syntax do."""


class SlotAdmission:
    """Opens slots for one bundle and caches the conditionings of recent prompts."""

    def __init__(self, bundle: Bundle, *, deterministic: bool = False) -> None:
        """``deterministic`` keeps prompts of different lengths out of one forward pass."""
        self._bundle = bundle
        self._deterministic = deterministic
        self._conditioning = PromptCache(bundle.encode_prompt)
        self._negative = PromptCache(bundle.encode_negative)

    def open(self, request: ImageRequest) -> tuple[Slot, bool]:
        """Return a slot and whether an earlier state had to be refused.

        Raises:
            SamplerError, ScheduleError: the request cannot be compiled.
        """
        guided = self._guided(request)
        _, first = guided[0]
        lengths = (len(first.cond.embeddings), len(first.uncond.embeddings))
        return open_slot(
            self._bundle, request, guided, group=lengths if self._deterministic else ()
        )

    def _guided(self, request: ImageRequest) -> Sequence[tuple[int, Guidance]]:
        """Return how a request's steps are conditioned: the last step of each guidance, and it."""
        info = self._bundle.info
        scale = request.guidance_scale if info.prompt == "text" else 1.0
        unguided = scale == 1.0 or info.embeds_guidance
        conds = self._encoded(request, request.prompt, self._conditioning)
        unconds = conds
        if not unguided:
            unconds = self._encoded(request, request.negative_prompt, self._negative)
        guidance = partial(
            Guidance,
            size=(request.width, request.height),
            scale=scale,
            rescale=request.guidance_rescale,
            embedded=info.embeds_guidance,
        )
        return [
            (until, guidance(cond, uncond)) for until, cond, uncond in _side_by_side(conds, unconds)
        ]

    def _encoded(
        self, request: ImageRequest, prompt: str, encode: PromptCache
    ) -> list[tuple[int, Conditioning]]:
        """Return the conditionings of a prompt, each with the last step that it holds for."""
        if request.prompt_syntax == "plain":
            return [(request.steps, encode(prompt))]
        weighting = WEIGHTING[request.prompt_syntax]
        pieces = prompt_schedule(prompt, request.steps)
        encoded = {text: encode(text, weighting) for text in {piece.text for piece in pieces}}
        return [(piece.until, encoded[piece.text]) for piece in pieces]


def _side_by_side(
    conds: Sequence[tuple[int, Conditioning]], unconds: Sequence[tuple[int, Conditioning]]
) -> Iterator[tuple[int, Conditioning, Conditioning]]:
    """Yield what holds together: the last step, the prompt's and the negative prompt's.

    Where one of them changes, all are of equal length, and so the image's group stays the same.
    """
    if len(conds) == len(unconds) == 1:
        yield conds[0][0], conds[0][1], unconds[0][1]
        return
    longest = max(len(each.embeddings) for _, each in (*conds, *unconds))
    equal = {id(each): each.repeated(longest) for _, each in (*conds, *unconds)}
    for until in sorted({until for until, _ in (*conds, *unconds)}):
        cond, uncond = (
            equal[id(next(each for last, each in given if until <= last))]
            for given in (conds, unconds)
        )
        yield until, cond, uncond


def open_slot(
    bundle: Bundle,
    request: ImageRequest,
    guided: Sequence[tuple[int, Guidance]],
    *,
    group: Hashable = (),
) -> tuple[Slot, bool]:
    """Return a slot and whether an earlier state had to be refused.

    ``guided`` are the guidances in their order, each with the last step that it holds for. It
    shares forward passes with slots of latents of the same shape and an equal ``group``.

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
    passes = guided[0][1].passes
    candidate = Candidate(
        key=request.key,
        group=(shape, group),
        rank=request.rank,
        arrived=0.0,  # set by the engine on admission
        passes=passes,
        remaining=plan.rows - row,
        tenant=request.tenant,
        weight=request.weight,
    )
    base = bundle.info.width * bundle.info.height
    slot = Slot(
        request=request,
        plan=plan,
        guidances=[guidance for _, guidance in guided],
        turns=[bisect_left(plan.steps_done, until) for until, _ in guided[:-1]],
        state=state.to(bundle.device),
        identity=identity,
        candidate=candidate,
        units=passes * request.width * request.height / base,
        row=row,
        saved_row=row,
    )
    return slot, resume is not None and not resumed
