"""Large files are read in slabs: the same voxels, the same faults, whatever the slab's size."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bisc.imageio import read_image, read_labels
from bisc.imageio.formats import FORMATS, itk, nifti
from tests.support.grids import AXIS_ORDERS, axis_angle, fault, grid, signed_permutation, write_itk

SLICE = 6 * 7
"""Voxels of a stored slice of the grids below."""


def read_in_slabs(path: Path, n_bytes: int) -> npt.NDArray[Any]:
    with pytest.MonkeyPatch.context() as patch:
        in_slabs_of(patch, n_bytes)
        return read_image(path).volume.array


def in_slabs_of(patch: pytest.MonkeyPatch, n_bytes: int) -> None:
    patch.setattr(nifti, "SLAB_BYTES", n_bytes)
    patch.setattr(itk, "SLAB_BYTES", n_bytes)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from([".nii.gz", ".nii", ".mha", ".nrrd"]),
    st.sampled_from([np.int16, np.uint8, np.float32, np.float64, np.int32]),
    st.integers(1, 11),
    st.integers(1, 500),
    st.sampled_from(AXIS_ORDERS),
)
def test_the_same_voxels_whatever_the_slab(
    tmp_path: Path, suffix: str, dtype: type, n_slices: int, n_bytes: int, order: object
) -> None:
    """Formats, types, storage orders; slabs of one slice, of several, of all, and a last one that is shorter."""
    direction = axis_angle((1, 2, 3), 13.0) @ signed_permutation(order)  # type: ignore[arg-type]
    array: npt.NDArray[Any] = (np.arange(n_slices * SLICE) % 200).reshape(n_slices, 6, 7).astype(dtype)
    path = write_itk(tmp_path / f"{suffix.count('.')}{suffix}", array, grid((n_slices, 6, 7), direction=direction))
    whole = read_image(path)
    assert np.array_equal(whole.native.to_stored(whole.volume.array), array)
    assert np.array_equal(read_in_slabs(path, n_bytes), whole.volume.array)
    assert min(whole.volume.array.strides) > 0  # numpy crawls where an array runs against its memory


def test_a_slab_is_no_larger_than_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """11 slices of 84 bytes in slabs of 200: five of two slices and one of one, in every format."""
    in_slabs_of(monkeypatch, 200)
    for suffix, open_format in FORMATS.items():
        path = write_itk(tmp_path / f"scan{suffix}", np.zeros((11, 6, 7), np.int16), grid((11, 6, 7)))
        assert [len(slab) for slab in open_format(path).slabs()] == [2] * 5 + [1]
        path.unlink()


def test_faults_of_any_slab_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """NaN in two slabs are counted together; a label in the last slab is named; a fault of the packing too."""
    in_slabs_of(monkeypatch, 200)
    hu = np.zeros((9, 6, 7), np.float32)
    hu[0, 0, 0], hu[8, 5, 6] = np.nan, np.inf
    for suffix in (".nii.gz", ".mha"):
        assert fault(read_image, write_itk(tmp_path / f"nan{suffix}", hu)).startswith("2 voxels are NaN or infinite")
    labels = np.zeros((9, 6, 7), np.uint8)
    labels[8, 5, 6] = 7
    assert fault(read_labels, write_itk(tmp_path / "labels.nii.gz", labels)).startswith("label values 0, 7;")
    packed = write_itk(tmp_path / "packed.nii.gz", np.arange(9 * SLICE, dtype=np.int16).reshape(9, 6, 7))
    raw = bytearray(packed.read_bytes())
    raw[len(raw) // 2 : len(raw) // 2 + 40] = bytes(40)
    packed.write_bytes(raw)
    assert "expected" in fault(read_image, packed)
    cut = gzip.decompress(write_itk(tmp_path / "cut.nii.gz", np.zeros_like(hu)).read_bytes())[:-100]
    (tmp_path / "cut.nii.gz").write_bytes(gzip.compress(cut))
    assert fault(read_image, tmp_path / "cut.nii.gz").startswith("ends after")


def test_wide_values_are_clipped_not_wrapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """70000 HU is 32767, never 4464; halves round to even."""
    in_slabs_of(monkeypatch, 100)
    hu = np.tile(np.array([70000.0, -70000.0, 0.5, 1.5, -2.5, 3.0]), (4, 2, 1))
    found = read_image(write_itk(tmp_path / "wide.nii", hu)).volume.array
    assert set(np.unique(found)) == {32767, -32768, 0, 2, -2, 3}
