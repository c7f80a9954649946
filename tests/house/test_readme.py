"""The README's own lines are run: its shell lines as a user types them, and its Python lines.

Changed are three things, and no more: the environment is not activated (the test runs in it); trainings are of two
steps and without validation, by flags that are added behind the line (the paper's 80,000 would take a week here); and
the Python lines get a model that finds nothing, for what one of two steps marks may be more than any patient has.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import SimpleITK as sitk

from tests.robustness.hostile_home import build_home

SHORT = ["--preset", "demo", "--epochs", "1", "--iterations", "2", "--no-validation"]


def block(repository: Path, language: str) -> str:
    """The README's one block of that language."""
    text = (repository / "README.md").read_text(encoding="utf-8")
    (lines,) = re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return str(lines)


def run(argv: list[str], home: Path) -> None:
    """In a process of its own, without the settings of this one."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("BISC_")}
    done = subprocess.run(argv, cwd=home, env=clean, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, (argv, done.stdout[-1000:], done.stderr[-2000:])


@pytest.fixture(scope="module")
def home(repository: Path, tiny_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder after the README's shell lines."""
    folder = tmp_path_factory.mktemp("user")
    shutil.copytree(tiny_dataset, folder / "bisc_data" / "raw" / "KiTS19")
    lines = block(repository, "sh").splitlines()
    assert lines[0] == ". .venv/bin/activate"
    assert len(lines) == 5
    for line in lines[1:]:
        command, *arguments = line.split()
        module = "bisc.cli." + command.removeprefix("bisc_")
        run([sys.executable, "-m", module, *arguments, *(SHORT if command == "bisc_train" else [])], folder)
    return folder


@pytest.mark.long  # tests/cli/test_commands.py runs the same commands
def test_the_shell_lines_train_a_model(home: Path) -> None:
    """Plan, both stages, one file."""
    assert (home / "model.zip").stat().st_size > 100_000
    for stage in ("rough", "fine"):
        assert (home / "bisc_data" / "results" / "KiTS19" / stage / "fold_0" / "checkpoint_last.pt").exists()


def test_the_python_lines_make_a_mask(repository: Path, tmp_path: Path) -> None:
    """Three lines, as they stand; the mask has the image's grid."""
    built = build_home(tmp_path / "built")
    home = tmp_path / "home"
    case = home / "bisc_demo" / "held_out" / "case_01000"
    case.mkdir(parents=True)
    image_path = shutil.copy(built / "in" / "sound.nii.gz", case / "imaging.nii.gz")
    shutil.copy(built / "model.zip", home / "bisc_demo")
    lines = block(repository, "python")
    assert len(lines.split()) < 10, "no more than a newcomer reads at a glance"
    run([sys.executable, "-c", lines], home)
    image, mask = (sitk.ReadImage(str(path)) for path in (image_path, home / "mask.nii.gz"))
    assert mask.GetSize() == image.GetSize()
    assert mask.GetDirection() == image.GetDirection()
