"""Files that hold more, fewer or other voxel bytes than their header promises, in each format that is no DICOM."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from bisc.imageio import read_image
from tests.support.grids import fault, itk_image
from tests.support.text_headers import META, NRRD

VOXELS = np.arange(1, 121, dtype=np.int16).reshape(4, 5, 6)
RAW = VOXELS.tobytes()
"""240 bytes: slices of 40, 48 and 60 bytes along the three axes."""
Write = Callable[[Path, bytes], Path]


def nii(folder: Path, data: bytes) -> Path:
    path = folder / "a.nii"
    nib.save(nib.Nifti1Image(VOXELS.T, np.diag([-2.0, -3.0, 4.0, 1.0])), path)
    path.write_bytes(path.read_bytes()[:352] + data)
    return path


def nii_gz(folder: Path, data: bytes) -> Path:
    path = folder / "a.nii.gz"
    path.write_bytes(gzip.compress(nii(folder, data).read_bytes()))
    return path


def nrrd(folder: Path, data: bytes, head: str = NRRD) -> Path:
    path = folder / "a.nrrd"
    path.write_bytes(f"{head}\n".encode() + data)
    return path


def nrrd_gzip(folder: Path, data: bytes) -> Path:
    return nrrd(folder, gzip.compress(data), NRRD.replace("raw", "gzip"))


def nrrd_detached(folder: Path, data: bytes) -> Path:
    (folder / "v.raw").write_bytes(data)
    return nrrd(folder, b"", f"{NRRD}data file: v.raw\n")


def mha(folder: Path, data: bytes, more: str = "", named: str = "LOCAL") -> Path:
    path = folder / ("a.mha" if named == "LOCAL" else "a.mhd")
    head = f"{META}BinaryData = True\n{more}ElementDataFile = {named}\n".encode()
    path.write_bytes(head + data if named == "LOCAL" else head)
    (folder / "v.raw").write_bytes(data)
    return path


def mhd(folder: Path, data: bytes) -> Path:
    return mha(folder, data, named="v.raw")


def mha_packed(folder: Path, data: bytes, size_off: int = 0) -> Path:
    packed = zlib.compress(data)
    return mha(folder, packed, f"CompressedData = True\nCompressedDataSize = {len(packed) + size_off}\n")


WRITERS = (nii, nii_gz, nrrd, nrrd_gzip, nrrd_detached, mha, mhd, mha_packed)


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("rest", [b"", b"\n", b"checksum", bytes(16), bytes(272), bytes(9649)])
def test_stray_bytes_and_padding_are_no_voxels(tmp_path: Path, write: Write, rest: bytes) -> None:
    """Zeros fill files up to whole blocks; not even an end of line follows where nothing does."""
    assert np.array_equal(read_image(write(tmp_path, RAW + rest)).volume.array, VOXELS)


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize(
    "rest", [RAW, bytes(240), bytes(720), RAW[:60], bytes(60), bytes(48), bytes(40), b"x" * 17, bytes(30) + b"x"]
)
def test_a_rest_that_may_be_voxels_is_refused(tmp_path: Path, write: Write, rest: bytes) -> None:
    """A wider type, a second volume, slices, rows or columns that the header forgets: zeros in many a label map."""
    found = f"holds {len(rest)} bytes behind the 240 of the voxels that its header promises"
    assert fault(read_image, write(tmp_path, RAW + rest)).startswith(found)


@pytest.mark.parametrize("write", WRITERS)
def test_a_file_much_longer_than_promised_is_not_followed(tmp_path: Path, write: Write) -> None:
    assert "more than 2 times what its header promises" in fault(read_image, write(tmp_path, RAW + bytes(2 << 20)))


@pytest.mark.parametrize("write", WRITERS)
def test_a_file_of_fewer_bytes_is_refused(tmp_path: Path, write: Write) -> None:
    assert fault(read_image, write(tmp_path, RAW[:-1])).startswith("ends after")


@pytest.mark.parametrize("at", range(0, 100, 4))
def test_a_damaged_packed_nrrd_is_refused(tmp_path: Path, at: int) -> None:
    """ITK stops where it has bytes enough, and never sees the checksum behind them: 55 of 60 files were read."""
    noise = np.random.default_rng(1).integers(-1000, 1000, (10, 20, 30)).astype(np.int16)
    path = tmp_path / "a.nrrd"
    sitk.WriteImage(itk_image(noise), str(path), useCompression=True)
    assert np.array_equal(read_image(path).volume.array, noise)
    raw = bytearray(path.read_bytes())
    begin = raw.index(b"\n\n") + 12
    i = begin + (len(raw) - begin) * at // 100
    raw[i] ^= 0x10
    path.write_bytes(raw)
    assert fault(read_image, path).startswith(("damaged gzip, after", "ends ", "holds"))


def test_a_packed_nrrd_of_several_members_or_skips(tmp_path: Path) -> None:
    """Lines are skipped in the file, bytes in what it unpacks to, as by ITK; zeros may follow, a checksum must."""
    head = NRRD.replace("raw", "gz")
    skips = f"{head}line skip: 2\nbyte skip: 3\n"
    (tmp_path / "v.gz").write_bytes(b"one\r\ntwo\n" + gzip.compress(b"abc" + RAW))
    whole = gzip.compress(RAW[:100]) + gzip.compress(RAW[100:])
    for path in (
        nrrd(tmp_path, whole, head),
        nrrd(tmp_path, whole + bytes(3000), head),
        nrrd(tmp_path, (tmp_path / "v.gz").read_bytes(), skips),
        nrrd(tmp_path, b"", f"{skips}data file: v.gz\n"),
        nrrd(tmp_path, b"one\ntwo\nabc" + RAW, f"{NRRD}line skip: 2\nbyte skip: 3\n"),
        nrrd(tmp_path, " ".join(map(str, VOXELS.ravel())).encode(), NRRD.replace("raw", "ascii")),
    ):
        assert np.array_equal(read_image(path).volume.array, VOXELS)
    assert fault(read_image, nrrd(tmp_path, whole[:-8], head)).startswith("ends before its gzip checksum")
    assert fault(read_image, nrrd(tmp_path, RAW, head)).startswith("damaged gzip, after 0 bytes")


def test_a_meta_image_that_skips_bytes(tmp_path: Path) -> None:
    """-1 means the file's last bytes; behind a header of its own these must be all."""
    for skip, data in ((7, b"1234567" + RAW), (-1, b"any header" + RAW), (-1, RAW)):
        path = mha(tmp_path, data, f"HeaderSize = {skip}\n", "v.raw")
        assert np.array_equal(read_image(path).volume.array, VOXELS)
    assert np.array_equal(read_image(mha(tmp_path, RAW, "HeaderSize = -1\n")).volume.array, VOXELS)
    told = fault(read_image, mha(tmp_path, RAW + b"\n", "HeaderSize = -1\n"))
    assert told.startswith("its voxels are the last 240 of the 241 bytes behind its header")


def test_a_meta_image_that_gives_too_few_packed_bytes(tmp_path: Path) -> None:
    """ITK unpacks no more, and takes whatever lay in its memory for the rest."""
    assert np.array_equal(read_image(mha_packed(tmp_path, RAW, 0)).volume.array, VOXELS)
    assert fault(read_image, mha_packed(tmp_path, RAW, -20)).startswith("ends after")


@pytest.mark.parametrize("encoding", ["raw", "gzip"])
@pytest.mark.parametrize(
    ("sizes", "steps", "kinds"), [("1 6 5 4", "none {}", "list {}"), ("6 5 4 1", "{} none", "{} list")]
)
def test_a_nrrd_with_an_axis_of_length_1_too_many(
    tmp_path: Path, sizes: str, steps: str, kinds: str, encoding: str
) -> None:
    """As a one-frame sequence, and a vector of one component: ITK calls its voxels vectors."""
    directions, kinds = steps.format("(2,0,0) (0,3,0) (0,0,4)"), kinds.format("domain domain domain")
    head = (
        f"NRRD0004\ntype: short\ndimension: 4\nspace: left-posterior-superior\nsizes: {sizes}\n"
        f"space directions: {directions}\nkinds: {kinds}\nendian: little\nencoding: {encoding}\nspace origin: (0,0,0)\n"
    )
    path = nrrd(tmp_path, gzip.compress(RAW) if encoding == "gzip" else RAW, head)
    assert np.array_equal(read_image(path).volume.array, VOXELS)


def test_a_meta_image_as_text(tmp_path: Path) -> None:
    """It takes more bytes than its voxels would."""
    path, text = tmp_path / "a.mha", " ".join(map(str, VOXELS.ravel()))
    path.write_text(f"{META}BinaryData = False\nElementDataFile = LOCAL\n{text}\n")
    assert np.array_equal(read_image(path).volume.array, VOXELS)
