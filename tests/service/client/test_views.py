"""The client's own types say what the door's say."""

from typing import Literal, get_args, get_origin, get_type_hints

import pytest
from pydantic import BaseModel

from jobs import schema
from jobs.validation.prompt_schedule import PromptSyntax
from jobs.webhook import Webhook
from service.client import views
from service.client.routes import Options, PreviewOptions, WebhookOptions
from service.resources import manifest, representations

PAIRS: tuple[tuple[type[BaseModel], type[BaseModel]], ...] = (
    (views.FieldProblem, representations.FieldProblem),
    (views.Problem, representations.Problem),
    (views.ProgressView, representations.ProgressView),
    (views.RequestView, schema.JobSpec),
    (views.ImageView, representations.ImageView),
    (views.WarningView, representations.WarningView),
    (views.TimingsView, representations.TimingsView),
    (views.WebhookView, representations.WebhookView),
    (views.JobView, representations.JobView),
    (views.PreviewsView, schema.Previews),
    (views.OriginView, schema.ImageOrigin),
    (views.DrawnImageView, schema.ImageRecord),
    (views.Manifest, manifest.Manifest),
    (views.UnreadableJob, representations.UnreadableJob),
    (views.JobList, representations.JobList),
    (views.ModelView, representations.ModelView),
    (views.SharedSamplerView, representations.SamplerView),
    (views.SamplerList, representations.SamplerList),
    (views.WorkerView, representations.WorkerView),
)


@pytest.mark.parametrize(("ours", "theirs"), PAIRS, ids=lambda kind: kind.__name__)
def test_a_view_has_the_door_s_fields(ours: type[BaseModel], theirs: type[BaseModel]) -> None:
    assert list(ours.model_fields) == list(theirs.model_fields)
    for name, field in ours.model_fields.items():
        assert field.is_required() or not theirs.model_fields[name].is_required()


def test_statuses_are_the_door_s() -> None:
    assert [*map(str, views.JobStatus)] == [*map(str, schema.JobStatus)]
    for status in views.JobStatus:
        assert status.ended is schema.JobStatus(status).ended


def test_options_are_the_fields_of_a_request() -> None:
    assert {"prompt", *get_type_hints(Options)} == set(schema.JobRequest.model_fields)
    assert set(get_type_hints(WebhookOptions)) == set(Webhook.model_fields)
    assert set(get_type_hints(PreviewOptions)) == set(schema.Previews.model_fields)
    assert choices("prompt_syntax") == get_args(PromptSyntax)
    assert choices("priority") == tuple(schema.Priority)
    assert choices("output_format") == get_args(schema.OutputFormat)
    assert choices("on_disconnect") == get_args(schema.OnDisconnect)
    assert choices("durable") == get_args(schema.Durable)


def choices(option: str) -> tuple[str, ...]:
    literal = get_args(get_type_hints(Options)[option])[0]
    assert get_origin(literal) is Literal
    return get_args(literal)


def test_what_a_newer_door_adds_is_kept() -> None:
    image = {"index": 0, "url": "/", "seed": 1, "width": 8, "height": 8, "depth": 16}
    view = views.ImageView.model_validate(image | {"content_type": "image/png", "size_bytes": 1})
    assert view.model_extra == {"depth": 16}
