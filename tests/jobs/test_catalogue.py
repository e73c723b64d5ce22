"""Requests become specs with every default filled in."""

import secrets

import pytest

from jobs.catalogue import ModelEntry, resolve, units, warnings
from jobs.errors import InvalidRequest
from jobs.schema import MAX_DRAWN_SEED, MAX_SEED, JobRequest, JobWarning
from tests.jobs.examples import EULER, MODEL, spec


@pytest.mark.parametrize("num_images", [1, 2, 16])
def test_drawn_seeds_are_exact_in_javascript(
    monkeypatch: pytest.MonkeyPatch, num_images: int
) -> None:
    request = JobRequest(prompt="a red apple", num_images=num_images)
    seeds = [resolve(request, MODEL).seed for _ in range(50)]
    assert len(set(seeds)) == 50
    assert max(seeds) <= MAX_DRAWN_SEED == 2**32 - 1
    monkeypatch.setattr(secrets, "randbelow", lambda bound: bound - 1)
    assert resolve(request, MODEL).image_seed(num_images - 1) == MAX_DRAWN_SEED


@pytest.mark.parametrize("num_images", [1, 2, 16])
def test_a_clients_seeds_go_up_to_the_last_image(num_images: int) -> None:
    last = MAX_SEED - num_images + 1
    assert spec(seed=last, num_images=num_images).image_seed(num_images - 1) == MAX_SEED
    if num_images > 1:
        with pytest.raises(InvalidRequest, match=f"seed {MAX_SEED + 1}, above") as refused:
            spec(seed=last + 1, num_images=num_images)
        assert (refused.value.field, refused.value.others) == ("seed", ("num_images",))


@pytest.mark.parametrize("change", [{"max_side": MODEL.width}, {"max_pixels": 1}])
def test_a_refused_size_says_which_one_the_model_has(change: dict[str, int]) -> None:
    own = f"the size of {MODEL.name} is {MODEL.width}x{MODEL.height}$"
    width = MODEL.width + MODEL.side_multiple if "max_side" in change else MODEL.width
    with pytest.raises(InvalidRequest, match=own):
        resolve(JobRequest(prompt="a red apple", width=width), MODEL.model_copy(update=change))


EULER_A = EULER.model_copy(
    update={
        "name": "euler_ancestral",
        "uses_eta": True,
        "max_steps": 30,
        "schedules": ("karras", "trailing", "leading"),
    }
)
GUIDED = MODEL.model_copy(
    update={"samplers": (EULER, EULER_A), "default_steps": 50, "default_guidance_scale": 3.0}
)


@pytest.mark.parametrize(
    ("fields", "codes"),
    [
        ({}, []),
        ({"negative_prompt": "blurry", "guidance_rescale": 0.7, "eta": 0.5}, []),
        ({"negative_prompt": "blurry", "guidance_scale": 1}, ["negative_prompt_ignored"]),
        ({"negative_prompt": "", "guidance_scale": 1.0}, []),
        ({"guidance_rescale": 0.7, "guidance_scale": 1}, ["guidance_rescale_ignored"]),
        ({"eta": 0.0, "num_inference_steps": 1}, ["eta_ignored"]),
        ({"schedule": "trailing", "num_inference_steps": 1}, ["schedule_ignored"]),
        ({"schedule": "leading", "num_inference_steps": 1}, []),
        ({"num_inference_steps": 1}, []),
        ({"preview": 0, "num_inference_steps": 1}, []),
        ({"preview": 9, "num_inference_steps": 10}, []),
        ({"preview": 10, "num_inference_steps": 10}, ["preview_ignored"]),
        ({"preview": {"every": 9, "of": "sample"}, "num_inference_steps": 10}, []),
        ({"preview": {"every": 10}, "num_inference_steps": 10}, ["preview_ignored"]),
        ({"preview": {"every": 0}}, []),
        ({"preview": {"every": 0, "of": "sample"}}, ["preview_ignored"]),
        ({"preview": {"every": 0, "size": 64}}, ["preview_ignored"]),
        ({"num_inference_steps": None}, ["num_inference_steps_lowered"]),
        (
            {"negative_prompt": "x", "guidance_scale": 1, "guidance_rescale": 1, "eta": 1,
             "schedule": "karras", "num_inference_steps": 1, "preview": 5},
            ["eta_ignored", "guidance_rescale_ignored", "negative_prompt_ignored",
             "preview_ignored", "schedule_ignored"],
        ),
    ],
)  # fmt: skip
def test_what_has_no_effect_is_said(fields: dict[str, object], codes: list[str]) -> None:
    given = {"prompt": "a red apple", "sampler": "euler_ancestral", "num_inference_steps": 20}
    request = JobRequest.model_validate(given | fields)
    found = warnings(request, resolve(request, GUIDED), GUIDED)
    assert sorted(warning.code for warning in found) == codes
    assert all(warning.detail for warning in found)


@pytest.mark.parametrize(
    ("kind", "fields", "codes"),
    [
        ("none", {"prompt": ""}, []),
        ("none", {"prompt": "", "guidance_scale": 1}, []),
        ("none", {}, ["prompt_ignored"]),
        ("class", {"prompt": "7"}, []),
        ("class", {"guidance_scale": 3}, ["guidance_scale_ignored"]),
        (
            "none",
            {"guidance_scale": 3, "negative_prompt": "blurry", "guidance_rescale": 0.7},
            ["guidance_rescale_ignored", "guidance_scale_ignored", "negative_prompt_ignored",
             "prompt_ignored"],
        ),
    ],
)  # fmt: skip
def test_only_text_guides(kind: str, fields: dict[str, object], codes: list[str]) -> None:
    model = GUIDED.model_copy(update={"prompt": kind})
    request = JobRequest.model_validate({"prompt": "3", "num_inference_steps": 20} | fields)
    drawn = resolve(request, model)
    assert drawn.guidance_scale == 1.0
    assert units(drawn, model) == 20
    assert sorted(warning.code for warning in warnings(request, drawn, model)) == codes


EMBEDDING = GUIDED.model_copy(update={"embeds_guidance": True, "default_guidance_scale": 3.5})


@pytest.mark.parametrize("scale", [None, 1.0, 7.0])
@pytest.mark.parametrize("sampler", ["euler", "heun"])
def test_guidance_that_is_an_input_costs_one_pass_a_row(sampler: str, scale: float | None) -> None:
    request = JobRequest(
        prompt="a", sampler=sampler, num_inference_steps=6, guidance_scale=scale, num_images=2
    )
    model = MODEL.model_copy(update={"embeds_guidance": True, "default_guidance_scale": 3.5})
    spec = resolve(request, model)
    assert spec.guidance_scale == (scale or 3.5)
    rows = {"euler": 6, "heun": 11}[sampler]
    assert units(spec, model) == 2 * rows
    plain = MODEL.model_copy(update={"default_guidance_scale": 3.5})
    assert units(spec, plain) == 2 * rows * (1 if scale == 1.0 else 2)


def test_what_embedded_guidance_leaves_without_effect_is_said_why() -> None:
    fields = {"negative_prompt": "blurry", "guidance_rescale": 0.7, "guidance_scale": 5.0}
    request = JobRequest.model_validate({"prompt": "a", "num_inference_steps": 20} | fields)
    found = {each.code: each.detail for each in said(request, EMBEDDING)}
    assert found == {
        "negative_prompt_ignored": "this model takes guidance_scale as an input, "
        "so negative_prompt has no effect",
        "guidance_rescale_ignored": "this model takes guidance_scale as an input, "
        "so guidance_rescale has no effect",
    }
    plain = JobRequest(prompt="a", num_inference_steps=20, guidance_scale=5.0)
    assert said(plain, EMBEDDING) == ()


def said(request: JobRequest, model: ModelEntry) -> tuple[JobWarning, ...]:
    return warnings(request, resolve(request, model), model)


@pytest.mark.parametrize("field", ["sampler", "schedule"])
def test_an_empty_name_is_not_the_default(field: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        spec(**{field: ""})
    assert refused.value.field == field


OWN = EULER.model_copy(update={"schedules": ("karras", "trailing", "model")})
TRAILING = EULER_A.model_copy(update={"default_schedule": "trailing"})
OWNED = MODEL.model_copy(update={"default_schedule": "model", "samplers": (OWN, TRAILING)})


@pytest.mark.parametrize(
    ("model", "fields", "chosen"),
    [
        (OWNED, {}, ("euler", "model")),
        (OWNED, {"sampler": "euler"}, ("euler", "model")),
        (OWNED, {"sampler": "euler_ancestral"}, ("euler_ancestral", "trailing")),
        (OWNED, {"schedule": "karras"}, ("euler", "karras")),
        (
            OWNED,
            {"sampler": "euler_ancestral", "schedule": "karras"},
            ("euler_ancestral", "karras"),
        ),
        (MODEL, {}, ("euler", "karras")),
        (MODEL, {"sampler": "heun"}, ("heun", "karras")),
    ],
)
def test_what_a_request_leaves_open_is_the_model_s_then_the_sampler_s(
    model: ModelEntry, fields: dict[str, str], chosen: tuple[str, str]
) -> None:
    found = resolve(JobRequest(prompt="a red apple", **fields), model)  # type: ignore[arg-type]
    assert (found.sampler, found.schedule) == chosen


def test_an_entry_of_a_former_worker_is_read() -> None:
    stored = OWNED.model_dump()
    del stored["default_schedule"]
    for sampler in stored["samplers"]:
        del sampler["schedule_max_steps"]
    former = ModelEntry.model_validate(stored)
    assert former.default_schedule is None
    assert resolve(JobRequest(prompt="a red apple"), former).schedule == "karras"


def test_a_schedule_s_maximum_is_below_the_sampler_s() -> None:
    few = OWN.model_copy(update={"schedule_max_steps": {"model": 8}})
    model = OWNED.model_copy(update={"samplers": (few,)})
    request = JobRequest(prompt="a red apple", num_inference_steps=9)
    with pytest.raises(
        InvalidRequest, match="schedule 'model' supports at most 8 steps"
    ) as refused:
        resolve(request, model)
    assert refused.value.field == "num_inference_steps"
    assert resolve(request.model_copy(update={"schedule": "karras"}), model)
    lowered = JobRequest(prompt="a red apple")
    (warning,) = warnings(lowered, resolve(lowered, model), model)
    assert warning.detail.endswith("schedule 'model' supports at most 8 steps")


CLASSES = MODEL.model_copy(
    update={"prompt": "class", "classes": 12, "class_names": ("tench, Tinca tinca", "", "Hen")}
)


@pytest.mark.parametrize("prompt", ["0", "11", " 3 ", "007", "tench", "TINCA TINCA", " hen"])
def test_the_number_or_a_name_of_a_class_is_taken(prompt: str) -> None:
    assert resolve(JobRequest(prompt=prompt), CLASSES).prompt == prompt


@pytest.mark.parametrize(
    "prompt", ["12", "-1", "1.0", "", "te", "tench, Tinca tinca", "٣", "9" * 30]
)
def test_a_prompt_that_is_no_class_is_refused(prompt: str) -> None:
    with pytest.raises(InvalidRequest, match="numbered from 0 to 11, or one of their") as refused:
        resolve(JobRequest(prompt=prompt), CLASSES)
    assert refused.value.field == "prompt"
    unnamed = CLASSES.model_copy(update={"class_names": ()})
    with pytest.raises(InvalidRequest, match=r"numbered from 0 to 11$"):
        resolve(JobRequest(prompt=prompt), unnamed)


def test_where_only_workers_know_the_classes_any_prompt_is_taken() -> None:
    unknown = CLASSES.model_copy(update={"classes": None, "class_names": ()})
    assert resolve(JobRequest(prompt="hen"), unknown).prompt == "hen"
