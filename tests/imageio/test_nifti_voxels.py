"""NIfTI voxels are read by us and its grid by ITK: every type, scale and place of the voxels as ITK reads them."""

from __future__ import annotations

import gzip
import struct
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import Literal

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from bisc.core.errors import InputError
from bisc.imageio import read_image, read_labels, read_size, write_image
from bisc.imageio.formats.nifti import open_nifti
from tests.support.grids import fault

SIZE = (4, 5, 6)
TYPES = ("u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8")
SCALES = (
    None, (0.0, 0.0), (1.0, 0.0), (1.0, 0.3), (2.0, -1024.0), (1.37, 0.3), (-1.0, float("nan")),
    (float("nan"), 0.0), (1e-20, 0.0),
)  # fmt: skip
TWO_WAYS = ((0.0, -1024.0), (float("nan"), -1024.0), (float("inf"), 3.0))
"""Without a slope ITK adds the intercept, and nibabel does not."""
STARTS = (0, 352, 400)
"""Where voxels begin; 0 is common, and means the header's end."""


def written(path: Path, kind: np.dtype[np.generic], scale: tuple[float, float] | None, start: int) -> Path:
    """Voxels of any size that the type holds, up to 2e8, behind a header of nibabel's."""
    order: Literal["<", ">"] = "<" if kind.byteorder in "<=|" else ">"
    header = nib.Nifti1Header(endianness=order)
    header.set_data_dtype(kind)
    header.set_data_shape(SIZE)
    for put in (header.set_sform, header.set_qform):
        put(np.diag([0.7, 0.8, 3.0, 1.0]), 1)
    header["magic"], header["vox_offset"] = b"n+1", start
    if scale is not None:
        header["scl_slope"], header["scl_inter"] = scale
    values = np.random.default_rng(3).integers(0 if kind.kind == "u" else -100, 100, SIZE)
    values = values * {1: 1, 2: 300}.get(kind.itemsize, 2_000_003)
    raw = header.binaryblock.ljust(start, b"\0") + values.astype(kind).tobytes(order="F")
    path.write_bytes(gzip.compress(raw, 1) if path.suffix == ".gz" else raw)
    return path


@pytest.mark.parametrize("endian", "<>")
@pytest.mark.parametrize("kind", TYPES)
def test_voxels_are_itks(tmp_path: Path, kind: str, endian: Literal["<", ">"]) -> None:
    """To the bit and in the same type, for each scale, start and packing."""
    for i, (scale, start, suffix) in enumerate(product(SCALES, STARTS, (".nii", ".nii.gz"))):
        path = written(tmp_path / f"{i}{suffix}", np.dtype(kind).newbyteorder(endian), scale, start)
        theirs = sitk.ReadImage(str(path))
        stored = open_nifti(path)
        ours = np.concatenate(list(stored.slabs()))
        assert np.array_equal(ours, sitk.GetArrayViewFromImage(theirs)), (scale, start, suffix)
        assert ours.dtype.newbyteorder("=") == sitk.GetArrayViewFromImage(theirs).dtype
        assert stored.geometry.spacing_mm_zyx == theirs.GetSpacing()[::-1]


@pytest.mark.parametrize("scale", TWO_WAYS)
def test_an_intercept_without_a_slope_is_refused(tmp_path: Path, scale: tuple[float, float]) -> None:
    path = written(tmp_path / "a.nii", np.dtype("<i2"), scale, 352)
    with pytest.raises(InputError, match="some readers add it, others do not"):
        list(open_nifti(path).slabs())


def test_reading_nifti_needs_no_dicom_library(tmp_path: Path) -> None:
    """pydicom takes 0.2 s to import, nibabel as long: neither is, before a file needs it."""
    path = written(tmp_path / "a.nii.gz", np.dtype("<i2"), None, 352)
    code = (
        "import sys; from pathlib import Path; from bisc.imageio import read_image; from bisc.imageio.inputs import "
        f"find_inputs; read_image(find_inputs(Path({str(tmp_path)!r}))[0].path); "
        "print({'pydicom', 'nibabel', 'torch'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert path.is_file()
    assert done.stdout.strip() == "set()"


def test_a_quaternion_longer_than_one_is_a_rotation(tmp_path: Path) -> None:
    """(0, 0, 1.5) is half a turn about z, as nifti1_io and so ITK take it, and agrees with a sform that says so."""
    image = nib.Nifti1Image(np.zeros(SIZE, np.int16), np.diag([-0.7, -0.8, 3.0, 1.0]))
    image.header.set_qform(image.affine, 1)
    image.header["quatern_d"] = 1.5
    nib.save(image, tmp_path / "a.nii")
    stored = open_nifti(tmp_path / "a.nii").geometry
    assert stored.direction == pytest.approx(np.eye(3).ravel())


def test_complex_voxels_are_refused(tmp_path: Path) -> None:
    """Which of two numbers would be HU is not guessed."""
    nib.save(nib.Nifti1Image(np.zeros(SIZE, np.complex64), np.eye(4)), tmp_path / "a.nii.gz")
    assert fault(open_nifti, tmp_path / "a.nii.gz").startswith("complex voxels; expected one real value (HU)")


def test_a_size_is_read_without_a_notice(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Reading the file will tell of it."""
    path = tmp_path / "a.nii"
    nib.save(nib.Nifti1Image(np.zeros(SIZE, np.int16), None), path)
    assert read_size(path).shape_zyx == SIZE[::-1]
    assert capfd.readouterr().err == ""
    read_image(path)
    assert "no orientation in its header" in capfd.readouterr().err


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("said", [0, 348])
@pytest.mark.parametrize("start", [348, 352])
def test_a_start_within_the_header_is_told_by_the_length(tmp_path: Path, suffix: str, said: int, start: int) -> None:
    """The standard allows none before byte 352; ITK takes byte 348, and read each voxel as its second neighbour."""
    path = written(tmp_path / f"a{suffix}", np.dtype("<i2"), None, start)
    whole = np.concatenate(list(open_nifti(path).slabs()))
    patched(path, said)
    assert np.array_equal(np.concatenate(list(open_nifti(path).slabs())), whole)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_start_that_nothing_tells_is_refused(tmp_path: Path, suffix: str) -> None:
    """Zeros or extensions behind the header, or bytes behind the voxels: where these begin is not guessed."""
    path = written(tmp_path / f"a{suffix}", np.dtype("<i2"), None, 364)
    patched(path, 0)
    assert "do not tell where" in fault(read_image, path)
    path = written(tmp_path / f"a{suffix}", np.dtype("<i2"), None, 352)
    patched(path, 0, flag=b"\1")
    assert "do not tell where" in fault(read_image, path)
    for said in (349, 351.9, 352.5, -1, 4, float("nan"), 1e30):
        patched(path, said)
        assert fault(read_image, path).startswith("cannot be read (its header lets voxels begin at byte")


def patched(path: Path, start: float, flag: bytes = b"\0") -> None:
    """Another vox_offset, and the first of the four bytes behind a header of 348."""
    packed = path.suffix == ".gz"
    raw = bytearray(gzip.decompress(path.read_bytes()) if packed else path.read_bytes())
    raw[108:112] = struct.pack("<f", start)
    if flag != b"\0":
        raw[348:349] = flag
    path.write_bytes(gzip.compress(bytes(raw), 1) if packed else raw)


@pytest.mark.parametrize("codes", [(0, 0), (0, 1), (1, 0), (1, 2)])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_mask_lies_where_its_image_lies(tmp_path: Path, codes: tuple[int, int], suffix: str) -> None:
    """For ITK and for nibabel, which places what has no codes about its middle, mirrored."""
    image = nib.Nifti1Image(np.zeros(SIZE, np.int16), np.diag([-0.7, -0.8, 3.0, 1.0]))
    image.set_qform(image.affine, codes[0])
    image.set_sform(image.affine, codes[1])
    nib.save(image, str(tmp_path / "ct.nii.gz"))
    read = read_image(tmp_path / "ct.nii.gz")
    mask = np.zeros(read.volume.geometry.shape_zyx, np.uint8)
    mask[0, 0, 0] = 1
    write_image(tmp_path / f"mask{suffix}", mask, read.native)
    ours, theirs = nib.load(tmp_path / f"mask{suffix}"), nib.load(tmp_path / "ct.nii.gz")
    assert ours.affine == pytest.approx(theirs.affine, abs=1e-6)
    assert np.array_equal(np.asarray(ours.dataobj) > 0, read.native.to_stored(mask).T > 0)
    ours, theirs = (sitk.ReadImage(str(tmp_path / name)) for name in (f"mask{suffix}", "ct.nii.gz"))
    for place in ("GetOrigin", "GetDirection", "GetSpacing"):
        assert getattr(ours, place)() == pytest.approx(getattr(theirs, place)(), abs=1e-6)
    assert read_labels(tmp_path / f"mask{suffix}").volume.array.sum() == 1


@pytest.mark.parametrize("name", ["ct.Nii.Gz", "ct.nii.GZ", "ct.Nii", "ct.NII.GZ"])
def test_capitals_in_a_suffix(tmp_path: Path, name: str, capfd: pytest.CaptureFixture[str]) -> None:
    """ITK knows small letters and capitals, and no mixture of the two."""
    path = written(tmp_path / f"ct.nii{'.gz' if name.lower().endswith('gz') else ''}", np.dtype("i2"), None, 352)
    expected = read_image(path)
    path.rename(tmp_path / name)
    image = read_image(tmp_path / name)
    assert np.array_equal(image.volume.array, expected.volume.array)
    assert image.volume.geometry == expected.volume.geometry
    assert capfd.readouterr().err == ""
