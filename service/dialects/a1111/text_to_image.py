"""Text to image."""

import asyncio
import base64
import json
import re
from typing import Any

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field

from jobs.catalogue import ModelEntry
from jobs.schema import MAX_IMAGES, JobRecord, JobRequest
from service.api.caller import Caller, JobsCaller
from service.api.jobs import require_json
from service.dialects.a1111.callers import MARK, chosen_model, mark
from service.dialects.a1111.errors import ANSWERS, unserved
from service.dialects.a1111.names import sampler_of, schedule_of
from service.dialects.a1111.png_info import text_of
from service.dialects.drawing import drawn, job_of
from service.door import DoorDep
from service.http.idempotency import parse_key
from service.http.problem import Refusal, printable

router = APIRouter()

MODEL_OPTION = "sd_model_checkpoint"
SYNTAX = "a1111_mean"
NETWORK = re.compile(r"<(lora|lyco|hypernet):[^<>]{0,64}", re.IGNORECASE)
"""Prompt syntax that would load weights."""

_REFUSED: dict[str, Any] = {
    "enable_hr": False, "restore_faces": False, "tiling": False, "subseed_strength": 0,
    "seed_resize_from_h": 0, "seed_resize_from_w": 0, "styles": [], "script_name": None,
    "script_args": [], "s_churn": 0, "s_tmin": 0, "s_noise": 1, "refiner_checkpoint": None,
    "firstpass_image": None,
}  # fmt: skip
"""Unsupported options, with the values that leave them off."""
_NOTHING: tuple[Any, ...] = (None, "", 0, -1, False, [], {})
_WITHOUT_EFFECT = frozenset({
    "denoising_strength", "firstphase_width", "firstphase_height", "hr_scale", "hr_upscaler",
    "hr_second_pass_steps", "hr_resize_x", "hr_resize_y", "hr_checkpoint_name", "hr_sampler_name",
    "hr_scheduler", "hr_prompt", "hr_negative_prompt", "subseed", "do_not_save_samples",
    "do_not_save_grid", "save_images", "s_tmax", "s_min_uncond", "refiner_switch_at",
    "override_settings_restore_afterwards", "disable_extra_networks", "comments", "force_task_id",
    "infotext",
})  # fmt: skip
"""Options without effect: they qualify unsupported ones, or concern the web UI's own files."""


class TextToImage(BaseModel):
    """The body of a request; its other fields are refused if they have an effect."""

    model_config = ConfigDict(extra="allow")

    prompt: str = ""
    negative_prompt: str = ""
    seed: int = -1
    sampler_name: str | None = None
    sampler_index: str | None = None
    scheduler: str | None = None
    steps: int | None = None
    cfg_scale: float | None = None
    width: int | None = None
    height: int | None = None
    batch_size: int = Field(1, ge=1, le=MAX_IMAGES)
    n_iter: int = Field(1, ge=1, le=MAX_IMAGES)
    eta: float | None = None
    send_images: bool = True
    override_settings: dict[str, Any] = {}
    alwayson_scripts: dict[str, Any] = {}

    def shown(self) -> dict[str, Any]:
        """Return it for the answer, without what was not looked at."""
        return self.model_dump(exclude={*(self.model_extra or ()), "alwayson_scripts"})

    def check_served(self) -> None:
        """Refuse unsupported options that would change the image. Raises: Refusal, 422."""
        for name, given in (self.model_extra or {}).items():
            if name not in _REFUSED.keys() | _WITHOUT_EFFECT:
                shown = printable(name)[:64]
                raise Refusal(422, "invalid_request", f"{shown}: unknown field", field=shown)
            if name in _REFUSED and given not in (_REFUSED[name], *_NOTHING):
                raise unserved(name)
        for name in ("prompt", "negative_prompt"):
            if network := NETWORK.search(getattr(self, name)):
                raise Refusal(
                    422, "invalid_request", f"{printable(network[0])}…> in {name} is not supported",
                    field=name,
                )  # fmt: skip
        for name, script in self.alwayson_scripts.items():
            if not isinstance(script, dict) or script.get("args") not in ([], [False], None):
                raise unserved(f"alwayson_scripts.{name}")
        for name in self.override_settings.keys() - {MODEL_OPTION}:
            raise unserved(f"override_settings.{name}")


@router.post(
    "/txt2img",
    summary="Draw images as AUTOMATIC1111 does",
    dependencies=[Depends(require_json)],
    responses=ANSWERS,
)
async def txt2img(
    request: Request,
    body: TextToImage,
    door: DoorDep,
    caller: JobsCaller,
) -> dict[str, Any]:
    """Draw images and return them; interrupted ones are returned as estimates."""
    body.check_served()
    model = await chosen_model(door, caller, body.override_settings.get(MODEL_OPTION))
    key = parse_key(request.headers.getlist("idempotency-key"))
    try:
        record = await drawn(door, request, caller, _job(body, model, caller), key)
    except Refusal as refusal:
        if refusal.code != "not_drawn":
            raise
        return {"images": [], "parameters": body.shown(), "info": json.dumps({})}
    files = [(await door.store.image(record.id, i.index)).data for i in record.images]
    images = [base64.b64encode(data).decode() for data in files] if body.send_images else []
    texts = [(await asyncio.to_thread(text_of, data))[0] for data in files]
    about = json.dumps(_info(record, texts, model), ensure_ascii=False)
    return {"images": images, "parameters": body.shown(), "info": about}


def _job(body: TextToImage, model: ModelEntry, caller: Caller) -> JobRequest:
    name = body.sampler_name or body.sampler_index or model.default_sampler
    sampler, ending = sampler_of(model, name)
    eta = body.eta
    if not sampler.uses_eta and eta in (0, 1):  # clients send it with every sampler
        eta = None
    return job_of(
        {
            "prompt": body.prompt,
            "negative_prompt": body.negative_prompt,
            "prompt_syntax": SYNTAX if SYNTAX in model.prompt_syntaxes else None,
            "model": model.name,
            "sampler": sampler.name,
            "schedule": schedule_of(body.scheduler) or ending,
            "num_inference_steps": body.steps,
            "guidance_scale": body.cfg_scale,
            "seed": None if body.seed < 0 else body.seed,
            "width": body.width,
            "height": body.height,
            "num_images": body.batch_size * body.n_iter,
            "eta": eta,
            "metadata": {MARK: mark(caller)},
        }
    )


def _info(record: JobRecord, texts: list[str], model: ModelEntry) -> dict[str, Any]:
    """Return what is known of images, in the names that its clients read."""
    spec = record.spec
    seeds = [image.seed for image in record.images]
    return {
        "prompt": spec.prompt,
        "all_prompts": [spec.prompt] * len(seeds),
        "negative_prompt": spec.negative_prompt,
        "all_negative_prompts": [spec.negative_prompt] * len(seeds),
        "seed": spec.seed,
        "all_seeds": seeds,
        "subseed": -1,
        "all_subseeds": [-1] * len(seeds),
        "subseed_strength": 0,
        "width": spec.width,
        "height": spec.height,
        "sampler_name": model.sampler(spec.sampler).title,
        "cfg_scale": spec.guidance_scale,
        "steps": spec.num_inference_steps,
        "batch_size": len(seeds),
        "sd_model_name": model.name,
        "sd_model_hash": model.sha256[:10],
        "index_of_first_image": 0,
        "infotexts": texts,
        "job_id": record.id,
        "finished_early": record.finished_early,
        "warnings": [warning.detail for warning in record.warnings],
    }
