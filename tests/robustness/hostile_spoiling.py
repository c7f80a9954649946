"""What spoils an image or makes an odd one of it: each gives a function that writes the file of a case."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pydicom
import SimpleITK as sitk

from bisc.core.geometry import Geometry
from bisc.core.volume import NativeGrid
from tests.robustness.hostile_kinds import (
    SFORM_CODE,
    XYZT_UNITS,
    hu,
    patch,
    scaled,
    scan,
    voxels,
)

Make = Callable[[Path, str], Path]
Hu = npt.NDArray[np.int16]
Voxels = npt.NDArray[np.generic]


def spoilt(change: Callable[[bytes], bytes]) -> Make:
    """A sound file whose bytes are changed."""

    def make(folder: Path, case: str) -> Path:
        path = scan(folder / f"{case}.nii.gz")
        path.write_bytes(bytes(change(path.read_bytes())))
        return path

    return make


def spoilt_nifti2(change: Callable[[bytes], bytes], dtype: str = "<i2") -> Make:
    """The sound patient as NIfTI-2, its unpacked bytes changed."""

    def make(folder: Path, case: str) -> Path:
        path = scan(folder / f"{case}.nii.gz")
        old = nib.load(path)
        header = nib.Nifti2Header(endianness=dtype[0])
        header.set_data_dtype(dtype)
        new = nib.Nifti2Image(np.asarray(old.dataobj), old.affine, header)
        new.set_qform(old.affine, 1)
        nib.save(new, path)
        path.write_bytes(gzip.compress(change(gzip.decompress(path.read_bytes())), 1))
        return path

    return make


def put(at: int, form: str, *values: object) -> Callable[[bytes], bytes]:
    """Header fields overwritten."""

    def change(raw: bytes) -> bytes:
        out = bytearray(raw)
        struct.pack_into(form, out, at, *values)
        return bytes(out)

    return change


def cut(raw: bytes) -> bytes:
    return raw[: len(raw) // 2]


def overwritten(raw: bytes) -> bytes:
    middle = len(raw) // 2
    return raw[:middle] + bytes(40) + raw[middle + 40 :]


def bad_checksum(raw: bytes) -> bytes:
    return raw[:-8] + bytes([raw[-8] ^ 255]) + raw[-7:]


def large_flipped(folder: Path, case: str) -> Path:
    """Far beyond its header, where ITK alone notices nothing."""
    noise = np.random.default_rng(0).integers(-1000, 1000, (32, 128, 128)).astype(np.int16)
    path = voxels(folder / f"{case}.nii.gz", noise, NativeGrid.of(Geometry((32, 128, 128), (5.0, 3.0, 3.0))))
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(bytes(raw))
    return path


def content(data: bytes, suffix: str = ".nii.gz") -> Make:
    def make(folder: Path, case: str) -> Path:
        path = folder / f"{case}{suffix}"
        path.write_bytes(data)
        return path

    return make


def header(at: int, form: str, *values: object) -> Make:
    return lambda folder, case: patch(scan(folder / f"{case}.nii.gz"), at, form, *values)


def unplaced(at: int, form: str, *values: object) -> Make:
    """A header without any orientation matrix, where only the spacing's own field counts."""
    return lambda folder, case: patch(
        patch(scan(folder / f"{case}.nii.gz"), SFORM_CODE - 2, "<2h", 0, 0), at, form, *values
    )


def values(change: Callable[[Hu], Voxels], suffix: str = ".nii.gz") -> Make:
    """The sound patient's voxels, changed."""
    return lambda folder, case: voxels(folder / f"{case}{suffix}", np.asarray(change(hu())))


def hole(value: float) -> Make:
    def change(array: Hu) -> Voxels:
        out = array.astype(np.float32)
        out[3, 20, 20:23] = value
        return out

    return values(change)


def spoilt_slices(added: int, times: int = 1) -> Callable[[Hu], Voxels]:
    """Slices 9 to 11 as `times` what they were and `added`, or the tenth alone where anything is added."""

    def change(array: Hu) -> Voxels:
        spoilt = array[10:11] if added else array[9:12]
        spoilt[:] = spoilt * times + added
        return array

    return change


def itk(array: Voxels, vector: bool = False, suffix: str = ".nii.gz") -> Make:
    def make(folder: Path, case: str) -> Path:
        path = folder / f"{case}{suffix}"
        sitk.WriteImage(sitk.GetImageFromArray(array, isVector=vector), str(path))
        return path

    return make


def window(array: Hu) -> Voxels:
    """The grey values of a picture: -160..240 HU to 0..255."""
    return np.clip((array + 160.0) * 255 / 400, 0, 255).astype(np.uint8)


def link(target: str) -> Make:
    def make(folder: Path, case: str) -> Path:
        path = folder / f"{case}.nii.gz"
        path.symlink_to(target.format(case=case))
        return path

    return make


def folder_named_so(folder: Path, case: str) -> Path:
    path = folder / f"{case}.nii.gz"
    path.mkdir()
    (path / "notes.txt").write_text("no image")
    return path


def two_formats(folder: Path, case: str) -> Path:
    scan(folder / f"{case}.nii.gz")
    return scan(folder / f"{case}.nrrd")


def series(folder: Path, skip: tuple[int, ...] = (), uid: str = "1.2.3", array: Voxels | None = None) -> Path:
    """A DICOM series of the sound patient, one file a slice."""
    folder.mkdir(exist_ok=True)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for i, axial in enumerate(hu() if array is None else array):
        if i in skip:
            continue
        image = sitk.GetImageFromArray(np.ascontiguousarray(axial))
        image.SetSpacing((4.0, 4.0))
        place = {"0020|0032": f"0\\0\\{5 * i}", "0020|0037": "1\\0\\0\\0\\1\\0", "0020|0013": str(i)}
        for key, value in {"0008|0060": "CT", "0020|000e": uid, "0008|0018": f"{uid}.{i + 1}", **place}.items():
            image.SetMetaData(key, value)
        path = folder / f"{uid}_{i:03d}.dcm"
        writer.SetFileName(str(path))
        writer.Execute(image)
        written = pydicom.dcmread(path)
        if "SpacingBetweenSlices" in written:  # ITK writes a 1 of its own once it has read a series in this process
            del written.SpacingBetweenSlices
            written.save_as(path)
    return folder


def two_series(skip: tuple[int, ...] = ()) -> Make:
    """Both in one folder, of one study."""

    def make(folder: Path, case: str) -> Path:
        for uid in ("1.2.31", "1.2.32"):
            series(folder / case, uid=uid, skip=skip)
        for path in (folder / case).iterdir():
            data = pydicom.dcmread(path)
            data.StudyInstanceUID = "1.2.9"
            data.save_as(path)
        return folder / case

    return make


def mixed_sizes(folder: Path, case: str) -> Path:
    series(folder / case, skip=(5,))
    return series(folder / case, skip=tuple(i for i in range(24) if i != 5), array=hu()[:, :32])


def cut_slice(number: int, n_bytes: int, name: str = "") -> Make:
    """One slice of a series ends early, under its own name or another."""

    def make(folder: Path, case: str) -> Path:
        path = sorted(series(folder / case).iterdir())[number]
        path.write_bytes(path.read_bytes()[:n_bytes])
        if name:
            path.rename(path.with_name(name))
        return folder / case

    return make


def text_header(suffix: str, old: str, new: str) -> Make:
    """A header that is text, with one change."""

    def make(folder: Path, case: str) -> Path:
        path = scan(folder / f"{case}{suffix}")
        raw = path.read_bytes()
        assert raw.count(old.encode()) == 1
        path.write_bytes(raw.replace(old.encode(), new.encode()))
        return path

    return make


def slice_of_gigabytes(folder: Path, case: str) -> Path:
    """One changed letter in a slice's first kilobyte, upon which GDCM asks for gigabytes."""
    path = sorted(series(folder / case).iterdir())[3]
    path.write_bytes(path.read_bytes().replace(b"\2\0\2\0UI", b"\2\0\2\0EI"))
    return folder / case


def with_other_files(folder: Path, case: str) -> Path:
    series(folder / case)
    (folder / case / "notes.txt").write_text("seen by Dr. X")
    (folder / case / "DICOMDIR").write_bytes(b"no index")
    (folder / case / "thumbnails").mkdir()
    return folder / case


def padded(folder: Path, case: str) -> Path:
    array = hu()
    array[:, :3] = -3024
    array[:, -3:] = 0
    return voxels(folder / f"{case}.nii.gz", array)


def cropped(folder: Path, case: str) -> Path:
    """To the kidneys and the fat between them: no air."""
    grid = Geometry((24, 40, 60), (5.0, 4.0, 4.0))
    return voxels(folder / f"{case}.nii.gz", hu()[:, 12:52, 2:62], NativeGrid.of(grid))


def thin(n: int) -> Make:
    """`n` slices of the patient's middle, 12 x 12 voxels in plane."""
    grid = NativeGrid.of(Geometry((n, 12, 12), (0.8, 3.0, 3.0)))
    array = np.full((n, 12, 12), -100, np.int16)
    middle = slice(max(0, n // 2 - 60), n // 2 + 60)  # no kidney is longer than 10 cm
    array[middle, 5:8, 5:8] = 40
    return lambda folder, case: voxels(folder / f"{case}.nii.gz", array, grid)


def one_volume_of_four(folder: Path, case: str) -> Path:
    path = scan(folder / f"{case}.nii.gz")
    sitk.WriteImage(sitk.JoinSeries([sitk.ReadImage(str(path))]), str(path))
    return path


def true_metres(folder: Path, case: str) -> Path:
    return patch(scaled(scan(folder / f"{case}.nii.gz"), 0.001), XYZT_UNITS, "<b", 1)


def undeclared(factor: float) -> Make:
    return lambda folder, case: scaled(scan(folder / f"{case}.nii.gz"), factor)


def named(name: str) -> Make:
    return lambda folder, case: scan(folder / f"{name}.nii.gz")
