"""NIfTI-2 is read as its NIfTI-1 twin is: the same voxels in the same places, the same faults in the same words."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pytest

from bisc.core.errors import InputError
from bisc.core.geometry import AxisOrder
from bisc.imageio import read_image, read_labels, read_size, read_stored_geometry, write_image
from bisc.imageio.formats import nifti as slabs_module
from tests.support.grids import AXIS_ORDERS, axis_angle, fault, signed_permutation

Endian = Literal["<", ">"]
BYTE_ORDERS: tuple[tuple[Endian, str], ...] = (("<", ".nii.gz"), (">", ".nii"))
SIZE = (7, 6, 5)
VOXELS = np.arange(np.prod(SIZE)).reshape(SIZE) - 100
BOTH = {1: (nib.Nifti1Image, nib.Nifti1Header), 2: (nib.Nifti2Image, nib.Nifti2Header)}
START, DIMS, PIXDIM, SLOPE, SFORM_CODE, QUATERN, SROW, UNITS = 168, 16, 104, 176, 348, 352, 400, 500
"""Where these fields lie in a NIfTI-2 header."""


def ras(order: AxisOrder, degrees: float = 11.0) -> npt.NDArray[Any]:
    """(4, 4) of an anisotropic oblique grid stored in this order."""
    out = np.eye(4)
    turned = axis_angle((1, 2, -1.5), degrees) @ signed_permutation(order)
    out[:3, :3] = np.diag([-1.0, -1.0, 1.0]) @ turned @ np.diag([0.7, 0.8, 3.0])
    out[:3, 3] = 12.5, -30.25, 411.0
    return out


def write(
    path: Path,
    version: int,
    affine: npt.NDArray[Any] | None = None,
    endian: Endian = "<",
    voxels: npt.NDArray[Any] = VOXELS,
    dtype: str = "i2",
    slope: float | None = None,
    codes: tuple[int, int] = (1, 1),
    unit: str = "mm",
) -> Path:
    """A file of nibabel's making; the same call with the other version makes its twin."""
    image_type, header_type = BOTH[version]
    affine = ras(AXIS_ORDERS[5]) if affine is None else affine
    header = header_type(endianness=endian)
    header.set_data_dtype(np.dtype(dtype).newbyteorder(endian))
    image = image_type(voxels, affine, header)
    image.set_sform(affine, codes[0])
    image.set_qform(affine, codes[1])
    image.header.set_xyzt_units(unit)
    if slope is not None:
        image.header.set_slope_inter(slope, -1024.0)
    nib.save(image, path)
    assert struct.unpack_from(f"{endian}i", raw(path))[0] == (348 if version == 1 else 540)
    return path


def raw(path: Path) -> bytes:
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()


def patched(path: Path, at: int, form: str, *values: object) -> Path:
    changed = bytearray(raw(path))
    struct.pack_into(form, changed, at, *values)
    path.write_bytes(gzip.compress(bytes(changed), 1) if path.suffix == ".gz" else bytes(changed))
    return path


def check_twins(one: Path, two: Path) -> None:
    """Voxels, both grids to the bit, the header alone, and the size before reading."""
    first, second = read_image(one), read_image(two)
    assert np.array_equal(first.volume.array, second.volume.array)
    assert first.volume.geometry == second.volume.geometry
    assert first.native == second.native
    assert read_stored_geometry(two) == second.native.geometry
    assert read_size(one) == read_size(two)
    assert second.path == two


@pytest.mark.parametrize("order", AXIS_ORDERS, ids=str)
def test_twins_in_all_axis_orders(tmp_path: Path, order: AxisOrder) -> None:
    """Oblique, in each of 48 orders, either endianness, packed or not; and a mask goes back onto the input's grid."""
    for endian, suffix in BYTE_ORDERS:
        one, two = (write(tmp_path / f"{v}{suffix}", v, ras(order), endian) for v in (1, 2))
        check_twins(one, two)
    image = read_image(two)
    write_image(tmp_path / "mask.nii.gz", np.ones(image.volume.array.shape, np.uint8), image.native)
    mask = nib.load(tmp_path / "mask.nii.gz")
    assert mask.shape == nib.load(two).shape
    assert mask.affine == pytest.approx(nib.load(two).affine, abs=1e-4)


@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "f4", "f8"])
@pytest.mark.parametrize("slope", [None, 2.0, 0.5])
@pytest.mark.parametrize("endian", "<>")
def test_twins_of_every_type_and_scale(tmp_path: Path, dtype: str, slope: float | None, endian: Endian) -> None:
    """scl_slope and scl_inter, which NIfTI-2 keeps as doubles elsewhere, count as they do in NIfTI-1."""
    one, two = (write(tmp_path / f"{v}.nii.gz", v, None, endian, np.abs(VOXELS) % 100, dtype, slope) for v in (1, 2))
    check_twins(one, two)


@pytest.mark.parametrize("codes", [(0, 1), (1, 0), (2, 1), (1, 2), (4, 4)])
@pytest.mark.parametrize("unit", ["mm", "meter", "micron", "unknown"])
def test_twins_of_every_form_and_unit(tmp_path: Path, codes: tuple[int, int], unit: str) -> None:
    """Which form counts is decided as for NIfTI-1; lengths may be given in other units."""
    affine = ras(AXIS_ORDERS[5])
    affine[:3] *= {"meter": 1e-3, "micron": 1e3}.get(unit, 1.0)
    one, two = (write(tmp_path / f"{v}.nii", v, affine, codes=codes, unit=unit) for v in (1, 2))
    check_twins(one, two)


def test_labels_and_large_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A label map; and a file that is read in slabs, from the copy, while it is there."""
    labels = np.abs(VOXELS) % 3
    one, two = (write(tmp_path / f"labels{v}.nii.gz", v, voxels=labels, dtype="u1") for v in (1, 2))
    assert np.array_equal(read_labels(one).volume.array, read_labels(two).volume.array)
    monkeypatch.setattr(slabs_module, "SLAB_BYTES", 100)
    check_twins(*(write(tmp_path / f"slabs{v}.nii.gz", v, dtype="f4") for v in (1, 2)))


def test_extensions_are_skipped(tmp_path: Path) -> None:
    """Voxels begin where the header says, behind what some program put between."""
    images = []
    for version in (1, 2):
        image = BOTH[version][0](VOXELS.astype(np.int16), ras(AXIS_ORDERS[0]))
        image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"seen by Dr. X" * 9))
        nib.save(image, tmp_path / f"{version}.nii.gz")
        images.append(read_image(tmp_path / f"{version}.nii.gz").volume.array)
    assert np.array_equal(images[0], images[1])
    assert images[1].min() == -100


def test_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The copy is gone after reading, whether it went well or not; a full disk is said in one line."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    good = write(tmp_path / "a.nii.gz", 2)
    bad = write(tmp_path / "b.nii.gz", 2)
    bad.write_bytes(gzip.compress(raw(bad)[:-20]))
    read_image(good)
    assert "ends after" in fault(read_image, bad)
    assert list(temporary.iterdir()) == []

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    assert fault(read_image, good).startswith("its header cannot be copied into a temporary folder")
    monkeypatch.setattr("tempfile.tempdir", str(temporary))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    assert fault(read_image, good).startswith("its header cannot be copied into a temporary folder (No")
    assert list(temporary.iterdir()) == []


NAN = float("nan")
FAULTS = [
    ("a size of 0", DIMS, "<2q", (3, 0), "cannot be read (its header gives the sizes (0, 6, 5))"),
    ("a negative size", DIMS, "<2q", (3, -7), "cannot be read (its header gives the sizes (-7, 6, 5))"),
    ("no axes", DIMS, "<q", (0,), "cannot be read (its header gives the sizes ())"),
    ("a size beyond NIfTI-1", DIMS, "<2q", (3, 1 << 40), "cannot be read (its header gives the sizes (1099511627776, "),
    ("more voxels than it holds", DIMS, "<4q", (3, 900, 900, 900), "cannot be read (its header promises 900 x 900 x 9"),
    ("more voxels than we take", DIMS, "<4q", (3, 9000, 9000, 9000), "its header promises 9000 x 9000 x 9000 voxels"),
    ("spacing NaN", PIXDIM + 8, "<d", (NAN,), "its header gives the spacing nan x 0.8 x 3"),
    ("spacing 0", PIXDIM + 8, "<d", (0.0,), "its header gives the spacing 0 x 0.8 x 3"),
    ("spacing beyond float32", PIXDIM + 8, "<d", (1e300,), "its header gives the spacing inf x 0.8 x 3"),
    ("spacing below float32", PIXDIM + 8, "<d", (1e-300,), "its header gives the spacing 0 x 0.8 x 3"),
    ("two spacings", PIXDIM + 24, "<d", (5.0,), "its header gives two spacings: 0.7 x 0.8 x 5 (pixdim)"),
    ("orientation NaN", SROW + 8, "<d", (NAN,), "its header's orientation is NaN or infinite"),
    ("forms apart", SROW + 24, "<d", (80.0,), "sform and qform place voxels up to"),
    ("voxels within the header", START, "<q", (348,), "cannot be read (its header lets voxels begin at byte 348"),
    (
        "voxels nowhere",
        START,
        "<q",
        (1 << 50,),
        "cannot be read (its header lets voxels begin at byte 1125899906842624",
    ),
    ("voxels beyond the end", START, "<q", (4096,), "ends after 964 bytes; expected 4516 bytes"),
    ("another mark", 4, "<4s", (b"ni2\0",), "cannot be read (no NIfTI header: its mark is b'ni2"),
    ("an unknown type", 12, "<h", (9999,), "cannot be read (a NIfTI header of another kind)"),
]


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize(("name", "at", "form", "values", "told"), FAULTS, ids=[f[0] for f in FAULTS])
def test_bad_headers_are_told(
    tmp_path: Path, name: str, at: int, form: str, values: tuple[object, ...], told: str, suffix: str
) -> None:
    """In one line that names the file, not the copy."""
    path = patched(write(tmp_path / f"a{suffix}", 2), at, form, *values)
    message = fault(read_image, path)
    assert message.startswith(told), message
    assert "bisc-nifti" not in message


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        ("cut short", lambda b: gzip.compress(b[:-100]), "ends after 864 bytes; expected 964 bytes"),
        ("header cut short", lambda b: gzip.compress(b[:400]), "cannot be read (no NIfTI header: it ends after 400"),
        ("gzip cut short", lambda b: gzip.compress(b)[:-40], "ends after 920 bytes; expected 964 bytes"),
        ("a wrong checksum", lambda b: gzip.compress(b)[:-8] + bytes(8), "damaged gzip, after "),
        (
            "a bomb",
            lambda b: gzip.compress(b + bytes(9 << 20)),
            "holds more than 2 times what its header promises",
        ),
    ],
)
def test_damaged_files_are_told(tmp_path: Path, name: str, change: Callable[[bytes], bytes], told: str) -> None:
    """As a NIfTI-1 file's damage is, to the byte."""
    path = write(tmp_path / "a.nii.gz", 2)
    path.write_bytes(change(raw(path)))
    message = fault(read_image, path)
    assert message.startswith(told), message


@pytest.mark.parametrize("endian", "<>")
def test_voxels_that_are_no_numbers(tmp_path: Path, endian: Endian) -> None:
    """Two NaN and an infinity, in either byte order."""
    voxels = VOXELS.astype(np.float32)
    voxels[1, 2, 2:4] = NAN
    voxels[3, 3, 3] = np.inf
    path = write(tmp_path / "a.nii.gz", 2, endian=endian, voxels=voxels, dtype="f4")
    with pytest.raises(InputError, match="3 voxels are NaN or infinite"):
        read_image(path)
