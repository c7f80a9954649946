"""From raw files to scored predictions, in one process, without training (`small`); all of it, by commands (`whole`):
what must come out the same wherever it is run."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from bisc.cli import evaluate, plan_and_preprocess
from bisc.imageio.inputs import find_inputs
from bisc.pipeline.options import PredictOptions
from bisc.pipeline.predict import predict_cases
from tests.support.stub_model import CPU, stub_model
from tests.support.training_fixtures import NAME, use_one_thread, write_raw

STAMP = re.compile(rb'\b[0-9a-f]{16}\b|"key": "\w+"')
"""What holds where files lie."""
LOCKS = ".partial-lock-"
"""Windows removes them; the one that is put in its place here does not."""
BRIEF = ("--preset", "demo", "--epochs", "1", "--iterations", "30", "--deterministic", "--device", "cpu")
"""As many steps as the rough stage needs in order not to mark the whole body, upon which no fine pass is run."""


def small(home: Path) -> None:
    """Plan, predict by a network that knows the answer, score."""
    use_one_thread()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BISC_HOME", str(home))
        raw = write_raw(home / "raw" / NAME, 2)
        of_one_time(raw)
        assert plan_and_preprocess.main(["-d", NAME, "-np", "1"]) == 0
        model = replace(stub_model(), device=replace(CPU, deterministic=True))
        rows = predict_cases(find_inputs(raw), model, home / "out", PredictOptions("argmax"), print)
        assert [row.status for row in rows] == ["ok", "ok"]
        assert evaluate.main(["-r", str(raw), "-p", str(home / "out"), "-np", "1"]) == 0


def whole(home: Path) -> None:
    """Every step by its command, each a process of its own."""
    raw = home / "bisc_data" / "raw" / NAME

    def run(command: str, *args: str) -> None:
        subprocess.run([sys.executable, "-m", f"bisc.cli.{command}", *args], cwd=home, check=True)

    run("simulate", "-o", str(raw), "-n", "3", "--seed", "1", "--size", "96", "96", "32", "-np", "2")
    of_one_time(raw)
    run("plan_and_preprocess", "-d", NAME, "-np", "2", "--export-nnunet", "nnunet")
    run("train", "all", "0", "-d", NAME, "--workers", "1", *BRIEF)
    (home / "in").mkdir()
    for case in ("case_00000", "case_00001"):
        shutil.copyfile(raw / case / "imaging.nii.gz", home / "in" / f"{case}.nii.gz")
    of_one_time(home / "in")
    run("predict", "-i", "in", "-o", "out", "-d", NAME, "--deterministic", "--device", "cpu")
    run("predict", "-i", "in", "-o", "out", "-d", NAME, "--deterministic", "--device", "cpu", "--continue")
    run("evaluate", "-r", str(raw), "-p", "out", "-np", "2")
    run("evaluate", "-d", NAME)
    run("measure", "-p", str(raw / "case_00000" / "segmentation.nii.gz"), "-o", "measured")
    run("report", "-i", "in", "-p", "out", "-o", "pages")
    run("model", "export", "-d", NAME, "-o", "model.zip")


def of_one_time(folder: Path) -> None:
    """Files' times are in what tells whether they have changed."""
    for path in folder.rglob("*"):
        os.utime(path, (1e9, 1e9))


def made(home: Path) -> dict[str, bytes]:
    """Every file's bytes by its name, where it lies left out."""
    files = sorted(path for path in home.rglob("*") if path.is_file() and not path.name.startswith(LOCKS))
    contents = {path.relative_to(home).as_posix(): path.read_bytes() for path in files}
    return {name: STAMP.sub(b"", data.replace(str(home).encode(), b"")) for name, data in contents.items()}
