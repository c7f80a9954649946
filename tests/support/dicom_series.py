"""DICOM series written slice by slice, so that each may lie wherever a fault wants it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

UID = "1.2.826.0.1.3680043.8.498.77"
CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
SPACING_XY_MM = (0.8, 0.9)


def write_series(
    folder: Path,
    slices: npt.NDArray[Any],
    positions_xyz: Sequence[Sequence[float]] | npt.NDArray[Any],
    turns: Sequence[npt.NDArray[Any]] | None = None,
    spacings_xy_mm: Sequence[tuple[float, float]] | None = None,
    extra: dict[str, str] | None = None,
    decimals: int = 6,
) -> Path:
    """One CT slice per position, by ITK's GDCM writer alone.

    Args:
        folder: Made here.
        slices: (slices, rows, columns) int16.
        positions_xyz: LPS mm of each slice's first pixel.
        turns: (3, 2 or 3) columns of each slice's row and column direction; LPS axes without.
        spacings_xy_mm: In plane, of each slice.
        extra: More tags for all of them.
        decimals: Of positions.
    """
    folder.mkdir(parents=True, exist_ok=True)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for i, position in enumerate(positions_xyz):
        turn = np.eye(3) if turns is None else turns[i]
        image = sitk.GetImageFromArray(slices[i : i + 1])
        image.SetSpacing((*(SPACING_XY_MM if spacings_xy_mm is None else spacings_xy_mm[i]), 1.0))
        tags = {
            "0008|0060": "CT",
            "0008|0016": CT_IMAGE,
            "0008|0018": f"{UID}.2.{i + 1}",
            "0020|000d": f"{UID}.1",
            "0020|000e": f"{UID}.3",
            "0020|0052": f"{UID}.4",
            "0020|0013": str(i + 1),
            "0020|0032": "\\".join(f"{v:.{decimals}f}" for v in position),
            "0020|0037": "\\".join(f"{v:.10f}" for v in (*turn[:, 0], *turn[:, 1])),
        }
        for tag, value in (tags | (extra or {})).items():
            image.SetMetaData(tag, value)
        writer.SetFileName(str(folder / f"{i:03d}.dcm"))
        writer.Execute(image)
    return folder
