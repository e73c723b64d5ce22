"""Who calls is asked first, and every request counts, whatever it is refused for."""

from typing import Any

import pytest
from httpx import AsyncClient

from jobs.settings import JobsSettings
from service.auth.scope import Scope
from tests.service.doors import client, open_door
from tests.service.keyed import Keyed, keyed_door

JSON = {"content-type": "application/json"}
JOB = f"/v1/jobs/{'0' * 32}"
BAD: dict[str, tuple[int, str, str, dict[str, Any]]] = {
    "malformed JSON": (400, "POST", "/v1/jobs", {"content": b"{", "headers": JSON}),
    "an invalid field": (422, "POST", "/v1/jobs", {"json": {"prompt": 1}}),
    "another media type": (415, "POST", "/v1/jobs", {"content": b"a"}),
    "too large a body": (413, "POST", "/v1/jobs", {"content": b" " * 2000, "headers": JSON}),
    "too large a body of unknown length": (
        413, "POST", "/v1/jobs", {"content": b" " * 2000, "headers": JSON | {"content-length": "9"}}
    ),
    "a malformed idempotency key": (
        400, "POST", "/v1/jobs", {"json": {"prompt": "a"}, "headers": {"idempotency-key": "a b"}}
    ),
    "a malformed cursor": (400, "GET", "/v1/jobs?cursor=x", {}),
    "a malformed parameter": (422, "GET", "/v1/jobs?limit=x", {}),
    "a malformed picture number": (404, "GET", f"{JOB}/images/x", {}),
    "an unknown job": (404, "GET", JOB, {}),
    "a malformed job id": (404, "GET", "/v1/jobs/*", {}),
    "a malformed job id with a tail": (404, "GET", "/v1/jobs/*/events", {}),
    "an unknown path": (404, "GET", "/v2", {}),
    "an unknown method": (405, "PUT", "/v1/jobs", {}),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
async def test_a_stranger_learns_nothing_but_that_a_key_is_needed(
    jobs_settings: JobsSettings, announced: None, what: str
) -> None:
    status, method, path, sent = BAD[what]
    async with (
        keyed_door(jobs_settings, max_body_bytes=1024) as door,
        door.client(None) as stranger,
        door.client("sfu_0") as guesser,
        await door.caller("a") as known,
    ):
        for http, code in ((stranger, "key_required"), (guesser, "invalid_key")):
            answer = await http.request(method, path, **sent)
            assert (answer.status_code, answer.json()["code"]) == (401, code)
        assert (await known.request(method, path, **sent)).status_code == status


@pytest.mark.parametrize("what", BAD)
async def test_what_is_refused_counts(
    jobs_settings: JobsSettings, announced: None, what: str
) -> None:
    status, method, path, sent = BAD[what]

    async def codes(http: AsyncClient) -> list[int]:
        answers = [await http.request(method, path, **sent) for _ in range(3)]
        assert all(answer.headers["ratelimit"] for answer in answers)
        return [answer.status_code for answer in answers]

    limits = {"max_body_bytes": 1024, "rate_limit": 2, "rate_window_s": 600}
    async with keyed_door(jobs_settings, **limits) as door, await door.caller("a") as known:
        assert await codes(known) == [status, status, 429]
        async with door.client("sfu_0") as guesser:
            assert await codes(guesser) == [401, 401, 429]
    async with (
        open_door(jobs_settings, **limits) as (app, _),
        client(app, address="192.0.2.9") as anyone,
    ):
        assert await codes(anyone) == [status, status, 429]


async def test_bad_signatures_count_for_the_address(
    jobs_settings: JobsSettings, announced: None
) -> None:
    limits = {"rate_limit": 2, "rate_window_s": 600}
    async with (
        keyed_door(jobs_settings, **limits) as door,
        await door.caller("a") as owner,
        door.client(None) as stranger,
    ):
        link = (await owner.post("/v1/jobs", json={"prompt": "a"})).json()["events_url"]
        for tail in ("preview", "images/0", "events"):
            url = f"{JOB}/{tail}?expires=9999999999&signature=x"
            code = 403 if tail != "events" else 429
            assert (await stranger.get(url)).status_code == code
        assert (await stranger.head(link)).status_code == 200  # of the job's own limit


async def test_a_signature_opens_no_other_path(keyed: Keyed) -> None:
    async with await keyed.caller("a") as owner, keyed.client(None) as stranger:
        job = (await owner.post("/v1/jobs", json={"prompt": "a"})).json()
        query = job["events_url"].partition("?")[2]
        for path in ("/v1/jobs", f"/v1/jobs/{job['id']}", "/metrics", f"{JOB}/webhook/redeliver"):
            assert (await stranger.get(f"{path}?{query}")).status_code == 401
        for path in (f"/v1/jobs/{job['id']}/preview", f"{JOB}/events"):
            assert (await stranger.get(f"{path}?{query}")).status_code == 403
        assert (await stranger.post(job["events_url"])).status_code == 405


async def test_what_describes_the_service_needs_no_key_and_counts(
    jobs_settings: JobsSettings, announced: None
) -> None:
    async with (
        keyed_door(jobs_settings, rate_limit=2, rate_window_s=600) as door,
        door.client(None) as anyone,
    ):
        codes = [(await anyone.get("/openapi.json")).status_code for _ in range(3)]
        assert codes == [200, 200, 429]
        assert [(await anyone.get("/healthz")).status_code for _ in range(3)] == [200] * 3


async def test_figures_do_not_count_for_who_may_read_them(
    jobs_settings: JobsSettings, announced: None
) -> None:
    async with (
        keyed_door(jobs_settings, rate_limit=1, rate_window_s=600) as door,
        await door.caller("a", Scope.METRICS) as metrics,
        await door.caller("a") as jobs,
    ):
        for _ in range(3):
            assert (await metrics.get("/v1/scaling/toy?unannounced_s=x")).status_code == 422
        codes = [(await jobs.get("/v1/workers")).status_code for _ in range(2)]
        assert codes == [403, 429]
