"""Memory is planned from the header: slabs where a region does not fit, one clear line where nothing does."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from math import prod
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bisc.core.errors import WorkError
from bisc.imageio import StoredImage, read_size
from bisc.imageio.case import InputCase
from bisc.inference import windows as planning
from bisc.inference.model import MOST_NETWORK_GB
from bisc.inference.windows import (
    FORWARD_FIXED_GB,
    image_gb,
    network_budget,
    softmax_volume,
    window_that_fits,
)
from bisc.network.folded import Kernels, OneDnnKernels
from bisc.pipeline import overlap, workers
from bisc.pipeline.options import PredictOptions
from bisc.pipeline.predict import predict_cases
from bisc.system import memory
from tests.support.grids import grid, write_itk
from tests.support.stub_model import PLAN, ByIntensity, stub_model

GIB = 2.0**30
FOLDED = 10.5 * 32
"""Bytes a voxel at f = 32."""


def test_a_region_that_fits_is_seen_whole() -> None:
    """64 x 160 x 160 voxels of 32 features: 10.5 * 32 * 1638400 bytes are 0.51 GiB, and 0.15 more."""
    need = FOLDED * 64 * 160 * 160 / GIB + 0.15
    assert need == pytest.approx(0.663, abs=1e-3)
    assert window_that_fits((64, 160, 160), FOLDED, need) == (64, 160, 160)
    assert window_that_fits((64, 160, 160), FOLDED, need - 1e-3) == (48, 160, 160)
    assert window_that_fits((61, 150, 160), FOLDED, need) == (61, 150, 160)  # as it is padded to


def test_a_fused_kidney_is_seen_in_slabs() -> None:
    """96 x 320 x 320 takes 3.2 GiB; of 2.5, a slab of 64 slices takes 2.2."""
    assert window_that_fits((96, 320, 320), FOLDED, MOST_NETWORK_GB) == (64, 320, 320)


@given(st.tuples(*[st.integers(1, 400)] * 3), st.integers(4, 64), st.floats(0.0, 8.0))
def test_windows_fit_or_are_the_smallest(shape: tuple[int, int, int], features: int, gb: float) -> None:
    """Padded to multiples of 16 a window takes what is allowed at most, unless it is one step thick."""
    window = window_that_fits(shape, features * OneDnnKernels.bytes_per_voxel_feature, gb)
    padded = [-(-n // 16) * 16 for n in window]
    assert window[1:] == shape[1:]
    fits = OneDnnKernels.bytes_per_voxel_feature * features * prod(padded) / GIB + FORWARD_FIXED_GB <= gb + 1e-9
    assert fits or window[0] == 16 or shape[0] <= 16


def test_slabs_give_the_same_answer() -> None:
    """A network that looks at each voxel alone cannot tell slabs from the whole."""
    stub = stub_model()
    (fold,) = stub.fine
    network = ByIntensity()
    narrow = replace(fold, network=network, bytes_per_voxel=22.0 * 32)
    image = np.random.default_rng(0).normal(0, 1, (50, 40, 33)).astype(np.float32)
    whole = softmax_volume(stub.fine, image, -2.0)
    slabs = softmax_volume([narrow], image, -2.0, network_gb=FORWARD_FIXED_GB + 0.05)
    assert slabs == pytest.approx(whole, abs=1e-6)
    assert {size[0] for size in network.seen} == {32}  # 0.05 GiB at 22 * 32 * 48 * 48 bytes a slice


def test_the_header_tells_the_size(tmp_path: Path) -> None:
    """Size and stored bytes of a file; a format that ITK cannot read in part says so."""
    voxels = np.zeros((5, 6, 7), np.float64)
    packed = read_size(write_itk(tmp_path / "a.nii.gz", voxels))
    assert (packed.shape_zyx, packed.n_bytes, packed.streamed) == ((5, 6, 7), 5 * 6 * 7 * 8, True)
    nrrd = read_size(write_itk(tmp_path / "a.nrrd", voxels.astype(np.int16)))
    assert (nrrd.n_bytes, nrrd.streamed) == (5 * 6 * 7 * 2, False)
    assert image_gb(packed) == pytest.approx(6 * 210 / GIB)
    assert image_gb(replace(packed, streamed=False)) == pytest.approx(10 * 210 / GIB)


def test_what_is_free_beside_the_image_is_the_networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """3 GB free: all they ask for; 1.5: that much; 0.5: an error with the figures; a bad header: reading will tell."""
    path = write_itk(tmp_path / "a.nii.gz", np.zeros((5, 6, 7), np.int16))
    for free, budget in ((3.0, 2.5), (1.5, 1.5)):
        monkeypatch.setattr(planning, "free_gb", lambda free=free: free)
        assert network_budget(path, 2.5) == pytest.approx(budget, abs=1e-5)
    monkeypatch.setattr(planning, "free_gb", lambda: 0.5)
    with pytest.raises(WorkError, match=r"a.nii.gz: 7 x 6 x 5 voxels need 0.9 GB of memory, 0.5 GB are free; close"):
        network_budget(path, 2.5)
    assert network_budget(tmp_path / "none.nii.gz", 2.5) == 2.5


def test_the_limit_of_the_process_counts_what_it_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """--memory-gb 4 with 2 GB held leaves 2, whatever the machine has."""
    path = write_itk(tmp_path / "a.nii.gz", np.zeros((5, 6, 7), np.int16))
    monkeypatch.setattr(planning, "free_gb", lambda: 100.0)
    monkeypatch.setattr(planning, "resident_gb", lambda: 2.0)
    assert network_budget(path, 2.5, limit_gb=4.0) == pytest.approx(2.0, abs=1e-5)


def test_a_case_that_does_not_fit_fails_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its row says failed, nothing of it is written, and the next case is done."""
    small = grid((24, 64, 64), (5.0, 4.0, 4.0))
    (tmp_path / "in").mkdir()
    cases = [
        InputCase(name, write_itk(tmp_path / "in" / f"{name}.nii.gz", np.full((24, 64, 64), -100, np.int16), small))
        for name in ("large", "small")
    ]
    whole = read_size

    def size_of(path: Path) -> StoredImage:
        return replace(whole(path), shape_zyx=(10**5, 512, 512)) if path.name.startswith("large") else whole(path)

    for module in (planning, overlap):
        monkeypatch.setattr(module, "read_size", size_of)
    errors: list[Exception] = []
    rows = predict_cases(cases, stub_model(plan=PLAN), tmp_path / "out", PredictOptions("argmax"), errors.append)
    assert [row.status for row in rows] == ["failed", "no_kidney"]
    assert len(errors) == 1
    assert "large.nii.gz: 512 x 512 x 100000 voxels need" in str(errors[0])
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["predictions.csv", "small.nii.gz"]


def test_what_is_free_is_no_more_than_the_machine_has() -> None:
    assert 0.0 <= memory.free_gb() < 2**14
    assert 0.01 < memory.resident_gb() < memory.free_gb() + 64


@pytest.mark.long
@pytest.mark.parametrize("dtype", ["int16", "float64"])
def test_the_longest_scan_of_kits19_fits_into_4_gb(tmp_path: Path, dtype: str) -> None:
    """512 x 512 x 1059 at full width, process start included, as integers and as 2 GB of floats."""
    from benchmarks.by_intensity import write_results
    from benchmarks.large_case import peak_of, write_scan

    write_results(tmp_path / "model")
    write_scan(tmp_path / "scan.nii.gz", 1059, 512, dtype)
    command = ["-m", "bisc.cli.predict", "-i", str(tmp_path / "scan.nii.gz"), "-d", str(tmp_path / "model")]
    _, peak_gb, said = peak_of([*command, "-o", str(tmp_path / "out")])
    assert said.startswith("1 of 1 cases predicted")
    assert peak_gb < 4.0


def test_fewer_workers_where_the_memory_is_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three cases of 0.4 GB a process: 1 GB carries two, 0.1 GB one all the same; a broken file counts for nothing."""
    scan = write_itk(tmp_path / "a.nii.gz", np.zeros((5, 6, 7), np.int16))
    told: list[str] = []
    monkeypatch.setattr(workers, "free_gb", lambda: 1.0)
    assert workers.workers_that_fit([scan, tmp_path / "none.nii.gz"], 3, told.append) == 2
    assert told.pop().startswith("2 instead of 3 cases at a time")
    assert workers.workers_that_fit([scan], 2, told.append) == 2
    assert workers.workers_that_fit([], 2, told.append) == 2
    assert told == []
    monkeypatch.setattr(workers, "free_gb", lambda: 0.1)
    assert workers.workers_that_fit([scan], 2, told.append) == 1


PASS = """
import sys
import numpy as np, torch
from bisc.network import SCUNet, folded
from bisc.network.device import choose_device

def peak():
    status = dict(line.split(":", 1) for line in open("/proc/self/status"))
    return int(status["VmHWM"].split()[0]) / 2**20

device = choose_device("cpu", "fp32")
z, y, x, features = map(int, sys.argv[2:])
plain = device.put_network(SCUNet(features, "batch")).eval()
network = folded.FoldedSCUNet(plain, getattr(folded, sys.argv[1])(), torch.float32)
image = device.put(np.zeros((1, 1, z, y, x), np.float32))
before = peak()
with torch.inference_mode():
    network.forward_region(image)
print(peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="/proc/self/status is Linux's")
@pytest.mark.parametrize("kernels", [OneDnnKernels, pytest.param(Kernels, marks=pytest.mark.long)])
def test_a_folded_pass_takes_what_is_planned(kernels: type[Kernels]) -> None:
    """Not more, nor so much less that slabs are cut thinner than they need be."""
    sizes = ["48", "96", "96", "32"]
    command = [sys.executable, "-c", PASS, kernels.__name__, *sizes]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    of_voxels = kernels.bytes_per_voxel_feature * 32 * 48 * 96 * 96 / GIB
    assert 0.6 * of_voxels < float(done.stdout) < of_voxels + FORWARD_FIXED_GB
