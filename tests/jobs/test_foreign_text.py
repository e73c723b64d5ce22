"""What strangers send never commands an operator's terminal; Celery's variables move no queue."""

import io
import sys

import pytest
import structlog

from jobs.errors import StartError
from jobs.queue import FOREIGN_BROKERS, celery_app
from jobs.settings import JobsSettings
from jobs.telemetry.logs import configure
from jobs.telemetry.text import shown

ACTIVE = "\x1b[2J\x1b]0;t\x07\x9b1m\r\u2028\u202e"


def test_a_log_for_people_has_no_character_of_a_stranger_s_that_acts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    buffer = io.StringIO()
    monkeypatch.setattr(sys, "stderr", buffer)
    try:
        configure("console", "INFO")
        log = structlog.get_logger()
        log.info("request", path=f"/{ACTIVE}", reason=f"a b{ACTIVE}", status=404)
        try:
            raise ValueError("two\nlines")
        except ValueError:
            log.exception("it failed")
    finally:
        monkeypatch.undo()
        configure("json", "WARNING")
    text = buffer.getvalue()
    assert shown(f"/{ACTIVE}") in text
    colours = text.replace("\x1b[", "")  # structlog's own
    assert not set(colours) & set(ACTIVE.replace("[2J]0;t1m", "")) - set("[2J]0;tm1")
    assert "\x1b[2J" not in text
    assert "two\nlines" in text  # a traceback keeps its lines


@pytest.mark.parametrize("variable", FOREIGN_BROKERS)
def test_a_variable_of_celery_s_that_moves_the_queue_is_refused(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "redis://elsewhere.example:1/0")
    with pytest.raises(StartError, match=variable):
        celery_app(JobsSettings(redis_url="redis://127.0.0.1:1/0"))
