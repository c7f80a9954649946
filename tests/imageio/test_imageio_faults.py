"""Every fault of a file is told in one line that names it; nothing is made up in silence."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from bisc.core.errors import InputError
from bisc.imageio import check_same_grid, read_image, read_labels, read_stored_geometry, write_image
from tests.support.grids import fault, grid, write_itk

SUFFIXES = [".nii.gz", ".nii", ".nrrd", ".mha"]


@pytest.mark.parametrize(
    ("values", "told"),
    [([0, 1, 2, 4], "0, 1, 2, 4"), ([-1, 0, 1, 2], "-1, 0, 1, 2"), ([0, 0.5, 1, 2], "0, 0.5, 1, 2")],
)
def test_other_label_values_are_refused(tmp_path: Path, values: list[float], told: str) -> None:
    """The file and its values are named; nothing is guessed."""
    path = write_itk(tmp_path / "bad.nii.gz", np.array(values, np.float32).reshape(1, 2, 2))
    assert fault(read_labels, path).startswith(f"label values {told}; expected 0 background, 1 kidney, 2 tumour")


def test_unusable_images_are_told_in_one_line(tmp_path: Path) -> None:
    """Each names its file, what was found and what is expected."""
    many = write_itk(tmp_path / "many.nii.gz", np.zeros((2, 3, 4, 5), np.int16))
    flat = write_itk(tmp_path / "flat.nii.gz", np.zeros((4, 5), np.int16))
    colour = write_itk(tmp_path / "colour.nrrd", np.zeros((2, 3, 4, 3), np.uint8), vector=True)
    for read in (read_image, read_labels):
        assert fault(read, many).startswith("4 dimensions; expected a 3-D image")
        assert fault(read, flat).startswith("2 dimensions; expected a 3-D image")
        assert fault(read, colour).startswith("3 values per voxel; expected one value")
        assert fault(read, tmp_path / "none.nii.gz").startswith("does not exist")
        assert fault(read, tmp_path).startswith("0 DICOM series; expected exactly one")


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_voxels_that_are_no_numbers_are_counted(tmp_path: Path, suffix: str, kind: type[np.floating]) -> None:
    """ITK reads NaN in NIfTI as 0, which would be water; in the other formats it keeps them."""
    holes = np.zeros((2, 3, 4), kind)
    holes[0, 1, :2] = np.nan, np.inf
    path = write_itk(tmp_path / f"a{suffix}", holes)
    assert fault(read_image, path).startswith("2 voxels are NaN or infinite; expected finite")
    assert "nan" in fault(read_labels, path).lower()


def test_voxels_that_are_no_numbers_in_a_big_endian_file(tmp_path: Path) -> None:
    """Bytes the other way round: neither false alarms nor missed holes."""
    for name, hole in (("whole", 3.5), ("holey", np.nan)):
        array = np.full((2, 3, 4), 3.5, ">f4")
        array[1, 2, 3] = hole
        header = nib.Nifti1Header(endianness=">")
        nib.save(nib.Nifti1Image(array, np.eye(4), header=header), tmp_path / f"{name}.nii.gz")
    assert (read_image(tmp_path / "whole.nii.gz").volume.array == 4).all()
    assert fault(read_image, tmp_path / "holey.nii.gz").startswith("1 voxels are NaN")


def test_files_that_are_no_images(tmp_path: Path) -> None:
    """A text file or an empty one under an image's name."""
    for suffix in SUFFIXES:
        path = tmp_path / f"text{suffix}"
        for content in ("not an image", ""):
            path.write_text(content)
            assert fault(read_image, path).startswith("cannot be read (")
            with pytest.raises(InputError, match="cannot be read"):
                read_stored_geometry(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("keep", [0.3, 0.9, 0.999])
def test_truncated_files_are_refused(tmp_path: Path, rng: np.random.Generator, suffix: str, keep: float) -> None:
    """A broken download: ITK alone reads such a NIfTI file and makes up the rest."""
    noise = rng.integers(-1000, 1000, (20, 30, 40)).astype(np.int16)
    path = write_itk(tmp_path / f"a{suffix}", noise)
    whole = path.read_bytes()
    assert np.array_equal(read_image(path).volume.array, noise)
    path.write_bytes(whole[: int(keep * len(whole))])
    assert fault(read_image, path).startswith(("ends after", "cannot be read"))


def test_gzip_of_several_members_is_whole(tmp_path: Path, rng: np.random.Generator) -> None:
    """Tools like bgzip write many members, so that the last four bytes tell the last one's size alone."""
    noise = rng.integers(-1000, 1000, (20, 30, 40)).astype(np.int16)
    plain = write_itk(tmp_path / "a.nii", noise).read_bytes()
    parts = [plain[:10000], plain[10000:30000], plain[30000:]]
    path = tmp_path / "b.nii.gz"
    path.write_bytes(b"".join(gzip.compress(p) for p in parts))
    assert np.array_equal(read_image(path).volume.array, noise)
    path.write_bytes(b"".join(gzip.compress(p) for p in parts[:2]))
    assert fault(read_image, path).startswith("ends after 30000 bytes; expected 48352 bytes")


def test_scaled_integers_and_header_extensions_are_whole(tmp_path: Path) -> None:
    """The promise counts stored bits and the header's real length, not the values ITK makes of them."""
    image = nib.Nifti1Image(np.arange(24, dtype=np.int16).reshape(2, 3, 4), np.eye(4))
    image.header.set_slope_inter(2, -10)
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"a long note " * 20))
    for name in ("a.nii", "b.nii.gz"):
        nib.save(image, tmp_path / name)
        read = read_image(tmp_path / name).volume.array
        assert read.min() == np.asarray(nib.load(tmp_path / name).dataobj).min()
        assert read.max() == np.asarray(nib.load(tmp_path / name).dataobj).max()


def test_check_same_grid_names_both_files_and_grids(tmp_path: Path) -> None:
    """Size and position: both files, both grids, and how far they are apart."""
    image = read_image(write_itk(tmp_path / "image.mha", np.zeros((2, 3, 4), np.int16), grid((2, 3, 4))))
    sizes = read_labels(write_itk(tmp_path / "size.mha", np.zeros((2, 3, 5), np.uint8), grid((2, 3, 5))))
    moved = grid((2, 3, 4), origin_mm_xyz=(-12.5, 30.25, 412.5))
    shifted = read_labels(write_itk(tmp_path / "shift.mha", np.zeros((2, 3, 4), np.uint8), moved))
    check_same_grid(image, image)
    for labels, how in ((sizes, "another size"), (shifted, "up to 1.5 mm from the image's, on average 0.5 voxels")):
        with pytest.raises(InputError) as caught:
            check_same_grid(image, labels)
        message = str(caught.value)
        assert message.startswith(f"{labels.path}: ")
        for needle in (how, str(image.path), image.native.geometry.describe(), labels.native.geometry.describe()):
            assert needle in message
        assert "\n" not in message


def test_write_refuses_another_shape_and_odd_suffixes(tmp_path: Path) -> None:
    """A transposed array is a defect of ours (ValueError); a name of no format, or of one
    in two files, is an error of one line."""
    case = read_image(write_itk(tmp_path / "a.mha", np.zeros((2, 3, 4), np.int16)))
    with pytest.raises(ValueError, match=r"array is \(4, 3, 2\)"):
        write_image(tmp_path / "b.mha", np.zeros((4, 3, 2)), case.native)
    for name in ("b.strange", "b.mhd", "b.png", "b"):
        with pytest.raises(InputError, match="no image by its name"):
            write_image(tmp_path / name, case.volume.array, case.native)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.mha"]


def test_a_packed_file_beside_its_unpacked_twin(tmp_path: Path) -> None:
    """ITK takes the header of scan.nii.gz and the voxels of scan.nii, without a word: each is read as itself."""
    twin = write_itk(tmp_path / "scan.nii", np.full((2, 3, 4), 7, np.int16))
    packed = write_itk(tmp_path / "scan.nii.gz", np.full((2, 3, 4), 9, np.int16))
    assert (sitk.GetArrayFromImage(sitk.ReadImage(str(packed))) == 7).all()  # why
    moved = write_itk(packed, np.full((2, 3, 4), 9, np.int16), grid((2, 3, 4)))
    assert (read_image(moved).volume.array == 9).all()
    assert read_stored_geometry(moved).origin_mm_xyz == pytest.approx((-12.5, 30.25, 411.0))
    assert (read_image(twin).volume.array == 7).all()
    assert read_stored_geometry(twin).origin_mm_xyz == (0.0, 0.0, 0.0)
