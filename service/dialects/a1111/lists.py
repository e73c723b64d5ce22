"""Options and lists: models, samplers, schedules, and everything that is always empty."""

from typing import Any

from fastapi import APIRouter, Depends

from service.api.caller import JobsCaller
from service.api.jobs import require_json
from service.dialects.a1111.callers import choose, chosen_model, title
from service.dialects.a1111.errors import ANSWERS, unserved
from service.dialects.a1111.names import AUTOMATIC, SCHEDULERS
from service.dialects.a1111.text_to_image import MODEL_OPTION
from service.door import DoorDep

router = APIRouter()


@router.get("/options", summary="Get the options", responses=ANSWERS)
async def options(door: DoorDep, caller: JobsCaller) -> dict[str, Any]:
    """Return the caller's options, of which only the model can be set."""
    model = await chosen_model(door, caller, None)
    return {
        MODEL_OPTION: title(model),
        "sd_checkpoint_hash": model.sha256,
        "samples_format": "png",
        "CLIP_stop_at_last_layers": 1,
    }


@router.post(
    "/options", summary="Set the model", dependencies=[Depends(require_json)], responses=ANSWERS
)
async def set_options(body: dict[str, Any], door: DoorDep, caller: JobsCaller) -> dict[str, Any]:
    """Set the caller's model; other options are refused."""
    for name in body.keys() - {MODEL_OPTION}:
        raise unserved(name)
    if MODEL_OPTION in body:
        model = await chosen_model(door, caller, str(body[MODEL_OPTION]))
        await choose(door, caller, model)
    return {}


@router.get("/sd-models", summary="List models", responses=ANSWERS)
async def models(door: DoorDep, caller: JobsCaller) -> list[dict[str, Any]]:
    """Return the models."""
    return [
        {
            "title": title(model),
            "model_name": model.name,
            "hash": model.sha256[:10],
            "sha256": model.sha256,
            "filename": model.name,
            "config": None,
        }
        for model in await door.catalogue()
    ]


@router.get("/samplers", summary="List samplers", responses=ANSWERS)
async def samplers(door: DoorDep, caller: JobsCaller) -> list[dict[str, Any]]:
    """Return the samplers of the caller's model."""
    model = await chosen_model(door, caller, None)
    return [{"name": each.title, "aliases": [each.name], "options": {}} for each in model.samplers]


@router.get("/schedulers", summary="List schedules", responses=ANSWERS)
async def schedulers(caller: JobsCaller) -> list[dict[str, Any]]:
    """Return the schedules."""
    named = {AUTOMATIC: "Automatic"} | {name: label for name, (label, _) in SCHEDULERS.items()}
    rest = {"aliases": None, "default_rho": -1, "need_inner_model": False}
    return [{"name": name, "label": label} | rest for name, label in named.items()]


@router.get("/scripts", summary="List scripts", responses=ANSWERS)
async def scripts(caller: JobsCaller) -> dict[str, list[str]]:
    """Return no scripts."""
    return {"txt2img": [], "img2img": []}


@router.get("/embeddings", summary="List embeddings", responses=ANSWERS)
async def embeddings(caller: JobsCaller) -> dict[str, dict[str, Any]]:
    """Return no embeddings."""
    return {"loaded": {}, "skipped": {}}


@router.get("/cmd-flags", summary="Get the command-line flags", responses=ANSWERS)
@router.get("/memory", summary="Get the memory in use", responses=ANSWERS)
async def nothing(caller: JobsCaller) -> dict[str, Any]:
    """Return nothing: these describe the web UI's own process."""
    return {}


@router.get("/sd-vae", summary="List VAEs", responses=ANSWERS)
@router.get("/upscalers", summary="List upscalers", responses=ANSWERS)
@router.get("/latent-upscale-modes", summary="List latent upscale modes", responses=ANSWERS)
@router.get("/hypernetworks", summary="List hypernetworks", responses=ANSWERS)
@router.get("/face-restorers", summary="List face restorers", responses=ANSWERS)
@router.get("/realesrgan-models", summary="List Real-ESRGAN models", responses=ANSWERS)
@router.get("/prompt-styles", summary="List prompt styles", responses=ANSWERS)
@router.get("/loras", summary="List LoRAs", responses=ANSWERS)
async def none(caller: JobsCaller) -> list[Any]:
    """Return an empty list."""
    return []


@router.post("/refresh-checkpoints", summary="Read the models again", responses=ANSWERS)
async def refresh(caller: JobsCaller) -> dict[str, Any]:
    """Do nothing: workers announce models by themselves."""
    return {}
