"""CPUs are counted from the container's quota, under both versions of control groups."""

import os
from pathlib import Path

import pytest

from jobs.host.cpus import usable_cpus

V2 = "0::{group}\n"
V1 = "12:cpuset:{group}\n7:cpu,cpuacct:{group}\n0::{group}\n"


@pytest.fixture(autouse=True)
def sixty_four_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))


def counted(folder: Path, membership: str, files: dict[str, str], group: str = "/") -> int:
    for name, text in files.items():
        path = folder / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    (folder / "self").write_text(membership.format(group=group))
    return usable_cpus(folder / "cgroup", folder / "self")


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        ("200000 100000", 2), ("150000 100000", 2), ("50000 100000", 1), ("1000 100000", 1),
        ("max 100000", 64), ("max", 64), ("6400000 50000", 64), ("", 64), ("nonsense", 64),
        ("100000 0", 64), ("-1 100000", 64), ("300000", 3),
    ],
)  # fmt: skip
def test_quota_of_version_2(tmp_path: Path, limit: str, expected: int) -> None:
    assert counted(tmp_path, V2, {"cpu.max": limit}) == expected


@pytest.mark.parametrize(
    ("quota", "period", "expected"),
    [("200000", "100000", 2), ("25000", "50000", 1), ("-1", "100000", 64), ("0x1", "1", 64)],
)
@pytest.mark.parametrize("mounted", ["cpu,cpuacct", "cpu"])
def test_quota_of_version_1(
    tmp_path: Path, quota: str, period: str, expected: int, mounted: str
) -> None:
    files = {f"{mounted}/cpu.cfs_quota_us": quota, f"{mounted}/cpu.cfs_period_us": period}
    assert counted(tmp_path, V1, files) == expected


@pytest.mark.parametrize("membership", [V1, V2])
def test_the_tightest_group_above_counts(tmp_path: Path, membership: str) -> None:
    base, name = ("", "cpu.max") if membership == V2 else ("cpu,cpuacct/", "cpu.cfs_quota_us")
    files = {f"{base}a/{name}": "300000", f"{base}a/b/{name}": "800000", f"{base}c/{name}": "1000"}
    assert counted(tmp_path, membership, files, "/a/b/d") == 3


@pytest.mark.parametrize("group", ["/docker/0123", "/../other", "/a b"])
def test_a_group_named_by_the_host_is_the_container_s_root(tmp_path: Path, group: str) -> None:
    assert counted(tmp_path, V2, {"cpu.max": "200000 100000"}, group) == 2


def test_the_affinity_counts_where_there_is_no_quota(tmp_path: Path) -> None:
    assert usable_cpus(tmp_path / "none", tmp_path / "none") == 64
    assert 1 <= usable_cpus() <= 64
