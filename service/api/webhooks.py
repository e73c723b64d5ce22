"""Webhooks over HTTP: their signing secret, and delivering one again."""

from fastapi import APIRouter
from fastapi.responses import Response

from jobs.errors import JobNotFound
from service.api.caller import GUARDED, CallerLinks, JobsCaller, OwnJob
from service.door import DoorDep
from service.http.documented import problems
from service.http.problem import Refusal
from service.resources.representations import JobView, View

router = APIRouter(tags=["webhooks"])


class WebhookSecret(View):
    """What a receiver needs to verify signatures."""

    secrets: tuple[str, ...]  # the newest first; two while one is being rotated


@router.get("/v1/webhooks/secret", summary="Get the signing secret", responses=problems(*GUARDED))
async def get_secret(door: DoorDep, caller: JobsCaller) -> WebhookSecret:
    """Return the secrets that the caller's webhooks are signed with, per Standard Webhooks."""
    return WebhookSecret(secrets=await door.webhook_secrets.of(caller.tenant))


@router.post(
    "/v1/jobs/{job_id}/webhook/redeliver",
    status_code=202,
    summary="Deliver a webhook again",
    response_model=JobView,
    responses=problems(*GUARDED, 404),
)
async def redeliver(door: DoorDep, job: OwnJob, links: CallerLinks) -> Response:
    """Deliver the job's webhook again, with as many attempts as the first time."""
    try:
        await door.store.outbox.again(job.id)
    except JobNotFound as error:
        detail = f"job {job.id} has no webhook, or has not ended"
        raise Refusal(404, "not_found", detail) from error
    view = await door.view(await door.store.get(job.id), links)
    return Response(view.model_dump_json(), status_code=202, media_type="application/json")
