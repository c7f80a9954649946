"""predictions.csv of several runs: every case once, its last state, however many write at a time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bisc.core.errors import InputError
from bisc.pipeline.options import TABLE, PredictionRow
from bisc.pipeline.rows import merge_rows, read_rows, rows_csv
from bisc.system import locks
from bisc.system.files import change_text, write_text
from tests.support.noticed import noticed

OLD_HEADER = "case,status,seconds,rois,kidney_ml,tumor_ml,error\n"
MERGE = """
import sys
from pathlib import Path
from bisc.pipeline.options import PredictionRow
from bisc.pipeline.rows import merge_rows
sys.stdin.readline()
for i in range(int(sys.argv[3])):
    merge_rows(Path(sys.argv[1]), [PredictionRow(f"{sys.argv[2]}{i:03d}", "ok", 1.0)])
"""


def cases(path: Path) -> list[str]:
    return [row.case for row in read_rows(path)]


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from(["ok", "failed", "skipped"])), max_size=12))
def test_the_last_state_of_each_case_by_name(
    tmp_path_factory: pytest.TempPathFactory, runs: list[tuple[str, str]]
) -> None:
    """As a dictionary would: any order of single runs, repeated cases among them; but what was skipped never stands in
    for a prediction of the same name."""
    path = tmp_path_factory.mktemp("runs") / TABLE
    for case, status in runs:
        merge_rows(path, [PredictionRow(case, status, None)])
    last: dict[str, str] = {}
    for case, status in runs:
        last[case] = "ok" if status == "skipped" and last.get(case) == "ok" else status
    assert [(row.case, row.status) for row in read_rows(path)] == sorted(last.items())
    assert [p.name for p in path.parent.iterdir()] == ([TABLE] if runs else [])


def test_a_table_without_notes_is_read_and_gets_them(tmp_path: Path) -> None:
    """Written by an earlier version."""
    path = tmp_path / TABLE
    path.write_text(OLD_HEADER + "old,ok,1.5,[],12.5,0.0,\n")
    merge_rows(path, [PredictionRow("new", "ok", 2.0, notes="a; b | c, d")])
    assert read_rows(path) == [
        PredictionRow("new", "ok", 2.0, notes="a; b | c, d"),
        PredictionRow("old", "ok", 1.5, "[]", 12.5, 0.0),
    ]


@pytest.mark.parametrize("already", [False, True])
def test_no_row_is_lost_among_runs_at_once(tmp_path: Path, already: bool) -> None:
    """Six processes, each 15 rows, begun at the same moment; nothing but the table is left."""
    path = tmp_path / TABLE
    if already:
        path.write_text(OLD_HEADER + "first,ok,1.5,[],12.5,0.0,\n")
    command = [sys.executable, "-c", MERGE, str(path)]
    runs = [subprocess.Popen([*command, name, "15"], stdin=subprocess.PIPE, text=True) for name in "uvwxyz"]
    for run in runs:
        assert run.stdin is not None
        run.stdin.write("go\n")
        run.stdin.flush()
    for run in runs:
        run.communicate(timeout=60)
        assert run.returncode == 0
    assert cases(path) == [
        *(["first"] if already else []),
        *sorted(f"{name}{i:03d}" for name in "uvwxyz" for i in range(15)),
    ]
    assert [p.name for p in tmp_path.iterdir()] == [TABLE]


def test_a_run_killed_with_the_lock_holds_up_nobody(tmp_path: Path) -> None:
    """The system gives a dead process's lock back."""
    path = tmp_path / TABLE
    merge_rows(path, [PredictionRow("a", "ok", 1.0)])
    holder = (
        "import os, sys\nfrom pathlib import Path\nfrom bisc.system.files import change_text\n"
        "def hold():\n    print('held', flush=True)\n    sys.stdin.read()\n    return ''\n"
        "change_text(Path(sys.argv[1]), hold)"
    )
    run = subprocess.Popen([sys.executable, "-c", holder, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert run.stdout is not None
    assert run.stdout.readline() == b"held\n"
    run.kill()
    merge_rows(path, [PredictionRow("b", "ok", 1.0)])
    run.communicate()
    assert cases(path) == ["a", "b"]


def test_a_table_that_appears_meanwhile_is_merged_with(tmp_path: Path) -> None:
    """Another process is first with the first one: what this one wanted to write is made anew from it."""
    path, tries = tmp_path / "a.txt", []

    def change() -> str:
        tries.append(path.exists())
        if len(tries) == 1:
            write_text(path, "theirs")
            return "ours alone"
        return path.read_text() + " and ours"

    change_text(path, change)
    assert (tries, path.read_text()) == ([False, True], "theirs and ours")
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("missing", ["link", "flock", "fcntl"])
def test_a_disk_that_lacks_something(tmp_path: Path, missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No hard links, no locks (which is said), or Windows: single runs are merged all the same."""

    def refuse(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    path = tmp_path / TABLE
    if missing == "link":
        monkeypatch.setattr(os, "link", refuse)
    elif missing == "flock":
        monkeypatch.setattr("fcntl.flock", refuse)
    else:
        monkeypatch.setattr(locks, "fcntl", None)
    merge_rows(path, [PredictionRow("b", "ok", 1.0)])
    if missing == "flock":
        with noticed("cannot be locked on this disk; runs into this folder at once may lose rows"):
            merge_rows(path, [PredictionRow("a", "ok", 1.0)])
    else:
        merge_rows(path, [PredictionRow("a", "ok", 1.0)])
    assert cases(path) == ["a", "b"]
    left = {p.name for p in tmp_path.iterdir()}
    assert left - {f"{locks.LOCK}{TABLE}"} == {TABLE}  # Windows removes the lock file too
    assert (len(left) == 2) == (missing == "fcntl")


def test_without_locks_of_files_one_beside_them_keeps_others_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on Windows; what is locked need not be there, and is free again once the block ends, however it does."""
    monkeypatch.setattr(locks, "fcntl", None)
    with locks.alone(tmp_path / TABLE) as first, locks.alone(tmp_path / TABLE, wait=False) as second:
        assert (first, second) == (True, False)
    with pytest.raises(ZeroDivisionError), locks.alone(tmp_path / TABLE):
        raise ZeroDivisionError
    with locks.alone(tmp_path / TABLE, wait=False) as again:
        assert again


@pytest.mark.parametrize("where", ["nowhere", "there/other.csv"])
def test_a_link_in_its_place_is_replaced(tmp_path: Path, where: str) -> None:
    """As every output; what it led to stays as it is, and its rows are kept in the new file."""
    (tmp_path / "there").mkdir()
    other = tmp_path / "there" / "other.csv"
    other.write_text(rows_csv([PredictionRow("old", "ok", 1.0)]))
    before = other.read_bytes()
    path = tmp_path / TABLE
    path.symlink_to(where)
    merge_rows(path, [PredictionRow("new", "ok", 1.0)])
    assert not path.is_symlink()
    assert cases(path) == (["new"] if where == "nowhere" else ["new", "old"])
    assert other.read_bytes() == before


@pytest.mark.parametrize("kind", ["folder", "pipe"])
def test_what_is_no_file_is_refused_in_one_line(tmp_path: Path, kind: str) -> None:
    path = tmp_path / TABLE
    if kind == "folder":
        path.mkdir()
    else:
        os.mkfifo(path)
    with pytest.raises(InputError, match=r"predictions\.csv: (is no plain file|cannot be opened)") as caught:
        merge_rows(path, [PredictionRow("a", "ok", 1.0)])
    assert "\n" not in str(caught.value)


def test_a_folder_that_cannot_be_made_is_no_rival(tmp_path: Path) -> None:
    """Its own error, not another process that was first: else it would be tried for ever."""
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match=r"file: cannot be made|cannot be opened"):
        change_text(tmp_path / "file" / TABLE, lambda: "text")
