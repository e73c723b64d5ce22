"""The OpenAPI description against a door: generated requests, right and wrong, on every route."""

import asyncio
import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase
from hypothesis import settings as run_settings
from schemathesis import Case, CheckContext, Response
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from jobs.redis.store import RedisStore
from jobs.settings import JobsSettings
from service.application import create_app
from service.auth.key_store import KeyStore
from service.auth.scope import Scope
from service.settings import ServiceSettings
from tests.jobs.examples import MODEL, claim, spec, work
from tests.leaks import watched
from tests.service.keyed import SECRET
from tests.service.served import served
from tests.service.worker import advance, finish


def no_unexpected_error(context: CheckContext, response: Response, case: Case[Any]) -> bool | None:
    """Pass 501: Debian's Redis has no WAITAOF, which ``durable=strict`` needs."""
    unexpected = response.status_code != 501
    return not_a_server_error(context, response, case) if unexpected else None


CHECKS = [
    no_unexpected_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
OPEN = ("/healthz", "/readyz")
"""Routes that no key is asked for on."""
AT_LEAST = int(os.environ.get("SFUMATO_TEST_EXAMPLES", "0"))
"""Examples of each route, where more are wanted than the suite takes."""
description = schemathesis.openapi.from_dict(create_app(ServiceSettings()).openapi())


def bounded(examples: int, *phases: Phase) -> run_settings:
    """Return settings that run the same so many examples each time."""
    return run_settings(
        max_examples=max(examples, AT_LEAST),
        deadline=None,
        derandomize=True,
        database=None,
        phases=phases,
        suppress_health_check=list(HealthCheck),
    )


@dataclass(frozen=True)
class Furnished:
    """A door with jobs whose ids are known."""

    url: str
    settings: ServiceSettings
    finished: str
    expired: str


@pytest.fixture(scope="module", autouse=True)
def nothing_is_left_open() -> Iterator[None]:
    """The module's doors keep connections from one test to the next."""
    with watched():
        yield


@pytest.fixture(scope="module")
def door(redis_url: str) -> Iterator[Furnished]:
    shared = JobsSettings(redis_url=redis_url, key_prefix="openapi")
    settings = ServiceSettings(
        **shared.model_dump(), max_wait_s=0.05, dialect_wait_s=0.05, max_stream_s=0.05
    )
    finished, expired = asyncio.run(furnish(settings))
    with served(settings) as (url, _):
        yield Furnished(url, settings, finished, expired)


async def furnish(settings: ServiceSettings) -> tuple[str, str]:
    """Leave a finished job with a preview, and one whose picture is past its time."""
    store = RedisStore(settings.model_copy(update={"result_ttl_s": 1e-6}))
    try:
        await store.announce_model(MODEL)
        for job_id in ("expired", "finished"):
            await store.create(job_id, spec(), work(spec()))
            held = await claim(store)
            await advance(store, held, 3, preview=True)
            await finish(store, held)
            if job_id == "expired":
                while not (await store.sweep()).results_dropped:
                    await asyncio.sleep(0.001)
    finally:
        await store.close()
    return "finished", "expired"


_numbers = itertools.count()


def new_job(settings: ServiceSettings) -> str:
    """Store a queued job."""

    async def create() -> str:
        store = RedisStore(settings)
        created = await store.create(f"job-{next(_numbers)}", spec(), work(spec()))
        await store.close()
        return created.record.id

    return asyncio.run(create())


@description.parametrize()
@bounded(25, Phase.explicit, Phase.generate)
def test_generated_request_gets_a_documented_answer(case: Case[Any], door: Furnished) -> None:
    case.call_and_validate(base_url=door.url, checks=CHECKS, timeout=60)


@description.include(path_regex="job_id").parametrize()
@bounded(8, Phase.explicit, Phase.generate)
def test_request_for_a_real_job_gets_a_documented_answer(case: Case[Any], door: Furnished) -> None:
    ids = [door.finished, door.expired]
    if case.method in ("DELETE", "POST"):
        ids = [new_job(door.settings)]
    for job_id in ids:
        parameters: Any = dict(case.path_parameters or {}) | {"job_id": job_id}
        case.path_parameters = parameters
        case.call_and_validate(base_url=door.url, checks=CHECKS, timeout=60)


@dataclass(frozen=True)
class Guarded:
    """A door that asks for keys, and one key of each scope."""

    url: str
    keys: dict[str, str]


@pytest.fixture(scope="module")
def guarded(redis_url: str) -> Iterator[Guarded]:
    fields = {"redis_url": redis_url, "key_prefix": "guarded", "auth": "keys"}
    settings = ServiceSettings.model_validate(
        fields
        | {"url_secrets": SECRET, "max_wait_s": 0.05, "dialect_wait_s": 0.05, "max_stream_s": 0.05}
    )
    asyncio.run(furnish(settings))
    keys = asyncio.run(hand_out_keys(settings))
    with served(settings) as (url, _):
        yield Guarded(url, keys)


async def hand_out_keys(settings: ServiceSettings) -> dict[str, str]:
    """Make a key of each scope."""
    store = KeyStore(settings)
    try:
        return {scope.value: (await store.create("a", frozenset({scope})))[1] for scope in Scope}
    finally:
        await store.close()


@description.parametrize()
@bounded(4, Phase.generate)
def test_request_with_any_key_or_none_gets_a_documented_answer(
    case: Case[Any], guarded: Guarded
) -> None:
    request = case.as_transport_kwargs(base_url=guarded.url)
    sent = {k: v for k, v in (request.pop("headers", None) or {}).items() if k != "Authorization"}
    answers: dict[str, int] = {}
    for name, key in {"none": "", "made up": "sfu_1", **guarded.keys}.items():
        headers = sent if not key else sent | {"Authorization": f"Bearer {key}"}
        answer = requests.request(**request, headers=headers, timeout=60)
        case.validate_response(answer, checks=CHECKS)
        answers[name] = answer.status_code
    assert answers["operator"] not in (401, 403), answers
    if case.path not in OPEN:
        assert {answers["none"], answers["made up"]} <= {400, 401, 403, 404, 414, 422}, answers
