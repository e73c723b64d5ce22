"""Halves of characters, which JSON can express and UTF-8 cannot, are refused everywhere."""

import json
from typing import Any

from fastapi import FastAPI

from tests.service.doors import client

HALF = "\ud800"
TOY = "sfumato/toy"
BODIES: dict[str, list[dict[str, Any]]] = {
    "/v1/jobs": [{"prompt_syntax": HALF}, {"preview": {"of": HALF}}, {"preview": HALF}],
    "/v1/images/generations": [
        {"prompt": HALF}, {"size": HALF}, {"model": HALF}, {"user": HALF}, {"sampler": HALF},
        {"quality": HALF}, {HALF: 1},
    ],
    "/models/toy": [
        {"inputs": HALF}, {"inputs": "a", "parameters": {"scheduler": HALF}},
        {"inputs": "a", "parameters": {HALF: 1}},
    ],
    "/sdapi/v1/txt2img": [
        {"prompt": HALF}, {"negative_prompt": HALF}, {"sampler_name": HALF}, {"scheduler": HALF},
        {"override_settings": {HALF: 1}}, {"override_settings": {"sd_model_checkpoint": HALF}},
        {"alwayson_scripts": {HALF: {"args": [1]}}}, {HALF: 1},
    ],
    "/sdapi/v1/options": [{HALF: 1}, {"sd_model_checkpoint": HALF}],
    "/sdapi/v1/png-info": [{"image": HALF}],
    "/v1/predictions": [
        {"version": HALF, "input": {"prompt": "a"}}, {"version": TOY, "input": {"prompt": HALF}},
        {"version": TOY, "input": {"prompt": "a", "scheduler": HALF}},
        {"version": TOY, "input": {"prompt": "a", HALF: 1}},
        {"version": TOY, "input": {"prompt": "a"}, "webhook": HALF},
    ],
    "/fal/queue/fal-ai/toy": [
        {"prompt": HALF}, {"image_size": HALF}, {"scheduler": HALF}, {"output_format": HALF},
        {HALF: 1},
    ],
}  # fmt: skip


async def test_they_are_refused(app: FastAPI) -> None:
    async with client(app) as http:
        for path, bodies in BODIES.items():
            for body in bodies:
                given = (
                    body if path in ("/models/toy", "/v1/predictions") else {"prompt": "a"} | body
                )
                answer = await http.post(
                    path, content=json.dumps(given), headers={"content-type": "application/json"}
                )
                assert answer.status_code in (400, 404, 422), (path, body, answer.text)
