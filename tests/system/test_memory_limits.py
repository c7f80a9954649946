"""What control groups leave to a process: each level's limit counts, in version 1 and 2, from inside or outside."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bisc.system import memory as cgroup
from bisc.system import memory as cores
from bisc.system.memory import free_bytes, quota_cores, usable_cores

JOB = "slurm/uid_7/job_7"
Groups = dict[str, dict[str, str]]


def write(folder: Path, files: dict[str, str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)


def v2(most: int | str, used: int = 0, cached: int = 0) -> dict[str, str]:
    stat = f"anon 1\ninactive_file {cached}\n"
    return {"memory.max": f"{most}\n", "memory.current": f"{used}\n", "memory.stat": stat}


def v1(most: int, used: int = 0, cached: int = 0) -> dict[str, str]:
    stat = f"total_inactive_file {cached}\n"
    return {"memory.limit_in_bytes": f"{most}\n", "memory.usage_in_bytes": f"{used}\n", "memory.stat": stat}


NO_LIMIT = 9223372036854771712
"""What version 1 writes for none."""


@pytest.mark.parametrize(
    ("own", "groups", "least"),
    [
        ("", {}, None),
        ("0::/\n", {"": v2(1000, 700, 200)}, 500),
        ("0::/\n", {"": v2("max", 700)}, None),
        (f"0::/{JOB}\n", {JOB: v2(1000, 400)}, 600),
        (f"0::/{JOB}\n", {"slurm": v2(1000, 400, 100), JOB: v2("max")}, 700),
        (f"0::/{JOB}\n", {"slurm": v2(1000, 400), "slurm/uid_7": v2(300, 100), JOB: v2(900, 50)}, 200),
        (f"0::/{JOB}/step_0\n", {JOB: v2(1000, 400)}, 600),  # its own folder is hidden
        (f"0::/{JOB}\n", {JOB: {"memory.max": "1000", "memory.current": "400"}}, 600),  # no statistics
        (f"0::/{JOB}\n", {JOB: {**v2(1000, 400), "memory.high": "500"}}, 100),
        (f"0::/{JOB}\n", {f"unified/{JOB}": v2(1000, 400)}, 600),  # beside version 1
        ("0::/docker/7/job\n", {"": v2(1000, 100), "job": v2(500, 100)}, 400),  # mounted from /docker/7 on
        ("0::/../other\n", {"": v2(1000, 100), "other": v2(5, 1)}, 900),  # outside the namespace
        ("0::/a:b\n", {"a:b": v2(1000, 100)}, 900),
        ("", {"memory": v1(900, 100, 50)}, 850),
        ("4:memory:/\n", {"memory": v1(900, 100, 50)}, 850),
        (f"4:memory:/{JOB}\n0::/\n", {"memory": v1(NO_LIMIT), f"memory/{JOB}": v1(900, 100)}, 800),
        (f"9:name=systemd:/x\n4:memory:/{JOB}\n", {"memory/slurm": v1(700, 100), f"memory/{JOB}": v1(900)}, 600),
        ("4:memory:/docker/7\n", {"memory": v1(900, 100)}, 800),  # mounted from /docker/7 on
        (f"4:memory,hugetlb:/{JOB}\n", {f"memory,hugetlb/{JOB}": v1(900, 100)}, 800),
        (f"4:memory:/{JOB}\n3:cpu:/other\n", {"memory/other": v1(5, 1), f"memory/{JOB}": v1(900, 100)}, 800),
        ("garbage\n0::\n::::\n", {"": v2("soon", 5)}, None),
    ],
)
def test_the_least_of_all_levels(tmp_path: Path, own: str, groups: Groups, least: int | None) -> None:
    """Limit less use, and cached files are free."""
    for group, files in groups.items():
        write(tmp_path / "cg" / group, files)
    write(tmp_path, {"own": own})
    found = free_bytes(tmp_path / "cg", tmp_path / "own")
    assert (min(found) if found and min(found) < 10**18 else None) == least


@pytest.mark.parametrize(
    ("own", "groups", "least"),
    [
        ("", {}, None),
        ("0::/\n", {"": {"cpu.max": "max 100000\n"}}, None),
        ("0::/\n", {"": {"cpu.max": "150000 100000\n"}}, 1.5),
        (f"0::/{JOB}\n", {"slurm": {"cpu.max": "200000 100000"}, JOB: {"cpu.max": "max 100000"}}, 2.0),
        (f"0::/{JOB}\n", {"slurm": {"cpu.max": "200000 100000"}, JOB: {"cpu.max": "50000 50000"}}, 1.0),
        ("", {"cpu": {"cpu.cfs_quota_us": "-1\n", "cpu.cfs_period_us": "100000\n"}}, None),
        ("1:cpu:/\n", {"cpu": {"cpu.cfs_quota_us": "50000\n", "cpu.cfs_period_us": "100000\n"}}, 0.5),
        (
            f"2:cpu,cpuacct:/{JOB}\n",
            {f"cpu,cpuacct/{JOB}": {"cpu.cfs_quota_us": "300000", "cpu.cfs_period_us": "100000"}},
            3.0,
        ),
        (
            f"2:cpuacct,cpu:/{JOB}\n0::/\n",
            {"cpu/slurm": {"cpu.cfs_quota_us": "300000", "cpu.cfs_period_us": "100000"}, f"cpu/{JOB}": {}},
            3.0,
        ),
        ("0::/\n", {"": {"cpu.max": "100000 0\n"}}, None),
        ("0::/\n", {"": {"cpu.max": "soon\n"}}, None),
    ],
)
def test_computing_time(tmp_path: Path, own: str, groups: dict[str, dict[str, str]], least: float | None) -> None:
    for group, files in groups.items():
        write(tmp_path / "cg" / group, files)
    write(tmp_path, {"own": own})
    assert min(quota_cores(tmp_path / "cg", tmp_path / "own"), default=None) == least


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 10**6), st.integers(0, 10**6)), max_size=5))
def test_any_nesting(tmp_path_factory: pytest.TempPathFactory, levels: list[tuple[str, int, int]]) -> None:
    """In either version: the least of (limit - use) over the levels."""
    home = tmp_path_factory.mktemp("groups")
    path = ""
    for name, most, used in levels:
        path = f"{path}/{name}"
        write(home / f"two{path}", v2(most, used))
        write(home / f"one/memory{path}", v1(most, used))
    write(home, {"two.own": f"0::{path or '/'}\n", "one.own": f"3:memory:{path or '/'}\n"})
    for version in ("one", "two"):
        found = free_bytes(home / version, home / f"{version}.own")
        assert min(found, default=None) == min((most - used for _, most, used in levels), default=None)


@pytest.mark.parametrize(
    ("allowed", "quotas", "usable"), [(8, [], 8), (8, [3.0], 3), (8, [1.5, 6.0], 2), (8, [0.1], 1), (2, [64.0], 2)]
)
def test_usable_cores(monkeypatch: pytest.MonkeyPatch, allowed: int, quotas: list[float], usable: int) -> None:
    """Rounded up: half a core is one."""
    monkeypatch.setattr(cores, "_allowed", lambda: allowed)
    monkeypatch.setattr(cgroup, "quota_cores", lambda: quotas)
    assert usable_cores() == usable


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity here")
def test_affinity_counts() -> None:
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert usable_cores() == 1
    finally:
        os.sched_setaffinity(0, before)
    assert 1 <= usable_cores() <= (os.cpu_count() or 1)
