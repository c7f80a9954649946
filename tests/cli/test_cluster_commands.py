"""The commands on Dask as a user runs them: the same files as on one machine, whatever becomes of workers."""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from bisc.cli import common, measure
from bisc.imageio import write_image
from bisc.pipeline.rows import read_rows
from tests.support.dask_peers import cluster, killing
from tests.support.training_fixtures import STORED, patient, write_raw

pytest.importorskip("distributed", reason="of the extra [dask]")

N_CASES, N_FEW = 200, 40
KILLED_EVERY_S = 10.0
OVERHEAD = 1.10
"""Of the acceptance: Dask's workers against as many of our own pool."""
ROUGH = ("--preset", "demo", "--epochs", "1", "--iterations", "40", "--no-validation", "--device", "cpu")
FINE = ("--preset", "demo", "--epochs", "1", "--iterations", "10", "--no-validation", "--device", "cpu")


def start(home: Path, command: str, *args: object) -> subprocess.Popen[str]:
    """bisc_COMMAND with a thread a process, in `home`."""
    return subprocess.Popen(
        [sys.executable, "-m", f"bisc.cli.{command}", *map(str, args)],
        cwd=home,
        env={**os.environ, "BISC_HOME": str(home), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(home: Path, command: str, *args: object, status: int = 0) -> str:
    """To its end; its stderr."""
    process = start(home, command, *args)
    _, said = process.communicate(timeout=1800)
    assert process.returncode == status, said
    assert "Traceback" not in said
    return said


def files_of(folder: Path) -> dict[str, bytes]:
    """All of it, hidden files too."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def write_masks(folder: Path, n: int) -> Path:
    for i in range(n):
        write_image(folder / f"case_{i}.nii.gz", patient(STORED.canonical, 10.0 + i)[1], STORED)
    return folder


@pytest.mark.long
def test_a_local_cluster_gives_what_one_process_gives(tmp_path: Path) -> None:
    """Relative paths, and a damaged case."""
    write_masks(tmp_path / "masks", 3)
    (tmp_path / "masks" / "case_1.nii.gz").write_bytes(b"no image")
    run(tmp_path, "measure", "-p", "masks", "-o", "one", "-np", 1, status=2)
    said = run(tmp_path, "measure", "-p", "masks", "-o", "two", "--scheduler", "local", "-np", 2, status=2)
    assert files_of(tmp_path / "two") == files_of(tmp_path / "one")
    assert [line.split("case_1")[-1][:7] for line in said.splitlines()] == [".nii.gz"]


def test_without_the_extra_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(common, "find_spec", lambda _: None)
    assert measure.main(["-p", str(tmp_path), "--scheduler", "local"]) == 2
    assert "pip install 'bisc-unet[dask]'" in capsys.readouterr().err


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cascade trained for a minute, patients to predict, and what one process makes of them."""
    home = tmp_path_factory.mktemp("home")
    write_raw(home / "raw" / "Tiny")
    run(home, "plan_and_preprocess", "-np", 1)
    run(home, "train", "rough", 0, *ROUGH)
    run(home, "train", "fine", 0, *FINE)
    for i in range(N_CASES):
        hu = patient(STORED.canonical, 8.0 + i / 20.0, i)[0]
        write_image(home / "in" / f"case_{i:03d}.nii.gz", hu, STORED)
        if i < N_FEW:
            write_image(home / "few" / f"case_{i:03d}.nii.gz", hu, STORED)
    run(home, "predict", *asked("in", "one"))
    return home


def asked(source: str, out: str) -> Sequence[str]:
    return "-i", source, "-o", out, "--deterministic", "--device", "cpu"


@pytest.mark.long
def test_two_hundred_cases_while_a_worker_is_killed_every_ten_seconds(home: Path, tmp_path: Path) -> None:
    """All files are those of one process; every case that was lost is told, and counted."""
    with cluster(tmp_path, 4) as found, killing(found, KILLED_EVERY_S) as killed:
        said = run(home, "predict", *asked("in", "killed"), "--scheduler", found.address)
    assert files_of(home / "killed") == files_of(home / "one")
    rows = read_rows(home / "killed" / "predictions.csv")
    assert (len(rows), {row.status for row in rows} & {"failed"}) == (N_CASES, set())
    lost = re.findall(r"case_\d+: worker tcp://\S+ was lost with it", said)
    told = re.findall(r"(\d+) times a case was done again", said)
    assert told == ([str(len(lost))] if lost else [])
    assert 1 <= len(lost) <= len(killed)


@pytest.mark.long
def test_a_lost_scheduler_is_one_line_and_continue_finishes(home: Path, tmp_path: Path) -> None:
    """What was done stays, and is not done again."""
    few = home / "lost"
    run(home, "predict", *asked("few", "few_one"))
    with cluster(tmp_path, 2) as found:
        process = start(home, "predict", *asked("few", "lost"), "--scheduler", found.address)
        wait_for_rows(few / "predictions.csv", 5)
        found.scheduler.kill()
        _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert f"bisc_predict: error: {found.address}: the scheduler is lost; finished cases stay" in said
    assert "Traceback" not in said
    done = {p.name: p.stat().st_mtime_ns for p in few.glob("*.nii.gz")}
    rows = {row.case for row in read_rows(few / "predictions.csv")}
    assert 5 <= len(rows) < N_FEW
    with cluster(tmp_path, 2) as found:
        run(home, "predict", *asked("few", "lost"), "--continue", "--scheduler", found.address)
    assert files_of(few) == files_of(home / "few_one")
    kept = [name for name, at in done.items() if name[:8] in rows and (few / name).stat().st_mtime_ns == at]
    assert len(kept) == len(rows)


def wait_for_rows(table: Path, n: int) -> None:
    until = time.monotonic() + 300.0
    while not table.exists() or len(table.read_text().splitlines()) <= n:
        assert time.monotonic() < until
        time.sleep(0.1)


@pytest.mark.long
def test_dask_costs_little_beside_the_same_number_of_own_workers(tmp_path: Path, shared_folder: Path) -> None:
    """Thirty real label maps measured by two workers, by turns; medians of three, the cluster stands already."""
    for case in sorted((shared_folder / "kits19").glob("case_*"))[:30]:
        (tmp_path / "masks" / case.name).mkdir(parents=True)
        (tmp_path / "masks" / case.name / "segmentation.nii.gz").symlink_to(case / "segmentation.nii.gz")
    seconds: dict[str, list[float]] = {"pool": [], "dask": []}
    with cluster(tmp_path, 2) as found:
        for _ in range(3):
            seconds["pool"].append(measured(tmp_path, "pool", ["-np", "2"]))
            seconds["dask"].append(measured(tmp_path, "dask", ["--scheduler", found.address]))
    assert files_of(tmp_path / "dask") == files_of(tmp_path / "pool")
    assert statistics.median(seconds["dask"]) <= OVERHEAD * statistics.median(seconds["pool"]), seconds


def measured(home: Path, out: str, how: list[str]) -> float:
    begin = time.monotonic()
    run(home, "measure", "-p", "masks", "-o", out, *how)
    return time.monotonic() - begin


@pytest.mark.long
def test_all_commands_on_a_cluster_give_what_one_machine_gives(home: Path, tmp_path: Path) -> None:
    """Plan and caches, scores, measures and pages; every file."""
    write_masks(home / "masks", 3)
    with cluster(tmp_path, 2) as found:
        for where, how in (("here", ["-np", "1"]), ("there", ["--scheduler", found.address])):
            plain = [] if where == "here" else how
            run(home, "evaluate", "-r", "raw/Tiny", "-p", "raw/Tiny", "-o", f"{where}.csv", *how)
            run(home, "measure", "-p", "masks", "-o", f"{where}_measures", *how)
            run(home, "report", "-i", "few/case_000.nii.gz", "-p", "one/case_000.nii.gz", "-o", f"{where}_page", *plain)
            planned(home, home / where, how)
    for name in ("here.csv", "here_summary.csv"):
        assert (home / name).read_bytes() == (home / name.replace("here", "there")).read_bytes()
    for end in ("_measures", "_page", "/preprocessed"):
        assert files_of(home / f"there{end}") == files_of(home / f"here{end}") != {}


def planned(home: Path, place: Path, how: list[str]) -> None:
    place.mkdir()
    (place / "raw").symlink_to(home / "raw")
    run(place, "plan_and_preprocess", *how)
