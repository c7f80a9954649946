"""Spoilt files: every reader gives a sound result or one line, and never dies, hangs, fills memory or obeys them."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.robustness.fuzz_mutations import spoilt
from tests.robustness.fuzz_readers import READERS, Files
from tests.robustness.fuzz_seeds import seed_files
from tests.robustness.fuzz_worker import Worker, shared_worker

QUICK_EXAMPLES = 25
LONG_EXAMPLES = int(os.environ.get("BISC_FUZZ_EXAMPLES", "4000"))
SAVED = os.environ.get("BISC_FUZZ_SAVE")
"""A folder where the files of a finding are kept."""


@pytest.fixture(scope="module")
def worker() -> Worker:
    return shared_worker()


@st.composite
def spoilt_files(draw: st.DrawFn, files: Files) -> Files:
    """The seed with one file spoilt."""
    name = draw(st.sampled_from(sorted(files)))
    return Files(files | {name: draw(spoilt(name, files[name]))})


def write_files(folder: Path, files: Files) -> Path:
    """Exactly these files in `folder`."""
    shutil.rmtree(folder, ignore_errors=True)
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def fuzz(reader: str, worker: Worker, folder: Path, examples: int) -> dict[str, int]:
    """Try spoilt files on one reader; returns how many were read and refused."""
    seed = seed_files(reader)
    counts = {"read": 0, "refused": 0}
    findings: dict[str, str] = {}

    # Without shrinking: the spoilt file itself is the report, and replacing a dead process takes seconds.
    @settings(
        max_examples=examples,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    @given(files=spoilt_files(seed))
    def try_one(files: Files) -> None:
        verdict = worker.read(reader, write_files(folder / "example", files))
        if verdict.is_finding:
            where = verdict.detail.rsplit(" at ", 1)[-1] if verdict.kind == "raised" else verdict.detail[:60]
            if SAVED and (verdict.kind + where) not in findings:
                write_files(Path(SAVED) / f"{reader}-{len(findings)}", files)
            findings.setdefault(verdict.kind + where, f"{verdict.kind}: {verdict.detail}")
        else:
            counts[verdict.kind] += 1

    try_one()
    assert not findings, f"{reader}: " + "\n".join(findings.values())
    return counts


@pytest.mark.parametrize("reader", sorted(READERS))
def test_the_seed_is_sound(reader: str, worker: Worker, tmp_path: Path) -> None:
    """Without this, a reader that refuses everything would pass."""
    verdict = worker.read(reader, write_files(tmp_path / "seed", seed_files(reader)))
    assert (verdict.kind, verdict.detail) == ("read", "")


@pytest.mark.parametrize("reader", sorted(READERS))
def test_spoilt_files_are_read_or_refused(reader: str, worker: Worker, tmp_path: Path) -> None:
    counts = fuzz(reader, worker, tmp_path, QUICK_EXAMPLES)
    assert counts["refused"] > 0 or reader == "log.csv"  # a damaged log is written anew


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("reader", sorted(READERS))
def test_many_spoilt_files(reader: str, worker: Worker, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`BISC_FUZZ_EXAMPLES` per reader (4000)."""
    counts = fuzz(reader, worker, tmp_path, LONG_EXAMPLES)
    with capsys.disabled():
        sys.stdout.write(f" {reader}: {counts}\n")
