"""Every ``SFUMATO_`` variable with nonsense: the process does not start, and names it."""

import os

import pytest
from pydantic_settings import BaseSettings

from jobs.errors import StartError
from jobs.settings import read_environment
from service.local.environment import check_environment
from service.local.errors import StackError
from service.local.stack import StackOptions
from service.ray_serve.worker_settings import RayWorkerSettings
from service.settings import ServiceSettings
from workers.settings import WorkerSettings

KINDS: tuple[type[BaseSettings], ...] = (ServiceSettings, WorkerSettings, RayWorkerSettings)
NONSENSE = "\x1b nonsense \u2028 //"
FREE = {  # any text is one, or what is wrong shows only where it is used
    "default_model", "model", "models", "pool", "worker_id", "metrics_host", "door_metrics_host",
    "device", "cache",
}  # fmt: skip
FIELDS = [(kind, name) for kind in KINDS for name in sorted(kind.model_fields.keys() - FREE)]


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("SFUMATO_"):
            monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("kind", "name"), FIELDS, ids=[f"{kind.__name__}-{name}" for kind, name in FIELDS]
)
def test_nonsense_is_named(
    kind: type[BaseSettings], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = [NONSENSE]
    if kind.model_fields[name].annotation is float:
        values += ["nan", "inf", "-inf", "-1e308", "1e999"]
    if kind.model_fields[name].annotation is int:
        values += ["-1", "1.5", "nan", "-9223372036854775809", "0x10"]
    variable = f"SFUMATO_{name.upper()}"
    for value in values:
        monkeypatch.setenv(variable, value)
        with pytest.raises(StartError) as refused:
            read_environment(kind)
        line = str(refused.value)
        assert variable in line
        assert "\n" not in line


@pytest.mark.parametrize("name", sorted(ServiceSettings.model_fields.keys() - FREE))
def test_the_stack_checks_the_door_s_settings_first(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"SFUMATO_{name.upper()}", NONSENSE)
    with pytest.raises(StackError, match=f"SFUMATO_{name.upper()}"):
        check_environment(StackOptions(data=None))  # type: ignore[arg-type]


@pytest.mark.parametrize("level", ["debug", "INFO", "Warning"])
def test_a_level_may_be_written_small(level: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SFUMATO_LOG_LEVEL", level)
    assert read_environment(WorkerSettings).log_level == level.upper()
