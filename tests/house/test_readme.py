"""The README's own lines are run: its shell lines as a user types them, then its Python lines on the model they made.

Two things are changed, and no more: the environment is not activated (the test runs in it), and trainings are of two
steps and without validation, by flags that are added behind the line; the paper's 80,000 would take a week here.
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

SHORT = ["--preset", "quick", "--epochs", "1", "--iterations", "2", "--no-validation"]


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


def test_the_shell_lines_train_a_model(home: Path) -> None:
    """Plan, both stages, one file."""
    assert (home / "model.zip").stat().st_size > 100_000
    for stage in ("rough", "fine"):
        assert (home / "bisc_data" / "results" / "KiTS19" / stage / "fold_0" / "checkpoint_last.pt").exists()


def test_the_python_lines_make_a_mask(repository: Path, home: Path, tiny_dataset: Path) -> None:
    """Three lines; the mask has the image's grid."""
    lines = block(repository, "python")
    assert len(lines.split("\n")) <= 5  # three, and the formatter's blank one
    case = sorted(tiny_dataset.glob("case_*"))[0]
    shutil.copytree(case, home / "case_00000", dirs_exist_ok=True)
    run([sys.executable, "-c", lines], home)
    image, mask = (sitk.ReadImage(str(path)) for path in (case / "imaging.nii.gz", home / "mask.nii.gz"))
    assert mask.GetSize() == image.GetSize()
    assert mask.GetDirection() == image.GetDirection()
