"""NRRD and MetaImage headers: what ITK dies of, waits over, or reads otherwise than they say is refused or told of."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from bisc.imageio import read_image
from tests.robustness.fuzz_worker import Worker, shared_worker
from tests.support.grids import fault
from tests.support.noticed import noticed
from tests.support.text_headers import write_meta, write_nrrd


@pytest.fixture(scope="module")
def worker() -> Worker:
    return shared_worker()


@pytest.mark.parametrize("suffix", ["mha", "mhd"])
@pytest.mark.parametrize("cut", [10, 0])
def test_packed_voxels_of_a_meta_image(tmp_path: Path, suffix: str, cut: int) -> None:
    """Cut short or with a flipped bit ITK takes whatever lay in its memory; the name may be of any letters."""
    voxels = np.random.default_rng(0).integers(-1000, 1000, (9, 10, 11)).astype(np.int16)
    path = tmp_path / f"\u8154 {suffix}.{suffix}"
    sitk.WriteImage(sitk.GetImageFromArray(voxels), str(path), useCompression=True)
    assert np.array_equal(read_image(path).volume.array, voxels)
    data = path.with_suffix(".zraw") if suffix == "mhd" else path
    raw = bytearray(data.read_bytes())
    raw[-40] ^= 0 if cut else 1
    data.write_bytes(raw[: len(raw) - cut])
    assert re.search("bytes unpacked|packed bytes|File cannot be read", fault(read_image, path))


META_FAULTS = {
    "NDims = 4000000000": ("NDims = 3", "header line"),  # ended the interpreter (SIGSEGV)
    "NDims = -1": ("NDims = 3", "header line"),
    "NDims = 3\nElementToIntensityFunctionSlope = 2": ("NDims = 3", "some readers heed"),
    "NDims = 3\nElementToIntensityFunctionOffset = -1024": ("NDims = 3", "some readers heed"),
    "TransformMatrix = 1 0 0 0 1 0 0 1e308 1": ("TransformMatrix = 1 0 0 0 1 0 0 0 1", "header line"),  # hung
    "TransformMatrix = 1 0 0 0 1 0 0 nan 1": ("TransformMatrix = 1 0 0 0 1 0 0 0 1", "header line"),
    "TransformMatrix = 1 0 0": ("TransformMatrix = 1 0 0 0 1 0 0 0 1", "header line"),
    "ElementSpacing = 2 3": ("ElementSpacing = 2 3 4", "header line"),
    "Comment = none": ("ElementSpacing = 2 3 4", "gives no spacing"),  # ITK takes 1 mm
    "NDims = 3\nNDims = 3": ("NDims = 3", "header line"),
    "TransformMatrix: 1 0 0 0 1 0 0 1e308 1 = 1": ("TransformMatrix = 1 0 0 0 1 0 0 0 1", "header line"),  # hung
    "transformmatrix = 1 0 0 0 1 0 0 1e308 1": ("TransformMatrix = 1 0 0 0 1 0 0 0 1", "header line"),
    "elementspacing = 2 3 4": ("ElementSpacing = 2 3 4", "header line"),  # ITK takes 1 mm, as in the next one
    "ElementSpacing = 2 3 1_0": ("ElementSpacing = 2 3 4", "header line"),
    "NDims = 3\nHeaderSize = 10": ("NDims = 3", "begin at byte 10"),  # the header's text came as voxels
    "NDims = 3\nDistanceUnits = cm": ("NDims = 3", "header line"),
    "DimSize = 6.5 5 4": ("DimSize = 6 5 4", "header line"),
    "NDims = 3\nOffset = 1 2 3\nPosition = 7 8 9": ("NDims = 3", "says Offset and Position"),
    "NDims = 3\nCompressedData = True": ("NDims = 3", "no CompressedDataSize"),  # heap as voxels, as in the next one
    "NDims = 3\nCompressedData = True\nCompressedDataSize = 240": ("NDims = 3", "damaged, after 0 bytes"),
    "NDims = 3" + "".join(f"\n{i} =" for i in range(6000)): ("NDims = 3", "no ElementDataFile"),  # 1 GB for 110000
    "NDims = 3\nCompressedDataSize = 99999999": ("NDims = 3", "99999999 packed bytes"),  # allocated
    "NDims = 3\nCompressedDataSize = 999999999999999999999999": ("NDims = 3", "header line"),
}
NRRD_FAULTS = {  # each was read with a spacing of 1 mm
    "(0,1e308,0)": ("(0,3,0)", "header line"),
    "(1e155,3,0)": ("(0,3,0)", "header line"),
    "(nan,nan,nan)": ("(0,3,0)", "header line"),
    "none": ("(0,3,0)", "a spacing for 2 axes"),
    "spacings: 2 nan 4": ("space directions: (2,0,0) (0,3,0) (0,0,4)", "header line"),
    "spacings: 2 3 1_0": ("space directions: (2,0,0) (0,3,0) (0,0,4)", "header line"),
    "(nan,nan,nan)\r#": ("(0,3,0)", "header line"),
    '(0,3,0) (0,0,4)\nspace units: "cm" "cm" "cm"\n# ': ("(0,3,0)", "header line"),
    "space: RAST": ("space: left-posterior-superior", "header line"),  # its left was right
    "space: right-anterior-superior-time": ("space: left-posterior-superior", "header line"),
    "endian: little\nbyte skip: -100": ("endian: little", "header line"),  # the header's text came as voxels
    "endian: little\nspace origin: (1,2,3)(4,5,6)": ("endian: little", "header line"),
    "endian: little\nspace origin: none": ("endian: little", "header line"),
    "dimension: 11": ("dimension: 3", "header line"),  # ended the interpreter, as does the next one
    'endian: little\nlabels: "' + "x" * 1100 + '"': ("endian: little", "header line"),
    "endian: little" + "\n# x" * 6000: ("endian: little", "header line"),
    "# nothing": ("space directions: (2,0,0) (0,3,0) (0,0,4)", "a spacing for 0 axes"),
    "endian: little\nspace origin: (1e308,0,0)": ("endian: little", "header line"),
    "endian: little\nendian: little": ("endian: little", "header line"),
}


@pytest.mark.parametrize("new", META_FAULTS)
def test_meta_image_headers_that_itk_bends_or_dies_of(tmp_path: Path, worker: Worker, new: str) -> None:
    """In a process of its own, since some ended the interpreter, and one never came back."""
    assert read_image(write_meta(tmp_path)).volume.geometry.spacing_mm_zyx == (4.0, 3.0, 2.0)
    old, message = META_FAULTS[new]
    write_meta(tmp_path, old, new)
    verdict = worker.read("mha", tmp_path)
    assert verdict.kind == "refused"
    assert message in verdict.detail


SOUND_META = (
    ("ElementSpacing", "ElementSize"),
    (" = ", " : "),
    ("NDims = 3", "Comment = M\u00fcller\tand co\n\nNDims = 3\nOther = 1\nOther = 1"),
    ("NDims = 3", "HeaderSize = -1\nNDims = 3"),
    ("\n", "\r\n"),
)
SOUND_NRRD = (
    (") (", ")("),
    ("(2,0,0) (0,3,0)", "( 2. , 0,0)\t(0,+3e0,-0.0)"),
    ("encoding", "centers: cell ??? cell\nkinds: domain domain ???\nthicknesses: NaN NaN 3\nencoding"),
    ("encoding", "# note: of \u00fc\nkey:=value: 1\nencoding"),
    ("\n", "\r\n"),
)


@pytest.mark.parametrize("change", range(len(SOUND_META)))
def test_meta_image_headers_of_other_writers(tmp_path: Path, change: int) -> None:
    image = read_image(write_meta(tmp_path, *SOUND_META[change]))
    assert image.volume.geometry.spacing_mm_zyx == (4.0, 3.0, 2.0)


@pytest.mark.parametrize("change", range(len(SOUND_NRRD)))
def test_nrrd_headers_of_other_writers(tmp_path: Path, change: int) -> None:
    image = read_image(write_nrrd(tmp_path, *SOUND_NRRD[change]))
    assert image.volume.geometry.spacing_mm_zyx == (4.0, 3.0, 2.0)


@pytest.mark.parametrize("new", NRRD_FAULTS)
def test_nrrd_headers_that_itk_bends(tmp_path: Path, new: str) -> None:
    assert read_image(write_nrrd(tmp_path)).volume.geometry.spacing_mm_zyx == (4.0, 3.0, 2.0)
    old, message = NRRD_FAULTS[new]
    assert message in fault(read_image, write_nrrd(tmp_path, old, new))


def test_a_header_without_orientation_is_told_of(tmp_path: Path) -> None:
    """ITK takes the axes for LPS, which for all it knows are RAS."""
    matrix = "TransformMatrix = 1 0 0 0 1 0 0 0 1\n"
    placed = "space: left-posterior-superior\nsizes: 6 5 4\nspace directions: (2,0,0) (0,3,0) (0,0,4)"
    for path in (write_meta(tmp_path, matrix), write_nrrd(tmp_path, placed, "sizes: 6 5 4\nspacings: 2 3 4")):
        with noticed("no orientation in its header; taken as LPS"):
            assert read_image(path).volume.geometry.spacing_mm_zyx == (4.0, 3.0, 2.0)
    with noticed("no orientation in its header"):
        read_image(write_nrrd(tmp_path, "left-posterior-superior", "scanner-xyz"))
    turned = read_image(write_nrrd(tmp_path, "left-posterior-superior", "RAS")).native.geometry
    assert turned.direction == (-1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0)
