"""OpenAI's Images API, called by langchain, which reads the links alone."""

import httpx
import pytest

from jobs.redis.store import RedisStore
from service.auth.key_store import KeyStore
from service.auth.scope import Scope
from service.settings import ServiceSettings
from tests.conftest import Opened
from tests.service.dialects.clients.programs import TIMEOUT_S, printed
from tests.service.dialects.playing import drawing
from tests.service.keyed import SECRET
from tests.service.served import served
from tests.service.worker import PNG, finish

pytestmark = [pytest.mark.clients, pytest.mark.needs("clients")]

PROGRAM = """
import json
from langchain_community.utilities.dalle_image_generator import DallEAPIWrapper

toy = {{"model": "toy", "base_url": "ADDRESS/v1", "api_key": {key!r}, "timeout": 60}}
try:
    said = DallEAPIWrapper(**toy, **{fields}).run("a red apple")
except Exception as error:
    said = f"{{type(error).__name__}} of {{error.param}}: {{error.message}}"
print(json.dumps(said))
"""


@pytest.mark.quick
async def test_links_open_without_a_key(
    settings: ServiceSettings, announced: None, store: RedisStore, opened: Opened[KeyStore]
) -> None:
    _, key = await opened(KeyStore(settings)).create("ann", frozenset([Scope.JOBS]))
    keyed = settings.model_dump() | {"auth": "keys", "url_secrets": SECRET}
    with served(ServiceSettings.model_validate(keyed)) as (url, _):
        async with drawing(store, lambda held: finish(store, held), TIMEOUT_S) as claimed:
            program = PROGRAM.format(key=key, fields={"size": "auto", "quality": "hd", "n": 2})
            links = await printed("python", program, url)
        async with httpx.AsyncClient(timeout=60) as http:
            for link in links.split("\n"):
                assert (await http.get(link)).content == PNG
                unsigned = link.partition("?")[0]
                assert (await http.get(unsigned)).status_code == 401
    assert claimed[0].spec.tenant == "ann"
    assert (claimed[0].spec.num_images, claimed[0].spec.num_inference_steps) == (2, 20)


async def test_its_own_size_is_refused_where_the_model_is_smaller(
    settings: ServiceSettings, announced: None
) -> None:
    with served(settings) as (url, _):
        said = await printed("python", PROGRAM.format(key="none", fields={}), url)
    assert said.startswith("BadRequestError of size: ")
    assert "width 1024 is not between 8 and 128" in said
