"""Images that bisc_predict meets: files that are damaged, or no CT in HU; and odd ones that are fine."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk

from bisc.core.geometry import Geometry
from bisc.core.volume import NativeGrid
from tests.robustness.hostile_dicom import BAD_DICOM, ODD_DICOM
from tests.robustness.hostile_kinds import (
    DIM,
    PIXDIM,
    SFORM_CODE,
    SROW,
    XYZT_UNITS,
    CaseKind,
    hu,
    labels,
    patch,
    scaled,
    scan,
    voxels,
)

Make = Callable[[Path, str], Path]


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


def values(change: Callable[[np.ndarray], np.ndarray], suffix: str = ".nii.gz") -> Make:
    """The sound patient's voxels, changed."""
    return lambda folder, case: voxels(folder / f"{case}{suffix}", np.asarray(change(hu())))


def hole(value: float) -> Make:
    def change(array: np.ndarray) -> np.ndarray:
        out = array.astype(np.float32)
        out[3, 20, 20:23] = value
        return out

    return values(change)


def itk(array: np.ndarray, vector: bool = False, suffix: str = ".nii.gz") -> Make:
    def make(folder: Path, case: str) -> Path:
        path = folder / f"{case}{suffix}"
        sitk.WriteImage(sitk.GetImageFromArray(array, isVector=vector), str(path))
        return path

    return make


def window(array: np.ndarray) -> np.ndarray:
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


def series(folder: Path, skip: tuple[int, ...] = (), uid: str = "1.2.3", array: np.ndarray | None = None) -> Path:
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
        writer.SetFileName(str(folder / f"{uid}_{i:03d}.dcm"))
        writer.Execute(image)
    return folder


def two_series(folder: Path, case: str) -> Path:
    series(folder / case)
    return series(folder / case, uid="1.2.4")


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


SMALL = np.zeros((6, 7, 8), np.int16)
NAN = float("nan")
BAD_IMAGES = (
    CaseKind("gzip cut short", spoilt(cut), "ends after"),
    CaseKind("gzip overwritten in the middle", spoilt(overwritten), "damaged gzip"),
    CaseKind("gzip with other bytes behind it", spoilt(lambda raw: raw + b"trailing"), "damaged gzip"),
    CaseKind("gzip with a wrong checksum", spoilt(bad_checksum), "damaged gzip"),
    CaseKind("one flipped bit in a large file", large_flipped, "damaged gzip"),
    CaseKind("zero bytes", content(b""), "it is empty"),
    CaseKind("text named .nii.gz", content(b"not an image"), "not gzip"),
    CaseKind("gzip of text", content(gzip.compress(b"text " * 200)), "no NIfTI header"),
    CaseKind("text named .nrrd", content(b"text", ".nrrd"), "no NRRD header"),
    CaseKind("gzip named .nii", content(gzip.compress(bytes(400)), ".nii"), "name it .nii.gz"),
    CaseKind("a header of no known format", header(344, "<4s", b"xxxx"), "no NIfTI header: its mark"),
    CaseKind("an .mha of four billion axes", text_header(".mha", "NDims = 3", "NDims = 4000000000"), "header line"),
    CaseKind("an .mha without spacing", text_header(".mha", "ElementSpacing", "Comment"), "gives no spacing"),
    CaseKind("an .nrrd without spacing", text_header(".nrrd", "space directions", "#"), "a spacing for 0 axes"),
    CaseKind("a size of 0 in the header", header(DIM, "<2h", 3, 0), "its header gives the sizes (0, 64, 64)"),
    CaseKind("NaN voxels", hole(NAN), "3 voxels are NaN or infinite"),
    CaseKind("infinite voxels", hole(float("inf")), "3 voxels are NaN or infinite"),
    CaseKind("a 2-D image", itk(SMALL[0]), "2 dimensions"),
    CaseKind("a 4-D image of two volumes", itk(np.zeros((2, 4, 5, 6), np.int16)), "4 dimensions"),
    CaseKind("RGB voxels", itk(np.zeros((4, 5, 6, 3), np.uint8), vector=True, suffix=".nrrd"), "3 values per voxel"),
    CaseKind("complex voxels", itk(SMALL.astype(np.complex64)), "complex voxels"),
    CaseKind("spacing 0", unplaced(PIXDIM, "<f", 0.0), "its header gives the spacing 0 x"),
    CaseKind("spacing negative", header(PIXDIM, "<f", -5.0), "its header gives the spacing -5 x"),
    CaseKind("spacing NaN", unplaced(PIXDIM, "<f", NAN), "its header gives the spacing nan x"),
    CaseKind("orientation NaN", header(SROW, "<f", NAN), "orientation is NaN"),
    CaseKind("two spacings in one header", header(PIXDIM, "<f", 1.0), "gives two spacings"),
    CaseKind("spacing in metres", undeclared(0.001), "its spacing is 0.005 x 0.004 x 0.004 mm"),
    CaseKind("spacing in micrometres", undeclared(1000.0), "its spacing is 5000 x 4000 x 4000 mm"),
    CaseKind("mm declared to be metres", header(XYZT_UNITS, "<b", 1), "is it in metres"),
    CaseKind("HU stored unsigned with 1024 added", values(lambda a: (a + 1024).astype(np.uint16)), "subtract 1024"),
    CaseKind("inverted intensities", values(lambda a: (-a).astype(np.int16)), "invert it if air is bright"),
    CaseKind("intensities scaled to 0..1", values(lambda a: (a > 0).astype(np.float32)), "scaled to 0..1"),
    CaseKind("a windowed picture (0..255)", values(window), "a picture's grey values"),
    CaseKind("intensities normalised to mean 0", values(lambda a: (a / 200.0).astype(np.float32)), "normalised"),
    CaseKind("HU clipped at 0", values(lambda a: np.clip(a * 3, 0, 700)), "no fat and no air"),
    CaseKind("a label map instead of an image", lambda f, c: voxels(f / f"{c}.nii.gz", labels()), "none below 0"),
    CaseKind("NIfTI-2 cut short", spoilt_nifti2(lambda raw: raw[:-5000]), "ends after"),
    CaseKind("NIfTI-2 of size 0", spoilt_nifti2(put(16, "<2q", 3, 0)), "its header gives the sizes (0, 64, 64)"),
    CaseKind("NIfTI-2 of spacing NaN", spoilt_nifti2(put(112, "<d", NAN)), "its header gives the spacing nan x"),
    CaseKind("NIfTI-2 that promises terabytes", spoilt_nifti2(put(16, "<4q", 3, 30000, 30000, 30000)), "at most"),
    CaseKind("NIfTI-2 with voxels in its header", spoilt_nifti2(put(168, "<q", 0)), "lets voxels begin at byte 0"),
    CaseKind("a link in a circle", link("{case}.nii.gz"), "a link that leads nowhere"),
    CaseKind("a dangling link", link("nowhere.nii.gz"), "a link that leads nowhere"),
    CaseKind("a folder named x.nii.gz", folder_named_so, "0 DICOM series"),
    CaseKind("one case in two formats", two_formats, "would be written over"),
    CaseKind("a DICOM folder with two series", two_series, "2 DICOM series"),
    CaseKind("a DICOM series without a slice", lambda f, c: series(f / c, skip=(7,)), "lie 10 mm apart"),
    CaseKind("a DICOM series of mixed sizes", mixed_sizes, "its slices differ in size"),
    CaseKind("a DICOM slice cut short", cut_slice(4, 900), "1.2.3_004.dcm is damaged"),
    CaseKind("a DICOM slice that asks for gigabytes", slice_of_gigabytes, "1.2.3_003.dcm is damaged"),
    CaseKind("the last DICOM slice cut short", cut_slice(-1, 4000, "IM24"), "IM24 is damaged"),
    CaseKind("the last DICOM slice of zero bytes", cut_slice(-1, 0), "1.2.3_023.dcm is damaged"),
)
BAD_IMAGES += BAD_DICOM
ODD_IMAGES = (
    CaseKind("gzip padded with zeros", spoilt(lambda raw: raw + bytes(5000))),
    CaseKind("a single slice", thin(1)),
    CaseKind("2000 slices", thin(2000)),
    CaseKind("every voxel the same (noted in predictions.csv)", values(np.zeros_like)),
    CaseKind("nothing but air (noted in predictions.csv)", values(lambda a: (a // 50 - 1000).astype(np.int16))),
    CaseKind("padded with -3024 and 0", padded),
    CaseKind("cropped to the body", cropped),
    CaseKind("HU as float64", values(lambda a: a + 0.25)),
    CaseKind("a 4-D image of one volume", one_volume_of_four),
    CaseKind("metres declared as such", true_metres),
    CaseKind("NIfTI-2", spoilt_nifti2(lambda raw: raw)),
    CaseKind("NIfTI-2 in big-endian float", spoilt_nifti2(lambda raw: raw, ">f4")),
    CaseKind("blanks in the name", named("case of  7 May")),
    CaseKind("Unicode in the name", named("Fälle_腎臓_№1")),
    CaseKind("a leading dash in the name", named("-rf")),
    CaseKind("a name of 200 letters", named("n" * 200)),
    CaseKind("other files beside DICOM", with_other_files),
    *ODD_DICOM,
)
CASE_OF = {"blanks in the name": "case of  7 May", "Unicode in the name": "Fälle_腎臓_№1"}
CASE_OF |= {"a leading dash in the name": "-rf", "a name of 200 letters": "n" * 200}
"""Cases that bear a name of their own."""
