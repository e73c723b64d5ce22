"""docs/settings.md agrees with the settings classes."""

from tests.deploy.settings_page import PAGE, SECTIONS, allowed, default, meanings, own_fields, page
from workers.settings import WorkerSettings


def test_the_page_is_that_of_today() -> None:
    assert PAGE.read_text() == page(), "run `make settings`"


def test_every_setting_says_what_it_means() -> None:
    silent = [
        f"{kind.__name__}.{name}"
        for _, kind in SECTIONS
        for name in own_fields(kind)
        if not meanings(kind).get(name)
    ]
    assert silent == [], "a comment beside the field is its meaning"


def test_no_path_of_this_machine_gets_into_the_page() -> None:
    fields = WorkerSettings.model_fields
    assert default(fields["model"]) == "the emoji model"
    assert default(fields["worker_id"]) == "computed"
    assert allowed(fields["slots"]) == "integer, 1 to 1024"
    assert allowed(fields["onnx_precision"]) == "`fp32`, `fp16`, `int8`"
    assert default(fields["stall_s"]) == "`30`"
