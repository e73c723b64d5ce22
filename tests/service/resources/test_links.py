"""Signed links, the public address, pages of other origins, proxies in front."""

import time
from urllib.parse import parse_qs, urlsplit

import pytest
from fastapi import FastAPI, Request

from jobs.errors import StartError
from jobs.redis.store import RedisStore
from jobs.settings import JobsSettings, read_environment
from service.application import create_app
from service.resources.signing import LinkScope, SignatureStatus, Signer
from service.settings import ServiceSettings
from tests.jobs.examples import claim
from tests.service.api.stream import frames
from tests.service.doors import client, submit
from tests.service.keyed import SECRET, Keyed, keyed_door
from tests.service.worker import PNG, advance, finish

OLD, NEW = b"o" * 32, b"n" * 32
NOW = 1_800_000_100.0


async def drawn(keyed: Keyed, store: RedisStore) -> dict[str, str]:
    """Return a finished job's links."""
    async with await keyed.caller("a") as owner:
        job_id = await submit(owner)
        held = await claim(store)
        await advance(store, held, 3, preview=True)
        await finish(store, held)
        seen = (await owner.get(f"/v1/jobs/{job_id}")).json()
    return {
        "image": seen["images"][0]["url"],
        "preview": seen["preview_url"],
        "events": seen["events_url"],
    }


async def test_links_of_a_job_open_without_a_key(keyed: Keyed, store: RedisStore) -> None:
    links = await drawn(keyed, store)
    async with keyed.client(None) as anyone:
        assert (await anyone.get(links["image"])).content == PNG
        assert (await anyone.get(links["preview"])).content == b"preview-3"
        async with anyone.stream("GET", links["events"]) as answer:
            received = [frame async for frame in frames(answer)]
        assert received[-1].kind == "result"
        inside = received[-1].data["images"][0]["url"]
        assert (await anyone.get(inside)).content == PNG
        bare = urlsplit(links["image"]).path
        assert (await anyone.get(bare)).status_code == 401
        assert (await anyone.get(bare.rpartition("/images")[0])).status_code == 401


async def test_what_a_link_shows_ends_with_it(keyed: Keyed, store: RedisStore) -> None:
    events = urlsplit((await drawn(keyed, store))["events"]).path
    job_id, ends_at = events.split("/")[3], int(time.time()) + 60
    query = Signer([SECRET.encode()], 1.0).query(job_id, LinkScope.EVENTS, ends_at - 1.0)
    async with (
        keyed.client(None) as anyone,
        anyone.stream("GET", f"{events}?{query}") as answer,
    ):
        received = [frame async for frame in frames(answer)]
    for shown in (received[-1].data["events_url"], received[-1].data["images"][0]["url"]):
        assert parse_qs(urlsplit(shown).query)["expires"] == [str(ends_at)]


async def test_a_link_opens_only_what_it_is_signed_for(keyed: Keyed, store: RedisStore) -> None:
    first, second = await drawn(keyed, store), await drawn(keyed, store)
    query = urlsplit(first["image"]).query
    (expires,) = parse_qs(query)["expires"]
    later = query.replace(expires, str(int(expires) + 1))
    image, preview, events = (urlsplit(first[name]).path for name in first)
    async with keyed.client(None) as anyone:
        for link in (
            f"{urlsplit(second['image']).path}?{query}",
            *(f"{path}?{query}" for path in (preview, events)),
            *(f"{image}?{query}" for query in (later, query[:-1], "signature=é")),
            f"{image}?expires=²&signature=x",
        ):
            answer = await anyone.get(link)
            assert (answer.status_code, answer.json()["code"]) == (403, "invalid_signature"), link
        job = image.rpartition("/images")[0]
        for method in ("GET", "DELETE"):
            assert (await anyone.request(method, f"{job}?{query}")).status_code == 401


def test_a_signature_ends_and_links_stay_equal_for_a_while() -> None:
    signer = Signer([NEW], ttl_s=3600)
    query = signer.query("j", LinkScope.IMAGES, NOW)
    assert signer.query("j", LinkScope.IMAGES, NOW + 1) == query
    fields = {name: values[0] for name, values in parse_qs(query).items()}
    expires, signature = fields["expires"], fields["signature"]
    assert NOW + 3600 <= int(expires) <= NOW + 3600 * 1.25

    def status(at: float) -> SignatureStatus:
        return signer.check("j", LinkScope.IMAGES, expires, signature, at)

    assert status(int(expires) - 0.1) is SignatureStatus.VALID
    assert status(int(expires)) is SignatureStatus.EXPIRED


def test_a_secret_is_rotated_without_breaking_links() -> None:
    old, both, new = (Signer(secrets, 60) for secrets in ([OLD], [NEW, OLD], [NEW]))
    fields = parse_qs(old.query("j", LinkScope.EVENTS, NOW))
    link = ("j", LinkScope.EVENTS, fields["expires"][0], fields["signature"][0], NOW)
    assert both.check(*link) is SignatureStatus.VALID
    assert new.check(*link) is SignatureStatus.INVALID
    assert both.query("j", LinkScope.EVENTS, NOW) == new.query("j", LinkScope.EVENTS, NOW)


async def test_an_expired_link_says_so(keyed: Keyed) -> None:
    signer = keyed.app.state.door.links.signer
    query = signer.query("j", LinkScope.IMAGES, time.time() - 2 * signer.ttl_s)
    async with keyed.client(None) as anyone:
        answer = await anyone.get(f"/v1/jobs/j/images/0?{query}")
    assert (answer.status_code, answer.json()["code"]) == (403, "link_expired")


async def test_links_begin_with_the_public_url(
    jobs_settings: JobsSettings, announced: None
) -> None:
    async with (
        keyed_door(jobs_settings, public_url="https://pictures.example/api/") as keyed,
        await keyed.caller("a") as http,
    ):
        job = (await http.post("/v1/jobs", json={"prompt": "a"})).json()
    where = f"https://pictures.example/api/v1/jobs/{job['id']}/events?"
    assert job["events_url"].startswith(where)


@pytest.mark.parametrize(
    ("name", "value"),
    [("URL_SECRETS", ""), ("URL_SECRETS", "short"), ("PUBLIC_URL", "ftp://x"),
     ("PUBLIC_URL", "https://x?a=b"), ("REDIS_CA_FILE", "/nowhere"), ("AUTH", "maybe")],
)  # fmt: skip
def test_bad_setting_stops_the_start_and_is_named(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SFUMATO_AUTH", "keys")
    monkeypatch.setenv("SFUMATO_URL_SECRETS", f"{'a' * 32},{'b' * 32}")
    assert len(read_environment(ServiceSettings).url_secrets) == 2
    monkeypatch.setenv(f"SFUMATO_{name}", value)
    with pytest.raises(StartError, match=f"SFUMATO_{name}") as stopped:
        read_environment(ServiceSettings)
    assert "short" not in str(stopped.value)


async def test_pages_of_listed_origins_may_call(jobs_settings: JobsSettings) -> None:
    page = "https://app.example"
    async with keyed_door(jobs_settings, cors_origins=page) as keyed, keyed.client(None) as http:
        asked = {"access-control-request-method": "POST"}
        asked["access-control-request-headers"] = "authorization,content-type"
        preflight = await http.options("/v1/jobs", headers=asked | {"origin": page})
        assert preflight.status_code == 200
        assert preflight.headers["access-control-allow-origin"] == page
        refused = await http.get("/v1/jobs", headers={"origin": page})
        assert refused.status_code == 401
        assert refused.headers["access-control-allow-origin"] == page  # so that a page can read why
        other = await http.get("/v1/jobs", headers={"origin": "https://other.example"})
        assert "access-control-allow-origin" not in other.headers


async def test_forwarded_headers_are_for_listed_proxies(jobs_settings: JobsSettings) -> None:
    settings = ServiceSettings(**jobs_settings.model_dump(), trusted_proxies=("10.0.0.0/8",))
    app = create_app(settings)

    @app.get("/who")
    async def who(request: Request) -> list[str]:
        assert request.client is not None
        return [request.client.host, request.url.scheme]

    async with app.router.lifespan_context(app):
        assert await asked(app, "10.1.2.3") == ["203.0.113.7", "https"]
        assert await asked(app, "192.0.2.1") == ["192.0.2.1", "http"]


async def asked(app: FastAPI, peer: str) -> object:
    headers = {"x-forwarded-for": "203.0.113.7", "x-forwarded-proto": "https"}
    async with client(app, address=peer) as http:
        return (await http.get("/who", headers=headers)).json()
