"""An image before and after its voxels are read: the sound header of a file, and canonical voxels with their grid."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bisc.core.errors import InputError
from bisc.core.geometry import GRID_TOLERANCE_VOXELS, Geometry
from bisc.core.volume import NativeGrid, Volume


@dataclass(frozen=True)
class InputCase:
    """One image to predict, or something that is none.

    Attributes:
        name: Of its mask, CASE.nii.gz.
        path: A file, or the folder that holds a DICOM study.
        fault: Why it cannot be predicted, where that shows before it is read; a `PassedOver` where it is no scan.
        others: Further inputs of the same name, where that is the fault.
        files: Of a DICOM study, wherever they lie; none for a file.
        study: What tells a DICOM study from all others: its UID and its patient's ID, and its name where two cases have
            the same; empty without a UID.
        origin: What it was unpacked from; None where it lay as it is.
    """

    name: str
    path: Path
    fault: InputError | None = None
    others: tuple[Path, ...] = ()
    files: tuple[Path, ...] = ()
    study: str = ""
    origin: Path | None = None


@dataclass(frozen=True, eq=False)
class Stored:
    """A file or a series whose header is sound; what every format's reader makes.

    Attributes:
        geometry: The grid as stored, axes in the file's order.
        n_bytes: What its voxels take as they are stored, unpacked.
        streamed: Whether they are read in slabs, so that these bytes are never held at once.
        slabs: Reads the voxels: arrays of the stored (z, y, x) order and type, together `geometry.shape_zyx` large.
            Raises InputError where they are damaged, or not all there.
        placed: Whether it says where the grid lies; see `NativeGrid`.
    """

    geometry: Geometry
    n_bytes: int
    streamed: bool
    slabs: Callable[[], Iterator[npt.NDArray[Any]]]
    placed: bool = True


@dataclass(frozen=True, eq=False)
class CaseImage:
    """One file or DICOM series.

    Attributes:
        path: Where it was read from.
        volume: Canonical (z, y, x) LPS voxels; a view of the stored array.
        native: The stored grid, to write results on.
    """

    path: Path
    volume: Volume
    native: NativeGrid


def check_same_grid(image: CaseImage, labels: CaseImage) -> None:
    """Refuse an image and a label map that lie on different grids (`GRID_TOLERANCE_VOXELS`).

    They may be stored in different axis orders: what counts is that their voxels lie in the same places.

    Raises:
        InputError: Naming both files and both grids, in canonical order.
    """
    ours, theirs = image.volume.geometry, labels.volume.geometry
    if ours.is_same_grid(theirs):
        return
    if ours.shape_zyx == theirs.shape_zyx:
        mm = float(np.linalg.norm(ours.corners() - theirs.corners(), axis=1).max())
        voxels = ours.voxels_off(theirs)
        how = (
            f"its corners lie up to {mm:.4g} mm from the image's, on average {voxels:.3g} voxels along an axis "
            f"(tolerance {GRID_TOLERANCE_VOXELS} voxels)"
        )
    else:
        how = "another size"
    raise InputError(
        labels.path,
        f"{how}: {theirs.describe()}",
        f"the grid of {image.path}: {ours.describe()}",
        "resample the label map onto its image",
    )


def on_grid_of(image: CaseImage, labels: CaseImage) -> CaseImage:
    """The label map with the geometry of its image, which counts where two headers write one grid differently.

    Raises:
        InputError: As `check_same_grid`.
    """
    check_same_grid(image, labels)
    return replace(labels, volume=Volume(labels.volume.array, image.volume.geometry))
