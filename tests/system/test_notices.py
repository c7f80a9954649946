"""Notices reach the user and the table whatever Python does with warnings, and are said once."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from bisc.core.errors import InputError
from bisc.system import console
from bisc.system.cases import process_pool, run_cases
from bisc.system.console import collecting, hush, notice, notices_shown_by


def odd(job: int) -> int:
    """Gives a notice that only this job gives, and one that all give; job 2 fails after it, job 3 unforeseen."""
    notice(f"{job}.nii", "turned", "straightened")
    notice("all.nii", "turned", "straightened")
    if job == 2:
        raise InputError("2.nii", "is unlucky")
    if job == 3:
        raise KeyError("lost")
    return job


def test_a_text_is_shown_once_per_command_and_collected_each_time(capsys: pytest.CaptureFixture[str]) -> None:
    """A second command of the same process says it anew; blocks nest, and each holds a text once."""
    for prog in ("bisc_a", "bisc_b"):
        with notices_shown_by(prog), collecting() as outer:
            for _ in range(2):
                with collecting() as inner:
                    notice("a.nii", "is\nodd", "taken\tas it is")
                    notice("a.nii", "is\nodd", "taken\tas it is")
                assert inner == ["a.nii: is odd; taken as it is"]
            assert outer == inner
        assert capsys.readouterr().err == f"{prog}: warning: a.nii: is odd; taken as it is\n"


def test_a_hushed_process_collects_in_silence(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "_hushed", False)
    hush()
    with collecting() as notes:
        notice("a.nii", "odd", "taken")
    assert (notes, capsys.readouterr().err) == (["a.nii: odd; taken"], "")


def test_what_another_thread_says_is_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    """A case's notes never hold those of a case that is read beside it."""
    with notices_shown_by("bisc_a"), collecting() as mine:
        thread = threading.Thread(target=notice, args=("b.nii", "odd", "taken"))
        thread.start()
        thread.join()
    assert mine == []
    assert capsys.readouterr().err == "bisc_a: warning: b.nii: odd; taken\n"


@pytest.mark.parametrize("n_workers", [1, 2])
def test_outcomes_carry_their_notices(n_workers: int, capfd: pytest.CaptureFixture[str]) -> None:
    """Also beside an error of the package; what all jobs say is shown once, whichever process they ran in."""
    with process_pool(n_workers) as pool, notices_shown_by("bisc_x"):
        outcomes = run_cases(odd, range(4), pool, "test", lambda job: f"case_{job}")
    for job in range(3):
        assert outcomes[job].notes == (f"{job}.nii: turned; straightened", "all.nii: turned; straightened")
    assert [type(o.error).__name__ for o in outcomes] == ["NoneType", "NoneType", "InputError", "WorkError"]
    said = capfd.readouterr().err.splitlines()
    assert len(said) == len(set(said))
    assert {f"bisc_x: warning: {name}.nii: turned; straightened" for name in (0, 1, 2, "all")} <= set(said)


@pytest.mark.parametrize("close", ["sys.stderr = None", "sys.stderr.close()", "import os; os.close(2)"])
def test_a_notice_without_stderr_is_still_collected(close: str) -> None:
    """Nothing is raised where nobody can be told."""
    script = (
        "import sys\nfrom bisc.system.console import collecting, notice\nsaid = sys.stdout\n"
        f"with collecting() as notes:\n    {close}\n    notice('a', 'odd', 'taken')\nsaid.write(notes[0])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("a: odd; taken", 0)
