"""Commands in odd surroundings, as a shell starts them: streams closed or full, filters of warnings, few open files."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bisc.core.geometry import Geometry
from tests.support.grids import write_itk

BIN = Path(sys.executable).parent
STRAIGHT = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
SHEARED = (1.0, 1e-5, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
"""Straightened with a notice."""
FULL = "standard output could not be written (No space left on device); only what it would have shown is lost"
pytestmark = pytest.mark.skipif(os.name != "posix", reason="shells and /dev of POSIX")


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine references, of which one is read with a notice, and as many predictions."""
    home = tmp_path_factory.mktemp("surroundings")
    labels = np.zeros((4, 5, 6), np.uint8)
    labels[1:3, 1:3, 1:4] = 1
    for folder in "rp":
        (home / folder).mkdir()
    for i in range(9):
        direction = SHEARED if i == 0 else STRAIGHT
        for folder, turn in (("r", direction), ("p", STRAIGHT)):
            write_itk(home / folder / f"c{i}.mha", labels, Geometry((4, 5, 6), (3.0, 1.0, 1.0), direction=turn))
    assert evaluate(home, home / "plain.csv").returncode == 0
    return home


def shell(home: Path, command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-c", command],
        cwd=home,
        capture_output=True,
        text=True,
        errors="replace",
        env={**os.environ, **environment},
        timeout=120,
    )


def evaluate(
    home: Path, report: Path, how: str = "", before: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    return shell(home, f"{before} '{BIN}/bisc_evaluate' -r r -p p -np 1 -o '{report}' {how}", **environment)


@pytest.mark.parametrize(
    ("how", "status"),
    [
        (">&-", 0),
        pytest.param("2>&-", 0, marks=pytest.mark.long),
        pytest.param("<&-", 0, marks=pytest.mark.long),
        pytest.param(">&- 2>&-", 0, marks=pytest.mark.long),
        ("<&- >&- 2>&-", 0),
        pytest.param("<&- 2>&-", 0, marks=pytest.mark.long),
        ("| true", 0),
        ("2>&1 | head -n 1", 0),
        ("> /dev/full", 1),
        ("2> /dev/full", 0),
        ("> /dev/full 2>&1", 1),
        pytest.param("> /dev/full 2>&-", 1, marks=pytest.mark.long),
        pytest.param(">&- 2> /dev/full", 0, marks=pytest.mark.long),
    ],
)
def test_streams_that_are_closed_or_full(cases: Path, tmp_path: Path, how: str, status: int) -> None:
    """The report is whole and the same; a full stdout is the only one that is said, where it can be."""
    done = evaluate(cases, tmp_path / "t.csv", how)
    assert done.returncode == status, done.stderr
    assert (tmp_path / "t.csv").read_bytes() == (cases / "plain.csv").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["t.csv", "t_summary.csv"]
    assert "Traceback" not in done.stderr + done.stdout
    if how == "> /dev/full":
        notice, said = done.stderr.splitlines()
        assert notice.startswith("bisc_evaluate: warning: r/c0.mha: its direction matrix is off by")
        assert said == f"bisc_evaluate: error: {FULL}"


@pytest.mark.parametrize(("how", "status"), [(">&- 2>&-", 2), ("> /dev/full", 2), ("2> /dev/full", 2)])
def test_a_fault_keeps_its_exit_status(cases: Path, tmp_path: Path, how: str, status: int) -> None:
    """Usage, and input that is not there."""
    for arguments in ("-r r -p nowhere", "--nonsense"):
        assert shell(cases, f"'{BIN}/bisc_evaluate' {arguments} {how}").returncode == status


@pytest.mark.parametrize(("how", "status"), [(">&-", 0), ("> /dev/full", 1), ("| true", 0)])
def test_help_in_odd_streams(cases: Path, how: str, status: int) -> None:
    assert shell(cases, f"'{BIN}/bisc_evaluate' --help {how}").returncode == status


@pytest.mark.parametrize(
    ("filters", "n_workers"),
    [
        pytest.param("error", 1, marks=pytest.mark.long),
        ("error", 2),
        pytest.param("ignore", 2, marks=pytest.mark.long),
        ("error::UserWarning,error::DeprecationWarning", 1),
        pytest.param("nonsense", 1, marks=pytest.mark.long),
    ],
)
def test_filters_of_warnings_change_nothing(cases: Path, tmp_path: Path, filters: str, n_workers: int) -> None:
    """The notice is there, once, and no library's warning fails a case; nor in worker processes."""
    command = f"'{BIN}/bisc_evaluate' -r r -p p -np {n_workers} -o '{tmp_path}/t.csv'"
    done = shell(cases, command, PYTHONWARNINGS=filters)
    assert done.returncode == 0, done.stderr
    assert "9 cases (9 ok)" in done.stdout
    ours = [line for line in done.stderr.splitlines() if "Invalid -W option" not in line]
    assert [line.split("off by")[0] for line in ours] == ["bisc_evaluate: warning: r/c0.mha: its direction matrix is "]


def test_a_library_that_warns_fails_no_case(tmp_path: Path) -> None:
    """In this process and its workers, begun with -W error."""
    script = tmp_path / "bisc_x.py"
    script.write_text(
        "import sys, warnings\n"
        "def warned(job):\n    warnings.warn('old', DeprecationWarning)\n    return job\n"
        "def main(argv):\n"
        "    from bisc.system.cases import process_pool, run_cases\n"
        "    for n in (1, 2):\n"
        "        with process_pool(n) as pool:\n"
        "            print([o.result for o in run_cases(warned, [1, 2], pool, 'test')])\n"
        "    return 0\n"
        "if __name__ == '__main__':\n"
        "    from bisc.cli.entry import run_process\n    run_process('bisc_x', lambda: main)\n"
    )
    command = [sys.executable, "-W", "error", str(script)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONWARNINGS": "error"})
    assert (done.stdout, done.stderr, done.returncode) == ("[1, 2]\n[1, 2]\n", "", 0)


@pytest.mark.parametrize("encoding", ["ascii", pytest.param("latin-1", marks=pytest.mark.long)])
def test_a_name_that_the_terminal_cannot_show(cases: Path, tmp_path: Path, encoding: str) -> None:
    """It is escaped; the work is done all the same."""
    report = tmp_path / "Bericht_\u00fc\u0142.csv"
    done = evaluate(cases, report, PYTHONIOENCODING=encoding)
    assert done.returncode == 0, done.stderr
    assert report.exists()


def test_printing_ends_no_run_amid_its_cases(tmp_path: Path) -> None:
    """Each line flushed, into a full disk and into a pipe that nobody reads: what follows is done."""
    script = tmp_path / "bisc_x.py"
    script.write_text(
        "import sys, time, pathlib\n"
        "def main(argv):\n"
        "    for i in range(3):\n"
        "        print(i, flush=True)\n        time.sleep(0.1)\n        pathlib.Path(f'done{i}').touch()\n"
        "    return 0\n"
        "from bisc.cli.entry import run_process\nrun_process('bisc_x', lambda: main)\n"
    )
    for how, status in (("> /dev/full", 1), ("| true", 0)):
        folder = tmp_path / f"status{status}"
        folder.mkdir()
        command = f"('{sys.executable}' '{script}'; echo $? > status) {how}"
        assert shell(folder, command).returncode == 0 or how != "| true"
        assert sorted(p.name for p in folder.glob("done*")) == ["done0", "done1", "done2"]
        if how == "| true":
            assert (folder / "status").read_text() == "0\n"


@pytest.mark.parametrize(
    ("n_files", "n_workers"),
    [pytest.param(12, 1, marks=pytest.mark.long), pytest.param(32, 2, marks=pytest.mark.long), (16, 2), (12, 2)],
)
def test_few_open_files(cases: Path, tmp_path: Path, n_files: int, n_workers: int) -> None:
    """The work is done, or one line says what is in the way."""
    command = f"ulimit -n {n_files}; '{BIN}/bisc_evaluate' -r r -p p -np {n_workers} -o '{tmp_path}/t.csv'"
    done = shell(cases, command)
    if done.returncode == 0:
        assert (tmp_path / "t.csv").read_bytes() == (cases / "plain.csv").read_bytes()
    else:
        assert "ulimit -n" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
