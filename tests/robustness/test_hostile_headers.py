"""Headers that ask for the impossible or for other files are refused before ITK obeys them."""

from __future__ import annotations

import gzip
import os
import struct
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from bisc.core.errors import InputError
from bisc.imageio import read_image, read_labels, read_stored_geometry
from bisc.imageio.inputs import find_inputs
from bisc.imageio.plausible import MAX_VOXELS
from tests.robustness.fuzz_readers import SHAPE_ZYX
from tests.robustness.fuzz_seeds import seed_files
from tests.robustness.fuzz_worker import Worker, shared_worker
from tests.support.grids import fault, write_itk
from tests.support.text_headers import META, NRRD, write_meta

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
    assert verdict.kind == "refused", verdict.detail
    assert f"its header promises {PROMISE} voxels; expected at most {MAX_VOXELS}" in verdict.detail
    scan(tmp_path, suffix)
    enlarged(path, 1000)
    verdict = worker.read(suffix, tmp_path)
    assert verdict.kind == "refused", verdict.detail
    assert "its header promises 1000 x 1000 x 1000 voxels, 2000000000 bytes, in a file of" in verdict.detail


def test_a_dicom_slice_that_promises_a_large_one(tmp_path: Path, worker: Worker) -> None:
    for name, data in seed_files("dicom slice").items():
        for element, edge in ((b"\x10", 4), (b"\x11", 5)):  # rows and columns
            head = b"\x28\x00" + element + b"\x00\x02\x00\x00\x00"
            assert head + bytes([edge, 0]) in data
            data = data.replace(head + bytes([edge, 0]), head + b"\xff\xff")
        (tmp_path / name).write_bytes(data)
    verdict = worker.read("dicom slice", tmp_path)
    assert verdict.kind == "refused", verdict.detail
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
    verdict = worker.read("nii.gz", tmp_path)
    assert verdict.kind == "refused", verdict.detail
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


def test_names_and_kinds_that_itk_ends_or_waits_over(tmp_path: Path) -> None:
    """Names that are no UTF-8 ended the interpreter, one in a folder the whole run; a pipe waits for ever."""
    (tmp_path / "good").mkdir()
    write_meta(tmp_path / "good")
    odd = tmp_path / "good" / os.fsdecode(b"\xff.mha")
    odd.write_bytes((tmp_path / "good" / "scan.mha").read_bytes())
    folder = tmp_path / os.fsdecode(b"k\xff")
    folder.mkdir()
    (folder / "a.dcm").write_bytes(bytes(200))
    for read in (read_image, read_labels, read_stored_geometry):
        with pytest.raises(InputError, match=r"udcff\.mha: its name is no UTF-8"):
            read(odd)
    cases = find_inputs(tmp_path)
    assert all(case.name.isprintable() for case in cases)
    faults = {case.path.name: case.fault for case in (*cases, *find_inputs(tmp_path / "good"))}
    assert str(faults[folder.name]).startswith(f"{tmp_path}/k\\udcff: its name is no UTF-8")
    assert faults["scan.mha"] is None
    os.mkfifo(tmp_path / "pipe.mha")
    assert "is a pipe or a device" in fault(read_image, tmp_path / "pipe.mha")


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
    assert verdict.kind == "refused", verdict.detail
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
def test_itk_is_held_to_that_parser(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Left to itself it would ask each of its formats in turn whether it likes the file."""
    seen: list[str] = []
    read = sitk.ImageFileReader.ReadImageInformation

    def spy(reader: sitk.ImageFileReader) -> None:
        seen.append(reader.GetImageIO())
        read(reader)

    monkeypatch.setattr(sitk.ImageFileReader, "ReadImageInformation", spy)
    read_image(scan(tmp_path, suffix))
    assert seen == [{"nrrd": "NrrdImageIO", "mha": "MetaImageIO", "mhd": "MetaImageIO"}.get(suffix, "NiftiImageIO")]


def test_tightly_packed_files_are_not_taken_for_bombs(tmp_path: Path) -> None:
    """An empty label map packs nearly as well as deflate can: 64 MB in 65 kB."""
    path = write_itk(tmp_path / "empty.nii.gz", np.zeros((128, 512, 512), np.int16))
    packed = gzip.compress(gzip.decompress(path.read_bytes()), 9)
    path.write_bytes(packed)
    assert len(packed) < (64 << 20) / 1000
    assert not read_image(path).volume.array.any()
