"""The memory that is free: the machine's, or less where a container is limited."""

from pathlib import Path

import pytest

from jobs.host.memory import free_memory


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    path = tmp_path / "meminfo"
    path.write_text("MemTotal:  9000 kB\nMemFree:  10 kB\nMemAvailable:  4000 kB\nHuge: x\n")
    return path


def test_without_a_limit_it_is_the_machines(tmp_path: Path, machine: Path) -> None:
    assert free_memory(tmp_path, machine) == 4_096_000
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("1000\n")
    assert free_memory(tmp_path, machine) == 4_096_000
    assert free_memory(tmp_path, tmp_path / "none") is None


def test_a_container_may_have_less(tmp_path: Path, machine: Path) -> None:
    for name, text in (
        ("max", "3000000"),
        ("current", "2500000"),
        ("stat", "inactive_file 200000"),
    ):
        (tmp_path / f"memory.{name}").write_text(text + "\n")
    assert free_memory(tmp_path, machine) == 700_000
    (tmp_path / "memory.current").write_text("9000000\n")
    assert free_memory(tmp_path, machine) == 0


def test_here_it_is_a_number() -> None:
    found = free_memory()
    assert found is None or found > 0
