"""Cases in work at the same time: the same masks and rows as one by one, in the memory there is."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from bisc.core.errors import BiscError
from bisc.core.geometry import Geometry
from bisc.core.volume import NativeGrid
from bisc.imageio import StoredImage, write_image
from bisc.imageio.inputs import find_inputs
from bisc.inference.windows import image_gb
from bisc.pipeline import overlap
from bisc.pipeline.options import PredictOptions
from bisc.pipeline.overlap import Room, overlapping
from bisc.pipeline.predict import predict_cases
from bisc.system.console import collecting, tell
from bisc.system.memory import GIB
from tests.support.stub_model import ByIntensity, kidneys, stub_model
from tests.support.training_fixtures import use_one_thread

use_one_thread()
GRID = Geometry((40, 60, 76), (3.5, 4.0, 4.0), (-150.0, -120.0, -700.0))
PATH = Path("scan.nii.gz")


def stored(gb: float) -> StoredImage:
    """A streamed image that takes about so many GiB."""
    n = int((gb * GIB / 6) ** (1 / 3))
    size = StoredImage((n, n, n), n**3 * 2, streamed=True)
    assert image_gb(size) == pytest.approx(gb, rel=0.01)
    return size


def test_results_have_their_jobs_numbers_and_notices_are_heard() -> None:
    def work(job: int) -> int:
        time.sleep(0.01 * (3 - job))  # the last is the first to be done
        tell(f"notice {job}")
        return job * job

    with collecting(quiet=True) as notes:
        found = dict(overlapping(work, range(3), 3))
    assert found == {0: 0, 1: 1, 2: 4}
    assert sorted(notes) == ["notice 0", "notice 1", "notice 2"]


def test_an_error_ends_it_and_what_waits_is_given_up() -> None:
    begun: list[int] = []

    def work(job: int) -> None:
        begun.append(job)
        time.sleep(0.02)
        if job == 0:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(overlapping(work, range(50), 2))
    assert len(begun) < 10


@pytest.mark.parametrize(
    ("free_gb", "limit_gb", "together"),
    [(4.0, None, True), (3.0, None, False), (8.0, 4.0, True), (8.0, 3.0, False)],
)
def test_who_does_not_fit_waits(
    monkeypatch: pytest.MonkeyPatch, free_gb: float, limit_gb: float | None, together: bool
) -> None:
    """Two images of 0.5 GB, and a pass of 2.5: 3.5 GB in all."""
    monkeypatch.setattr(overlap, "free_gb", lambda: free_gb)
    monkeypatch.setattr(overlap, "resident_gb", lambda: 0.0)
    monkeypatch.setattr("bisc.inference.windows.free_gb", lambda: free_gb)
    monkeypatch.setattr("bisc.inference.windows.resident_gb", lambda: 0.0)
    room, entered, leave = Room(limit_gb), threading.Event(), threading.Event()

    def second() -> None:
        with room.model_for(stub_model(), PATH, stored(0.5)):
            entered.set()

    with room.model_for(stub_model(), PATH, stored(0.5)) as model:
        other = threading.Thread(target=second)
        other.start()
        assert entered.wait(0.3 if not together else 5.0) == together
        assert model.network_gb == pytest.approx(min(2.5, (limit_gb or free_gb) - 0.5), abs=0.1)
    leave.set()
    other.join(5.0)
    assert entered.is_set()


class OneAtATime(ByIntensity):
    """Minds whether it is asked twice at once."""

    busy = threading.Lock()
    together = False

    def forward_region(self, image: Tensor) -> Tensor:
        if not self.busy.acquire(blocking=False):
            type(self).together = True
            return super().forward_region(image)
        try:
            time.sleep(0.01)
            return super().forward_region(image)
        finally:
            self.busy.release()


def test_masks_and_rows_are_those_of_one_by_one(tmp_path: Path) -> None:
    """One bad file among them, and networks that are never asked twice at once."""
    for i in range(5):
        labels = kidneys(GRID, tumor_at=None if i % 2 else 70.0 + i)[0]
        write_image(tmp_path / "in" / f"case_{i}.nii.gz", labels.array, NativeGrid.of(GRID))
    (tmp_path / "in" / "case_2.nii.gz").write_bytes(b"no image")
    model = stub_model(OneAtATime())
    rows, errors = {}, {}
    for n in (1, 3):
        errors[n] = list[BiscError]()
        options = PredictOptions("calibrated", at_a_time=n)
        rows[n] = predict_cases(find_inputs(tmp_path / "in"), model, tmp_path / str(n), options, errors[n].append)
    assert [replace(row, seconds=None) for row in rows[3]] == [replace(row, seconds=None) for row in rows[1]]
    assert [str(error) for error in errors[3]] == [str(error) for error in errors[1]]
    assert [row.case for row in rows[1] if row.status == "failed"] == ["case_2"]
    for row in rows[1]:
        if row.status != "failed":
            ours, theirs = (tmp_path / n / f"{row.case}.nii.gz" for n in "31")
            assert ours.read_bytes() == theirs.read_bytes()
    assert not OneAtATime.together
    assert torch.is_grad_enabled()
