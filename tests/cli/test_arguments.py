"""Arguments and surroundings that scripts get wrong: unset variables, a '~' nobody expanded, a folder that is gone."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from bisc.core.errors import InputError
from bisc.system.paths import Folders, find_dataset

EMPTY = (
    ("predict", ("-i", "", "-o", "o", "-m", "m.zip"), "-i"),
    ("predict", ("-i", "a.nii.gz", "-o", "", "-m", "m.zip"), "-o"),
    ("predict", ("-i", "a.nii.gz", "-o", "o", "-m", " "), "-m"),
    ("evaluate", ("-r", "", "-p", "p"), "-r"),
    ("measure", ("-p", ""), "-p"),
    ("plan_and_preprocess", ("-d", ""), "-d"),
    ("compare", ("", ""), "argument 1"),
    ("train", ("rough", "0", "--preset="), "--preset"),
)


@pytest.mark.parametrize(("command", "argv", "named"), EMPTY)
def test_an_empty_argument_is_refused(
    command: str,
    argv: tuple[str, ...],
    named: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It was the current folder: walked, and written into."""
    monkeypatch.chdir(tmp_path)
    assert import_module(f"bisc.cli.{command}").main(argv) == 2
    said = capsys.readouterr().err
    assert said == f"bisc_{command}: error: {named}: empty; expected a value; is a variable of your script unset?\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name != "posix", reason="others do not let a current folder go")
@pytest.mark.parametrize("command", ["info", "predict"])
def test_a_current_folder_that_is_gone_is_one_line(command: str, tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    script = f"cd gone; rmdir ../gone; '{Path(sys.executable).parent}/bisc_{command}' --help"
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(["sh", "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=100, env=env)
    line = "the current folder is not there any more; go to one that is\n"
    assert (done.returncode, done.stderr) == (2, f"bisc_{command}: error: {line}")


def test_a_home_is_expanded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As in BISC_HOME="~/x" of a file of variables."""
    for variable in ("BISC_RAW", "BISC_PREPROCESSED", "BISC_RESULTS"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setenv("BISC_HOME", "~/x")
    monkeypatch.setenv("BISC_RESULTS", "~")
    folders = Folders.from_environment()
    assert (folders.raw, folders.results) == (tmp_path / "x" / "raw", tmp_path)


def test_raw_folders_are_no_plans(tmp_path: Path) -> None:
    """Of raw/K and raw/K__low neither is meant more than the other."""
    for name in ("K", "K__low"):
        (tmp_path / name / "labelsTr").mkdir(parents=True)
    with pytest.raises(InputError, match=r"2 data sets \(K, K__low\)"):
        find_dataset(tmp_path, None, "labelsTr", "data set", "", plans=False)
    assert find_dataset(tmp_path, None, "labelsTr", "plan", "").name == "K"
