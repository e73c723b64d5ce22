"""The receiver in docs/security.md works on what the door sends."""

import re
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import orjson
import pytest
from httpx import AsyncClient

import service
from service.webhooks.delivery import signed_headers
from tests.service.doors import submit

PAGE = Path(service.__file__).parent.parent / "docs" / "security.md"


async def test_documented_receiver_verifies_a_message(
    http: AsyncClient, capsys: pytest.CaptureFixture[str]
) -> None:
    code = re.search(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert code is not None
    answer = (await http.get("/v1/webhooks/secret")).json()
    job = (await http.get(f"/v1/jobs/{await submit(http)}")).json()
    body = orjson.dumps({"type": "job.succeeded", "data": job})
    request = SimpleNamespace(
        body=body, headers=signed_headers(job["id"], body, answer["secrets"], datetime.now(UTC))
    )
    exec(code[1], {"request": request, "seen": lambda _: False, **answer})
    assert capsys.readouterr().out == f"job.succeeded {job['id']}\n"
