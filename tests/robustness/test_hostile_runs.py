"""Hostile models, folders, settings and arguments: a run of its own for each kind, in a home with all else sound."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.robustness.hostile_datasets import SOUND
from tests.robustness.hostile_home import DATA, PLANNED, PREDICT, build_home
from tests.robustness.hostile_images import BAD_IMAGES
from tests.robustness.hostile_kinds import DIM, Run, RunKind, check_line, no_scratch, patch, run_command
from tests.robustness.hostile_table import CASE_KINDS, RUN_KINDS, markdown
from tests.support.training_fixtures import use_one_thread

use_one_thread()
LEAST_KINDS = 60


@pytest.fixture(scope="module")
def sound_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_home(tmp_path_factory.mktemp("sound_home"))


def errors_of(run: Run) -> list[str]:
    """stderr without the usage that argparse puts before its error."""
    begins = [i for i, line in enumerate(run.err) if line.startswith("usage: ")]
    return run.err[-1:] if begins == [0] else run.err


@pytest.mark.parametrize("kind", RUN_KINDS, ids=[f"{k.command} {k.name}" for k in RUN_KINDS])
def test_a_run_ends_in_one_line(
    sound_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: RunKind
) -> None:
    """Its exit status, its line, what is done all the same, what is not there, and no scratch."""
    home = tmp_path / "home"
    shutil.copytree(sound_home, home)
    for key, value in kind.env.items():
        monkeypatch.setenv(key, value.format(home=home))
    argv = kind.make(home)
    with kind.around(home):
        run = run_command(kind.command, argv, home)
    errors = errors_of(run)
    assert (run.status, len(errors)) == (kind.status, kind.lines), (run.err, run.out)
    for line in errors[:1]:
        check_line(line, kind.command, kind.names, kind.told, parts=1 if run.err != errors else 2)
    assert [path for path in kind.done if not (home / path).exists()] == []
    assert [path for path in kind.absent if (home / path).exists()] == []
    for path in home.rglob("*"):
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o755)
    no_scratch(tmp_path)


def test_the_table_has_its_kinds_and_stands_in_the_documentation(repository: Path) -> None:
    """At least 60, each by one name, and docs/reference/hostile_input.md as they are now."""
    names = [kind.name for _, kinds in CASE_KINDS for kind in kinds] + [kind.name for kind in RUN_KINDS]
    assert len(names) == len(set(names)) >= LEAST_KINDS
    assert (
        (repository / "docs" / "reference" / "hostile_input.md")
        .read_text(encoding="utf-8")
        .endswith("\n\n" + markdown())
    )


def typed(command: str, argv: Sequence[object], home: Path) -> Run:
    """The command as a process of its own: what is written to stderr from anywhere, workers and C++ included."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("BISC_")}
    done = subprocess.run(
        [sys.executable, "-m", f"bisc.cli.{command}", *map(str, argv)],
        cwd=home,
        env=clean,
        capture_output=True,
        text=True,
        timeout=200,
    )
    return Run(done.returncode, done.stderr.splitlines(), done.stdout, home)


def test_typed_at_a_terminal_with_worker_processes(sound_home: Path, tmp_path: Path) -> None:
    """Faults travel from the workers whole, two of one case among them."""
    raw = tmp_path / "bisc_data" / "raw" / "Data"
    shutil.copytree(sound_home / DATA / "raw" / "Data", raw)
    shutil.copytree(raw / SOUND[0], raw / "spoilt")
    patch(raw / "spoilt" / "imaging.nii.gz", DIM, "<2h", 3, 0)
    (raw / "spoilt" / "segmentation.nii.gz").write_text("text")
    run = typed("plan_and_preprocess", ["-np", "2"], tmp_path)
    assert (run.status, len(run.err)) == (2, 2), run.err
    for line, name, told in zip(
        run.err, ("imaging", "segmentation"), ("the sizes (0, 64, 64)", "not gzip"), strict=True
    ):
        check_line(line, "plan_and_preprocess", f"spoilt/{name}.nii.gz", told)
    assert {p.name for p in (tmp_path / PLANNED / "fine").iterdir()} == set(SOUND)
    no_scratch(tmp_path)


@pytest.mark.long
def test_typed_predictions(sound_home: Path, tmp_path: Path) -> None:
    """Every kind of bad image, in a process of its own: one line each, and the sound mask."""
    home = tmp_path / "home"
    shutil.copytree(sound_home, home)
    for kind in BAD_IMAGES:
        kind.make(home / "in", kind.case)
    run = typed("predict", PREDICT, home)
    assert (run.status, len(run.err)) == (2, len(BAD_IMAGES)), run.err
    assert {p.name for p in (home / "out").iterdir()} == {"sound.nii.gz", "predictions.csv"}
