"""A job array of Slurm, by the scripts of the how-to page: together one run, and a part that is missing is named."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bisc.imageio import write_image
from tests.cli.test_cluster_commands import FINE, ROUGH, files_of, run
from tests.support.slurm import slurm
from tests.support.training_fixtures import STORED, patient, write_raw

N_CASES = 8
SCRIPT = re.compile(r"```bash\n(.*?)```", re.DOTALL)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Path:
    """A trained cascade, patients, the commands, and the scripts of the page; bytes are asked for in addition."""
    home = tmp_path_factory.mktemp("home")
    write_raw(home / "raw" / "Tiny")
    run(home, "plan_and_preprocess", "-np", 1)
    run(home, "train", "rough", 0, *ROUGH)
    run(home, "train", "fine", 0, *FINE)
    for i in range(N_CASES):
        write_image(home / "in" / f"case_{i:03d}.nii.gz", patient(STORED.canonical, 8.0 + i, i)[0], STORED)
    page = (repository / "docs" / "how-to" / "cluster.md").read_text(encoding="utf-8")
    for name, script in zip(("predict.sbatch", "submit.sh"), SCRIPT.findall(page), strict=True):
        (home / name).write_text(script.replace("bisc_predict -i", "bisc_predict --deterministic --report -i"))
    (home / "bin").mkdir()
    for command in ("predict", "plan_and_preprocess"):
        path = home / "bin" / f"bisc_{command}"
        path.write_text(f'#!/bin/sh\nexec {sys.executable} -m bisc.cli.{command} "$@"\n')
        path.chmod(0o755)
    run(home, "predict", "-i", "in", "-o", "one", "--deterministic", "--report")
    return home


@pytest.mark.long
def test_an_array_of_four_is_one_run_and_a_missing_part_is_named(home: Path, tmp_path: Path) -> None:
    """As the page has it; then part 3 is lost, named, and done again."""
    with slurm(tmp_path / "slurm") as environment:
        environment |= {"PATH": f"{home / 'bin'}{os.pathsep}{os.environ['PATH']}", "BISC_HOME": str(home)}

        def shell(line: str) -> None:
            subprocess.run(["bash", "-euc", line], cwd=home, env=environment, check=True, timeout=900)

        submit = (home / "submit.sh").read_text().replace("sbatch --dep", "sbatch --wait --dep")
        shell(submit)
        out = files_of(home / "out")
        assert {name for name in out if name.startswith("parts/")} == {
            f"parts/predictions_{i}_of_4.json" for i in (1, 2, 3, 4)
        }
        assert {name: data for name, data in out.items() if not name.startswith("parts/")} == files_of(home / "one")
        assert "4 parts joined: 8 of 8 cases predicted" in (home / "join.log").read_text()

        shutil.rmtree(home / "out")
        shell("sbatch --wait --array=1,2,4 predict.sbatch")
        join = submit.split("\n", 1)[1].replace('--dependency=afterany:"$array"', "")
        with pytest.raises(subprocess.CalledProcessError) as failed:
            shell(join)
        assert failed.value.returncode == 1
        said = (home / "join.log").read_text()
        assert "bisc_predict: error: out: part 3 of 4 is missing: case_002, case_006; run it with --part" in said
        shell("sbatch --wait --array=3 predict.sbatch")
        shell(join)
        assert files_of(home / "out").keys() == out.keys()
        assert (home / "out" / "predictions.csv").read_bytes() == out["predictions.csv"]
