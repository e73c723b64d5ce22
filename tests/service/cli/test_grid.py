"""``sfumato grid``: its axes, its picture, and cells that are drawn, refused or lost."""

import json
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image
from typer import BadParameter

from jobs.redis.store import RedisStore
from service.cli.grid.axes import Axis, check_axes, check_names, parse_axis
from service.cli.grid.cells import cells_of, draw_cells
from service.cli.grid.picture import LEAST_CELL, grid_picture
from service.cli.shared.terminal import console
from service.client.errors import InvalidRequest
from service.client.views import ModelView
from service.settings import ServiceSettings
from tests.jobs.examples import MODEL
from tests.service.cli.playing import command, drawing, worker
from tests.service.cli.scripted_door import job, picture, scripted
from tests.service.served import served

RED, GREY = (200, 30, 30), (238, 238, 238)


def test_an_axis_is_a_parameter_with_its_values() -> None:
    assert parse_axis("x", "steps=4,8, 20") == Axis("x", "steps", (4, 8, 20))
    assert parse_axis("y", "guidance=1,7.5").labels == ["guidance 1", "guidance 7.5"]
    assert parse_axis("x", 'prompt="red, round",blue').labels == ["red, round", "blue"]
    assert parse_axis("y", None).labels == [""]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "''"), ("steps", "'steps'"), ("stepz=1,2", "'stepz'"), ("steps=", "''"),
        ("steps=1,,2", "''"), ("steps=4,x", "'x'"), ("steps=-4", "'-4'"), ("steps=٤", "'٤'"),
        ("seed=1.5", "'1.5'"), ("guidance=nan", "'nan'"), ("guidance=inf", "'inf'"),
        ("guidance=a", "'a'"), ("steps=4,5,4", "repeats"),
    ],
)  # fmt: skip
def test_what_is_no_axis_is_named(text: str, named: str) -> None:
    with pytest.raises(BadParameter, match=named) as refused:
        parse_axis("y", text)
    assert refused.value.param_hint == "--y"


def test_values_take_their_places_in_a_request() -> None:
    request = {"prompt": "a {x} apple, {y} {x}", "seed": 1}
    varied = Axis("x", "prompt", ("red",)).applied(request, "red")
    assert varied == {"prompt": "a red apple, {y} red", "seed": 1}
    assert Axis("y", "steps", (4,)).applied(request, 4)["num_inference_steps"] == 4
    assert Axis("y").applied(request, "") == request


def test_axes_that_do_not_fit_are_named() -> None:
    steps, parts = Axis("x", "steps", (4,)), Axis("y", "prompt", ("red",))
    check_axes((steps, parts), "a {y} apple", {"num_inference_steps": None})
    with pytest.raises(BadParameter, match="steps is already on --x"):
        check_axes((steps, Axis("y", "steps", (5,))), "", {})
    with pytest.raises(BadParameter, match=r"no \{y\}"):
        check_axes((steps, parts), "a {x} apple", {})
    with pytest.raises(BadParameter, match="give --steps, not both"):
        check_axes((steps, parts), "a {y} apple", {"num_inference_steps": 5})


def test_a_cell_without_an_image_leaves_the_others_where_they_are() -> None:
    whole = grid_picture(["steps 4", "steps 8"], [""], [[picture(), picture()]])
    made = grid_picture(["steps 4", "steps 8"], [""], [["steps 4: refused", picture()]])
    with Image.open(BytesIO(whole)) as both, Image.open(BytesIO(made)) as one:
        assert both.size == one.size
        width, height = both.size
        middle = height - LEAST_CELL // 2 - 8
        left, right = width - 2 * LEAST_CELL + LEAST_CELL // 2 - 16, width - LEAST_CELL // 2 - 8
        assert [both.getpixel((x, middle)) for x in (left, right)] == [RED, RED]
        assert [one.getpixel((x, middle)) for x in (left, right)] == [GREY, RED]


def test_a_label_that_the_font_lacks_is_its_number() -> None:
    rows = [[picture()], [picture()]]
    assert grid_picture(["x"], ["a", "章鱼"], rows) == grid_picture(["x"], ["a", "#2"], rows)


def test_labels_and_notes_of_any_length_fit() -> None:
    made = grid_picture(["x" * 300, "章鱼 " * 30], ["", "y " * 60], [["z " * 900] * 2] * 2)
    with Image.open(BytesIO(made)) as image:
        assert image.width < 3000


async def test_a_grid_is_drawn_as_one_picture(
    settings: ServiceSettings, announced: None, store: RedisStore, tmp_path: Path
) -> None:
    axes = ("--x", "steps=4,8", "--y", "sampler=euler,heun", "--syntax", "a1111")
    with served(settings) as (url, _):
        async with worker(store, drawing(store)):
            outcome = await command(
                "grid", "a red apple", *axes, "--url", url, "--out", str(tmp_path)
            )
    lines = outcome.stdout.splitlines()
    assert lines[0].split() == ["job", "steps", "sampler", "status"]
    assert [line.split()[1:] for line in lines[1:5]] == [
        [steps, sampler, "succeeded"] for sampler in ("euler", "heun") for steps in ("4", "8")
    ]
    path = tmp_path / "a-red-apple-grid-steps-sampler.png"
    assert lines[5] == f"saved {path}"
    with Image.open(path) as image:
        assert image.width > 2 * LEAST_CELL
    records = [await store.get(line.split()[0]) for line in lines[1:5]]
    assert len({record.spec.seed for record in records}) == 1
    assert {record.spec.preview.every for record in records} == {0}
    assert {record.spec.prompt_syntax for record in records} == {"a1111"}


async def test_cells_that_fail_are_named_and_the_picture_is_written(
    settings: ServiceSettings, announced: None, store: RedisStore, tmp_path: Path
) -> None:
    act = drawing(store, lambda held: held.record.spec.num_inference_steps == 8)
    words = ("grid", "a {x} apple", "--x", "steps=4,8", "--y", "guidance=1,99", "--json")
    with served(settings) as (url, _):
        async with worker(store, act):
            outcome = await command(*words, "--url", url, "--out", str(tmp_path), code=1)
    document = json.loads(outcome.stdout)
    assert Path(document["file"]).exists()
    assert (document["x"], document["y"]) == ("steps", "guidance")
    statuses = [(cell["x"], cell["y"], cell["status"]) for cell in document["cells"]]
    assert statuses == [
        (4, 1.0, "succeeded"), (8, 1.0, "failed"), (4, 99.0, "refused"), (8, 99.0, "refused"),
    ]  # fmt: skip
    assert document["cells"][1]["error"] == "the brush broke"
    assert "guidance_scale" in document["cells"][2]["error"]
    assert "steps 8, guidance 1: the brush broke" in outcome.stderr


@pytest.mark.parametrize(
    ("axis", "there"),
    [("sampler=euler,eular", "euler, heun"), ("model=toys", "toy"), ("schedule=x", "trailing")],
)
def test_names_that_the_service_lacks_are_refused(axis: str, there: str) -> None:
    models = [ModelView(**MODEL.model_dump(), warm=True)]
    check_names([parse_axis("x", "sampler=euler,heun"), parse_axis("y", "steps=4")], models)
    with pytest.raises(BadParameter, match=there):
        check_names([parse_axis("x", axis)], models)


def test_a_grid_of_refusals_is_a_refusal() -> None:
    cells = cells_of(parse_axis("x", "guidance=98,99"), Axis("y"), {"prompt": "a"})
    with scripted(job(), refusal="too high") as client, pytest.raises(InvalidRequest):
        draw_cells(client, cells, console())
