"""Headers that ask for the impossible or for other files are refused before ITK obeys them."""

from __future__ import annotations

import gzip
import struct
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from fuzz_readers import SHAPE_ZYX, seed_files
from fuzz_worker import Worker, shared_worker
from grids import fault, write_itk

from bisc.core.notices import Notice
from bisc.imageio import read_image
from bisc.imageio.header import MAX_VOXELS, checked_reader

META = """ObjectType = Image
NDims = 3
DimSize = 6 5 4
ElementType = MET_SHORT
ElementSpacing = 2 3 4
TransformMatrix = 1 0 0 0 1 0 0 0 1
"""
NRRD = """NRRD0004
type: short
dimension: 3
space: left-posterior-superior
sizes: 6 5 4
space directions: (2,0,0) (0,3,0) (0,0,4)
endian: little
encoding: raw
"""
PROMISE = "30000 x 30000 x 30000"


@pytest.fixture(scope="module")
def worker() -> Worker:
    return shared_worker()


def scan(folder: Path, suffix: str) -> Path:
    """A sound file of 4 x 5 x 6 voxels."""
    for name, data in seed_files(suffix).items():
        (folder / name).write_bytes(data)
    return folder / f"scan.{suffix}"


def enlarged(path: Path, edge: int) -> None:
    """Let a file's header promise edge x edge x edge voxels."""
    data, text = path.read_bytes(), f"{edge} {edge} {edge}".encode()
    if path.name.endswith(".nii.gz"):
        data = gzip.decompress(data)
    if ".nii" in path.name:
        data = data[:42] + struct.pack("<3h", edge, edge, edge) + data[48:]
    data = data.replace(b"sizes: 6 5 4", b"sizes: " + text).replace(b"DimSize = 6 5 4", b"DimSize = " + text)
    path.write_bytes(gzip.compress(data) if path.name.endswith(".nii.gz") else data)


@pytest.mark.parametrize("suffix", ["nii", "nii.gz", "nrrd", "mha", "mhd"])
def test_a_small_file_that_promises_a_large_one(tmp_path: Path, worker: Worker, suffix: str) -> None:
    """27 000 billion voxels, and a billion, which would fit `MAX_VOXELS`: no memory is asked for either."""
    path = scan(tmp_path, suffix)
    enlarged(path, 30000)
    verdict = worker.read(suffix, tmp_path)
    assert verdict.kind == "refused"
    assert f"its header promises {PROMISE} voxels; expected at most {MAX_VOXELS}" in verdict.detail
    scan(tmp_path, suffix)
    enlarged(path, 1000)
    verdict = worker.read(suffix, tmp_path)
    assert verdict.kind == "refused"
    assert "its header promises 1000 x 1000 x 1000 voxels, 2000000000 bytes, in a file of" in verdict.detail


def test_a_dicom_slice_that_promises_a_large_one(tmp_path: Path, worker: Worker) -> None:
    for name, data in seed_files("dicom slice").items():
        for element, edge in ((b"\x10", 4), (b"\x11", 5)):  # rows and columns
            head = b"\x28\x00" + element + b"\x00\x02\x00\x00\x00"
            assert head + bytes([edge, 0]) in data
            data = data.replace(head + bytes([edge, 0]), head + b"\xff\xff")
        (tmp_path / name).write_bytes(data)
    verdict = worker.read("dicom slice", tmp_path)
    assert verdict.kind == "refused"
    assert "its header promises 65535 x 65535" in verdict.detail


def test_a_gzip_bomb_is_not_unpacked(tmp_path: Path, worker: Worker) -> None:
    """Two gigabytes of zeros behind the header of 1000 voxels, in 2 MB: refused long before their end."""
    path = scan(tmp_path, "nii.gz")
    assert worker.read("nii.gz", tmp_path).kind == "read"
    enlarged(path, 10)
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    head = packer.compress(gzip.decompress(path.read_bytes())) + packer.flush(zlib.Z_FULL_FLUSH)
    zeros = packer.compress(bytes(64 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    path.write_bytes(head + zeros * 32 + packer.flush())  # after a full flush the same bytes mean the same again
    begin = time.monotonic()
    assert worker.read("nii.gz", tmp_path).kind == "refused"
    assert time.monotonic() - begin < 3.0  # the whole takes ten


@pytest.mark.parametrize(
    "name",
    [
        "../secret.raw",
        "{folder}/secret.raw",
        "LIST",
        "LIST 2",
        "x%03d.raw 1 2 1",
        "sub/secret.raw",
        "..",
        "",
        "link.raw",
    ],
)
@pytest.mark.parametrize("suffix", ["mha", "mhd", "nrrd"])
def test_voxels_outside_the_file_and_its_folder_are_not_read(tmp_path: Path, suffix: str, name: str) -> None:
    """By a path upwards or absolute, a list, a pattern, a folder below, or a link that leads out."""
    home = tmp_path / "home"
    (home / "sub").mkdir(parents=True)
    secret = np.full(SHAPE_ZYX, 7, np.int16).tobytes()
    for place in (tmp_path / "secret.raw", home / "sub" / "secret.raw", home / "x001.raw"):
        place.write_bytes(secret)
    (home / "link.raw").symlink_to(tmp_path / "secret.raw")
    named = name.format(folder=tmp_path)
    path = home / f"scan.{suffix}"
    head = f"{NRRD}data file: {named}\n\n" if suffix == "nrrd" else f"{META}ElementDataFile = {named}\n"
    path.write_text(head)
    assert "its header sends the reader to" in fault(read_image, path)
    beside = home / "voxels.raw"
    beside.write_bytes(secret)
    path.write_text(
        head.replace(f": {named}\n\n", ": voxels.raw\n\n").replace(f"File = {named}\n", "File = voxels.raw\n")
    )
    assert (read_image(path).volume.array == 7).all()


def test_a_second_data_file_is_no_way_round(tmp_path: Path) -> None:
    """Keys in other letters, hidden behind a carriage return, or doubled."""
    (tmp_path / "secret.raw").write_bytes(np.full(SHAPE_ZYX, 7, np.int16).tobytes())
    home = tmp_path / "home"
    home.mkdir()
    for text in (
        f"{META}Comment = a\rElementDataFile = ../secret.raw\nElementDataFile = LOCAL\n",
        f"{META}elementdatafile = ../secret.raw\n",
        f"{META}ElementDataFile : ../secret.raw\nElementDataFile = LOCAL\n",
        f"{META}XElementDataFile = LOCAL\nElementDataFile = ../secret.raw\n",
        f"{META}ElementDataFile: ../secret.raw = LOCAL\n",
    ):
        (home / "a.mha").write_text(text + "\0" * 240)
        assert fault(read_image, home / "a.mha").startswith("cannot be read (")
    for text in (
        f"{NRRD}datafile: ../secret.raw\n\n",
        f"{NRRD}Data File: ../secret.raw\n\n",
        f"{NRRD}# x\rdata file: ../secret.raw\n\n",
        f"{NRRD}content: x\rdata file: ../secret.raw\n\n",
        f"{NRRD}a:=x\rdata file: ../secret.raw\n\n",
        f"{NRRD}data file: ../secret.raw\n\n".replace("\n", "\r"),
        NRRD + "# long\n" * (1 << 18) + "data file: ../secret.raw\n\n",
        f"{NRRD}DATAFILE: LIST\n../secret.raw\n",
        f"{NRRD}data file: ../secret.raw\ndata file: a.nrrd\n\n",
    ):
        (home / "a.nrrd").write_text(text)
        assert fault(read_image, home / "a.nrrd").startswith("cannot be read (")


def write_meta(folder: Path, old: str = "", new: str = "") -> Path:
    path = folder / "scan.mha"
    path.write_bytes(f"{META.replace(old, new)}ElementDataFile = LOCAL\n".encode() + bytes(240))
    return path


def write_nrrd(folder: Path, old: str = "", new: str = "") -> Path:
    path = folder / "scan.nrrd"
    path.write_bytes(f"{NRRD.replace(old, new)}\n".encode() + bytes(240))
    return path


META_FAULTS = {
    "NDims = 4000000000": ("NDims = 3", "header line"),  # ended the interpreter (SIGSEGV)
    "NDims = -1": ("NDims = 3", "header line"),
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
        with pytest.warns(Notice, match="no orientation in its header; taken as LPS"):
            assert read_image(path).volume.geometry.spacing_mm_zyx == (4.0, 3.0, 2.0)
    with pytest.warns(Notice, match="no orientation in its header"):
        read_image(write_nrrd(tmp_path, "left-posterior-superior", "scanner-xyz"))
    turned = read_image(write_nrrd(tmp_path, "left-posterior-superior", "RAS")).native.geometry
    assert turned.direction == (-1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0)


def test_a_nifti_pair_is_refused(tmp_path: Path) -> None:
    """`ni1` sends ITK to an .img beside the header."""
    path = scan(tmp_path, "nii")
    data = path.read_bytes()
    path.write_bytes(data[:344] + b"ni1\0" + data[348:])
    path.with_suffix(".img").write_bytes(data[352:])
    assert fault(read_image, path).startswith("cannot be read (no NIfTI header")


def test_a_line_that_itk_dies_of(tmp_path: Path, worker: Worker) -> None:
    """Found by the fuzz: a long number in a vector ended the interpreter (SIGSEGV)."""
    path = scan(tmp_path, "nrrd")
    head, gap, rest = path.read_bytes().partition(b"space directions: (")
    path.write_bytes(head + gap + b"080000000000000004," * 500 + rest)
    verdict = worker.read("nrrd", tmp_path)
    assert verdict.kind == "refused"
    assert "header line 'space directions" in verdict.detail


@pytest.mark.parametrize("suffix", ["nii", "nii.gz", "nrrd", "mha"])
def test_a_name_decides_which_parser_sees_a_file(tmp_path: Path, suffix: str) -> None:
    """Twenty formats of ITK's stay out of reach: a DICOM file, a TIFF and the others' formats under another name."""
    path = tmp_path / f"scan.{suffix}"
    image = sitk.GetImageFromArray(np.zeros((4, 5), np.uint8))
    for other in ("tif", "png", "dcm", "vtk", "gipl", "nii", "nrrd", "mha"):
        if other == suffix:
            continue
        sitk.WriteImage(image, str(tmp_path / f"other.{other}"))
        path.write_bytes((tmp_path / f"other.{other}").read_bytes())
        assert fault(read_image, path).startswith("cannot be read (")


@pytest.mark.parametrize("suffix", ["nii", "nii.gz", "nrrd", "mha", "mhd"])
def test_itk_is_held_to_that_parser(tmp_path: Path, suffix: str) -> None:
    """Left to itself it would ask each of its formats in turn whether it likes the file."""
    reader = checked_reader(scan(tmp_path, suffix), f".{suffix}")
    assert reader.GetImageIO() == {"nrrd": "NrrdImageIO", "mha": "MetaImageIO", "mhd": "MetaImageIO"}.get(
        suffix, "NiftiImageIO"
    )


def test_tightly_packed_files_are_not_taken_for_bombs(tmp_path: Path) -> None:
    """An empty label map packs nearly as well as deflate can: 64 MB in 65 kB."""
    path = write_itk(tmp_path / "empty.nii.gz", np.zeros((128, 512, 512), np.int16))
    packed = gzip.compress(gzip.decompress(path.read_bytes()), 9)
    path.write_bytes(packed)
    assert len(packed) < (64 << 20) / 1000
    assert not read_image(path).volume.array.any()
