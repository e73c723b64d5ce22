"""Everything that reads what a stranger sends: it answers or refuses, and never breaks."""

import io
import ipaddress
import math
import string
from hashlib import sha256
from pathlib import Path

import httpx
import pytest
import torch
import typer
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from diffusion.bundle.bundle import Bundle, load_bundle
from jobs.errors import InvalidCursor, InvalidRequest
from jobs.redis.events import parse_id
from jobs.schema import JobRequest
from model_export.data.pictures import FORMATS, read_image
from model_export.errors import DataError
from service.api.waiting import wait_s
from service.auth import api_key
from service.cli.operators.keys import parse_length
from service.client.errors import UnexpectedResponse
from service.client.following import Following
from service.http.entity_tag import entity_tag, matches
from service.http.idempotency import MAX_KEY_CHARS, idempotency, parse_key
from service.http.problem import Refusal
from service.resources.signing import LinkScope, SignatureStatus, Signer
from service.settings import ServiceSettings
from service.webhooks.public_address import RefusedAddress, check_address
from service.webhooks.url import check_url
from tests.bundles import tiny_bundle

HEADER = st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=300)
SIGNER = Signer([b"s" * 32, b"t" * 32], ttl_s=60)
SETTINGS = ServiceSettings(redis_url="redis://127.0.0.1:1/0")


@given(st.lists(HEADER, max_size=3))
def test_an_idempotency_key_is_read_or_refused(values: list[str]) -> None:
    try:
        key = parse_key(values)
    except Refusal as refusal:
        assert refusal.status == 400  # noqa: PT017
        return
    assert (key is None) == (values == [])
    assert key is None or 1 <= len(key) <= MAX_KEY_CHARS
    if key is not None:
        escaped = key.replace("\\", "\\\\").replace('"', '\\"')
        assert parse_key([f'"{escaped}"']) == key


@given(HEADER)
@example("wait=" + "9" * 400)
@example("wait=1" * 5000)
def test_a_preference_is_seconds_or_nothing(header: str) -> None:
    found = wait_s(header)
    assert found is None or 0 <= found <= 999_999


@given(HEADER, st.binary(max_size=20))
def test_entity_tags_are_compared(header: str, data: bytes) -> None:
    tag = entity_tag(sha256(data).hexdigest())
    assert matches(f"{header}, {tag}", tag)
    matches(header, tag)


@given(st.text(max_size=200))
def test_a_text_is_a_key_only_as_it_was_given_out(text: str) -> None:
    assert api_key.parse(text) is None


@given(st.from_regex(api_key._KEY, fullmatch=True))
def test_a_key_is_read_back(text: str) -> None:
    parts = api_key.parse(text)
    assert parts is not None
    assert api_key.text_of(*parts) == text


@given(st.text(max_size=40), st.text(max_size=20), st.text(max_size=80), st.sampled_from(LinkScope))
def test_a_made_up_link_opens_nothing(
    job: str, expires: str, signature: str, scope: LinkScope
) -> None:
    assert SIGNER.check(job, scope, expires, signature, 0.0) is SignatureStatus.INVALID
    assert SIGNER.check(job, scope, None, signature, 0.0) is SignatureStatus.INVALID


@given(
    st.text(string.ascii_letters + string.digits, min_size=1, max_size=40),
    st.floats(0, 4e9),
    st.integers(0, 42),
    st.text(string.ascii_letters + string.digits + "-_", min_size=1, max_size=1),
)
def test_a_link_opens_its_thing_and_a_changed_one_nothing(
    job: str, now: float, place: int, letter: str
) -> None:
    fields = dict(part.split("=") for part in SIGNER.query(job, LinkScope.IMAGES, now).split("&"))
    expires, signature = fields["expires"], fields["signature"]
    assert SIGNER.check(job, LinkScope.IMAGES, expires, signature, now) is SignatureStatus.VALID
    assert SIGNER.check(job, LinkScope.EVENTS, expires, signature, now) is SignatureStatus.INVALID
    assert (
        SIGNER.check(job + "x", LinkScope.IMAGES, expires, signature, now)
        is SignatureStatus.INVALID
    )
    changed = signature[:place] + letter + signature[place + 1 :]
    if changed != signature:
        assert SIGNER.check(job, LinkScope.IMAGES, expires, changed, now) is SignatureStatus.INVALID


HOSTS = st.one_of(
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map(lambda a: f"[{a}]"),
    st.text(string.ascii_letters + string.digits + ".-_%[]:@\\", max_size=30),
)
URLS = st.one_of(
    st.text(max_size=100),
    st.builds(
        "{}{}{}{}".format,
        st.sampled_from(["https://", "http://", "HTTPS://", "https:", "//", "https:///", "\\\\"]),
        HOSTS,
        st.sampled_from(["", ":443", ":0", ":65536", ":x", "@127.0.0.1", "#a", "?b", "/\\evil"]),
        st.text(max_size=20),
    ),
)


@given(URLS)
def test_a_webhook_url_is_refused_or_leads_to_no_private_literal(text: str) -> None:
    try:
        url = check_url(text, SETTINGS)
    except InvalidRequest as refused:
        assert refused.field == "webhook.url"  # noqa: PT017
        return
    assert (url.scheme, url.userinfo, url.fragment) == ("https", b"", "")
    assert url.host
    try:
        ipaddress.ip_address(url.host)
    except ValueError:
        return
    check_address(url.host, [])


@given(st.one_of(st.ip_addresses().map(str), st.text(max_size=60)))
def test_an_address_is_public_in_every_spelling_or_in_none(text: str) -> None:
    try:
        check_address(text, [])
    except RefusedAddress:
        return
    address = ipaddress.ip_address(text)
    assert address.is_global
    assert not address.is_multicast
    if address.version == 4:
        for prefix in ("::ffff:", "64:ff9b::"):
            check_address(f"{prefix}{address}", [])


@given(st.ip_addresses(v=4, network="10.0.0.0/8"), st.sampled_from(["::ffff:", "64:ff9b::", "::"]))
def test_a_private_address_stays_private_inside_ipv6(
    address: ipaddress.IPv4Address, prefix: str
) -> None:
    with pytest.raises(RefusedAddress):
        check_address(f"{prefix}{address}", [])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=50),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=20), inner),
    max_leaves=20,
)


@given(st.dictionaries(st.sampled_from(sorted(JobRequest.model_fields)) | st.text(), JSON))
def test_a_body_is_a_request_or_is_refused(body: dict[str, object]) -> None:
    try:
        request = JobRequest.model_validate(body)
    except ValidationError:
        return
    assert math.isfinite(request.guidance_rescale)
    found = idempotency("k", request)
    assert found is not None
    assert len(found.fingerprint) == 64


@given(st.binary(max_size=300))
def test_any_bytes_are_a_request_or_are_refused(body: bytes) -> None:
    with pytest.raises(ValidationError):
        JobRequest.model_validate_json(body)


@given(st.text(max_size=40))
def test_an_event_id_is_read_or_refused(text: str) -> None:
    try:
        assert parse_id(text) == text
    except InvalidCursor:
        return


@given(st.text(max_size=12))
def test_a_length_of_time_is_read_or_refused(text: str) -> None:
    try:
        assert 0 <= (parse_length(text) or 0.0) <= 999_999 * 86_400
    except typer.BadParameter:
        return


FIELDS = st.builds(
    "{}{}{}{}".format,
    st.sampled_from(["event", "data", "id", "retry", "", "x", "\ufeffdata"]),
    st.sampled_from([": ", ":", ""]),
    st.one_of(
        st.text(max_size=40), st.sampled_from(["progress", "result", '{"attempt": 1}', "[]"])
    ),
    st.sampled_from(["\n", "\r", "\r\n", "\n\n", "\u2028", ""]),
)


@given(st.lists(FIELDS, max_size=12), st.integers(0, 100))
def test_any_stream_is_read_or_refused(fields: list[str], cut: int) -> None:
    stream = "".join(fields).encode("utf-8", "replace")
    reading = Following("x", None, None)
    request = httpx.Request("GET", "http://door/v1/jobs/x/events")
    kind = {"content-type": "text/event-stream"}
    response = httpx.Response(200, headers=kind, request=request)
    reading.opened(response)
    try:
        for piece in (stream[:cut], stream[cut:]):
            for event in reading.events(response, piece):
                assert event.kind in ("status", "progress", "preview", "result")
    except UnexpectedResponse:
        return


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder: Path = tiny_bundle(tmp_path_factory.mktemp("fuzz"))
    return load_bundle(folder)


@given(prompt=st.text(max_size=4000))
@example(prompt="\u202e\u0000\ufffe" * 1000)
@example(prompt="((((((a:1.2)[b|c]{d}" * 150)
def test_any_prompt_is_encoded_into_finite_numbers(bundle: Bundle, prompt: str) -> None:
    (found,) = bundle.encode_prompts([prompt])
    assert torch.isfinite(found.embeddings).all()


def picture_file(kind: str) -> bytes:
    """Return a small picture's file with a rotation in its EXIF data, as telephones write it."""
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    Image.linear_gradient("L").resize((24, 16)).convert("RGB").save(file, kind, exif=exif)
    return file.getvalue()


PICTURES = {kind: picture_file(kind) for kind in FORMATS}
HEADER_BYTES = 120  # the headers and the EXIF data lie there


@given(
    st.sampled_from(FORMATS),
    st.dictionaries(st.integers(0, HEADER_BYTES - 1), st.integers(0, 255), max_size=8),
    st.none() | st.integers(0, 400),
)
def test_a_picture_is_read_or_refused_whatever_its_header_says(
    tmp_path_factory: pytest.TempPathFactory, kind: str, changes: dict[int, int], cut: int | None
) -> None:
    data = bytearray(PICTURES[kind])
    for place, value in changes.items():
        data[place] = value
    path = tmp_path_factory.getbasetemp() / "picture"
    path.write_bytes(data[:cut])
    try:
        found = read_image(path, 16)
    except DataError as refused:
        assert str(path) in str(refused)  # noqa: PT017
        return
    assert found.shape == (16, 16, 3)


@given(
    st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF", b"GIF89a"]), st.binary()
)
def test_any_bytes_are_a_picture_or_are_refused(
    tmp_path_factory: pytest.TempPathFactory, magic: bytes, rest: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "bytes"
    path.write_bytes(magic + rest)
    with pytest.raises(DataError):
        read_image(path, 16)
