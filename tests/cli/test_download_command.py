"""`bisc_download` as a user types it, against a mirror of KiTS21 with small cases."""

from __future__ import annotations

import io
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bisc.cli.download import main
from bisc.cli.plan_and_preprocess import main as plan
from tests.support.http_server import Server, hang, refuse, serving

LABELS, IMAGE = "aggregated_MAJ_seg.nii.gz", "imaging.nii.gz"
RAW = Path("bisc_data/raw/KiTS21")
Process = subprocess.Popen[str]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, no variable set."""
    monkeypatch.chdir(tmp_path)
    for name in ("BISC_RAW", "BISC_PREPROCESSED", "BISC_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return tmp_path


@pytest.fixture
def mirror(tiny_dataset: Path) -> Iterator[Server]:
    with serving() as mine:
        mine.files["/KiTS21/kits.json"] = b"[]"
        for case in sorted(tiny_dataset.glob("case_*")):
            mine.files[f"/KiTS21/{case.name}/{IMAGE}"] = (case / IMAGE).read_bytes()
            mine.files[f"/KiTS21/{case.name}/{LABELS}"] = (case / "segmentation.nii.gz").read_bytes()
        yield mine


def started(home: Path, *args: str, stdin: int = subprocess.DEVNULL, stdout: int = subprocess.PIPE) -> Process:
    """The command as a process of its own, as the console script runs it."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("BISC_")}
    code = "from bisc.cli.entry import download; download()"
    return subprocess.Popen(
        [sys.executable, "-c", code, *args],
        cwd=home, env=clean, stdin=stdin, stdout=stdout, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


Run = Callable[..., tuple[str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """The command in this process; stdout and stderr."""

    def command(*args: str, status: int = 0) -> tuple[str, str]:
        try:
            code = main(args)
        except SystemExit as end:
            code = int(end.code or 0)
        out, err = capsys.readouterr()
        assert code == status, err
        return out, err

    return command


def test_from_an_empty_folder_to_a_plan(mirror: Server, home: Path, run: Run) -> None:
    """The licence, what comes, what came, and the line to type next, which works."""
    given = ("KiTS21", "--mirror", mirror.address, "--cases", "0", "1", "2", "3", "4", "--accept-licence")
    process = started(home, *given)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "KiTS21: CC BY-NC-SA 4.0 (https://creativecommons.org/licenses/by-nc-sa/4.0/)"
    assert lines[-3].startswith(f"KiTS21: 5 cases in {RAW}: 11 files to fetch, ")
    assert lines[-2:] == [f"{RAW}: 11 files fetched", "next: bisc_plan_and_preprocess -d KiTS21"]
    assert plan(["-d", "KiTS21", "--only-plan", "-np", "1"]) == 0
    out, err = run("KiTS21", "-n", "5", "--verify")
    assert "KiTS21: 5 cases planned, 0 faults" in out
    assert (out.splitlines()[-1], err) == (f"{RAW}: 11 files are as they should be", "")
    out, _ = run("KiTS21", "-n", "6", "--verify", status=1)
    assert out == f"{RAW}: 11 files are as they should be, 2 are missing\n"


def test_a_missing_file_is_a_line_and_status_1(mirror: Server, home: Path, run: Run) -> None:
    """The other cases are there."""
    mirror.always[f"/KiTS21/case_00000/{IMAGE}"] = refuse(404)
    out, err = run("KiTS21", "-n", "2", "-o", "here", "--mirror", mirror.address, "--accept-license", status=1)
    address = f"{mirror.address}/KiTS21/case_00000/{IMAGE}"
    assert err == f"bisc_download: error: {address}: the server answers 404 Not Found\n"
    assert out.endswith("here: 4 files fetched, 1 failed\n")
    assert (home / "here" / "case_00001" / IMAGE).exists()


def test_without_a_terminal_the_licence_is_not_agreed_to(mirror: Server, home: Path, run: Run) -> None:
    """It is shown, and nothing is asked of the server."""
    out, err = run("KiTS21", "--mirror", mirror.address, status=2)
    assert "permits: use, change and share for purposes that are not commercial" in out
    assert err.count("\n") == 1
    assert "--accept-licence" in err
    assert mirror.asked == []


def test_a_terminal_is_asked(mirror: Server, home: Path) -> None:
    """A real one, and a yes."""
    ours, theirs = pty.openpty()
    process = started(home, "KiTS21", "-n", "1", "--mirror", mirror.address, stdin=theirs, stdout=theirs)
    os.write(ours, b"yes\n")
    _, err = process.communicate(timeout=120)
    os.close(theirs)
    shown = os.read(ours, 1 << 16).decode()
    os.close(ours)
    assert "Do you agree to this licence? [yes/no]" in shown
    assert process.returncode == 0, err
    assert (home / RAW / "case_00000" / IMAGE).exists()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("answer", ["no\n", "\n", "", "yes, but\n"])
def test_all_but_a_yes_is_a_no(mirror: Server, home: Path, answer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is asked of the server."""
    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    monkeypatch.setattr(sys, "stdout", shown := Terminal())
    assert main(["KiTS21", "--mirror", mirror.address]) == 2
    assert "Do you agree" in shown.getvalue()
    assert mirror.asked == []


def test_ctrl_c_keeps_what_came(mirror: Server, home: Path, run: Run) -> None:
    """One line, status 130; the next run asks for the rest of the file it was at."""
    path, until = f"/KiTS21/case_00001/{IMAGE}", threading.Event()
    mirror.faults[path].append(hang(40_000, until))
    given = ("KiTS21", "-n", "2", "-np", "1", "--mirror", mirror.address, "--accept-licence")
    process = started(home, *given)
    part = home / RAW / "case_00001" / f".download-{IMAGE}"
    deadline = time.monotonic() + 120
    while not (part.exists() and part.stat().st_size == 40_000) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    time.sleep(0.2)
    until.set()
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert err == "bisc_download: error: interrupted; finished work is kept, run the same command again to go on\n"
    assert (home / RAW / "case_00000" / IMAGE).exists()
    assert not (home / RAW / "case_00001" / IMAGE).exists()
    out, _ = run(*given)
    assert mirror.ranges(path) == ["", "bytes=40000-"]
    assert "1 files fetched, 4 were there already" in out


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("KiTS20",), "invalid choice"),
        (("KiTS21", "-n", "2", "--cases", "1"), "not allowed with"),
        (("KiTS21", "--cases", "300"), "--cases: KiTS21 has no case 300; expected 0 to 299"),
        (("KiTS21", "--mirror", "raw/KiTS21"), "--mirror: raw/KiTS21; expected an address"),
    ],
)
def test_usage(run: Run, args: tuple[str, ...], words: str) -> None:
    """Before the licence is shown."""
    out, err = run(*args, status=2)
    assert out == ""
    assert words in err
