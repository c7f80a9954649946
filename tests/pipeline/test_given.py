"""Labels that come back from Python, and images whose headers lie: none is mirrored or moved without a word."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

import bisc
from bisc.core.geometry import Geometry
from bisc.core.volume import NativeGrid
from bisc.imageio import write_image
from bisc.pipeline.segment import Model
from tests.support.stub_model import OBLIQUE, kidneys, stub_model

RAS = NativeGrid.of(
    Geometry((48, 190, 200), (2.5, 1.6, 1.5), (120.5, 171.25, 410.0), (-1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0))
)
HU = np.full((8, 9, 10), -1000, np.int16)


@pytest.fixture(scope="module")
def model() -> Model:
    return Model(stub_model())


def write_scan(path: Path, native: NativeGrid = RAS) -> Path:
    write_image(path, kidneys(native.canonical)[0].array, native)
    return path


@pytest.mark.parametrize("native", [OBLIQUE, RAS], ids=["oblique", "RAS"])
def test_labels_of_the_users_own(tmp_path: Path, model: Model, native: NativeGrid) -> None:
    """They lie as what is named does: a result, an image that was read, a path; never mirrored, never shifted."""
    path = write_scan(tmp_path / "ct.nii.gz", native)
    image, own = bisc.read_image(path), tmp_path / "own.nrrd"
    for given in (path, image, sitk.ReadImage(str(path)), nibabel.load(path)):
        result = model.segment(given)
        result.save(tmp_path / "whole.nrrd")
        whole = bisc.read_image(tmp_path / "whole.nrrd").volume.array
        assert {0, 1, 2} == set(np.unique(whole))
        likes = [result, *([path] if given is path else [image] if given is image else [])]
        for like in likes:
            bisc.write_labels(own, np.minimum(result.labels, 1), like)
            assert np.array_equal(bisc.read_image(own).volume.array, np.minimum(whole, 1))
    labels = (image.volume.array > 0).astype(np.uint8)
    bisc.write_labels(own, labels, image)
    assert np.array_equal(bisc.read_image(own).volume.array, labels)
    for wrong, of in ((labels[:-1], image), (labels, None), (labels + 0.5, image)):
        with pytest.raises(bisc.InputError, match=r"an array of shape|labels without their image"):
            bisc.write_labels(own, wrong, of)  # type: ignore[arg-type]
    for name in ("m.mhd", "m.png", "m.hdr", "m.txt", "m"):
        with pytest.raises(bisc.InputError, match="no image by its name"):
            result.save(tmp_path / name)
    assert {"own.nrrd", "whole.nrrd", "ct.nii.gz"} == {file.name for file in tmp_path.iterdir()}


def saved(path: Path, change: Callable[[Any], None]) -> Path:
    """A scan's file whose NIfTI header was changed."""
    image: Any = nibabel.load(write_scan(path))
    data = np.asanyarray(image.dataobj)
    again: Any = nibabel.Nifti1Image(data, image.affine, image.header)
    change(again.header)
    with path.with_name(f"odd_{path.name.removesuffix('.gz')}").open("wb") as file:
        header = again.header
        header["vox_offset"] = 352
        file.write(header.binaryblock + bytes(4) + data.tobytes(order="F"))
    return path.with_name(f"odd_{path.name.removesuffix('.gz')}")


def turned(header: Any) -> None:
    header.set_qform(np.diag([-1.0, 1.0, 1.0, 1.0]) @ header.get_sform(), 1)


def thicker(header: Any) -> None:
    header["pixdim"][3] = 5.0


def nowhere(header: Any) -> None:
    header["sform_code"] = header["qform_code"] = 0


@pytest.mark.parametrize(
    ("change", "found"),
    [(turned, "place voxels up to"), (thicker, "gives two spacings"), (nowhere, "no orientation in its header")],
)
def test_a_nibabel_image_is_held_to_a_files_rules(
    tmp_path: Path, model: Model, change: Callable[[Any], None], found: str
) -> None:
    """nibabel believes the one form, or makes one up."""
    with pytest.raises(bisc.InputError) as caught:
        model.segment(nibabel.load(saved(tmp_path / "ct.nii.gz", change)))
    assert found in caught.value.found


def test_a_nibabel_image_of_a_damaged_file(tmp_path: Path, model: Model) -> None:
    """Its voxels are read when they are asked for: an error of ours all the same."""
    path = write_scan(tmp_path / "ct.nii.gz")
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(bisc.InputError, match="its voxels cannot be read"):
        model.segment(nibabel.load(path))


def test_reading_leaves_itk_as_it_was(tmp_path: Path) -> None:
    """A tilted gantry's NIfTI file, which SimpleITK refuses by itself, it refuses after ours was imported and read."""
    affine = np.diag([1.0, 1.0, 3.0, 1.0])
    affine[1, 2] = 0.5
    nibabel.save(nibabel.Nifti1Image(HU, affine), tmp_path / "tilted.nii.gz")
    code = f"""if True:
        import SimpleITK as sitk, bisc
        try:
            bisc.read_image({str(tmp_path / "tilted.nii.gz")!r})
        except bisc.InputError as error:
            print(error.found)
        sitk.ReadImage({str(tmp_path / "tilted.nii.gz")!r})
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "miss a right angle" in done.stdout
    assert "orthonormal" in done.stderr
