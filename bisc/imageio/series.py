"""Whether the slices of a DICOM series are one straight stack. ITK bends any other into one without a word: it takes
the first slice's orientation and pixel spacing for all, and for the slices' spacing the length of a slanted step."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import SimpleITK as sitk

from bisc.core.errors import InputError
from bisc.core.geometry import SHEAR_TOLERANCE_DEG, Float
from bisc.core.notices import notice
from bisc.imageio.axes import MEND_SHEAR

POSITION, ORIENTATION, PIXEL_SPACING, TILT = "0020|0032", "0020|0037", "0028|0030", "0018|1120"

ASIDE_MM: Final = 0.1
"""A slice may lie this far beside the stack: positions are written with one decimal at worst, 0.07 mm in plane."""


def check_one_stack(folder: Path, reader: sitk.ImageSeriesReader, names: tuple[str, ...], depth: int) -> None:
    """Refuse a series whose slices are turned, leaning, shifted or scaled against each other.

    A single file of many frames keeps their places where ITK's meta data do not show them, and passes.

    Args:
        folder: Named in the error.
        reader: After `Execute`, with its meta data loaded.
        names: Its files, in its order.
        depth: Slices that ITK made of them.

    Raises:
        InputError: Naming the file, and the angle or distance found.
    """
    if len(names) == 1:
        if depth == 1:
            notice(folder, "one slice alone", "its thickness is not known and taken as 1 mm")
        return
    positions, turns, pixels = ([_numbers(reader, i, tag) for i in range(len(names))] for tag in
                                (POSITION, ORIENTATION, PIXEL_SPACING))  # fmt: skip
    for i, (position, turn) in enumerate(zip(positions, turns, strict=True)):
        if len(position) != 3 or len(turn) != 6:
            found = "no position (0020,0032) or orientation (0020,0037)"
            raise InputError(Path(names[i]), found, "a slice that says where it lies", "export the series again")
    _check_turns(names, np.reshape(turns, (-1, 2, 3)))
    _check_pixels(names, pixels, reader.GetMetaData(0, "0028|0010"), reader.GetMetaData(0, "0028|0011"))
    _check_lean(folder, names, np.array(positions), np.reshape(turns[0], (2, 3)), _tilt(reader))


def _check_turns(names: tuple[str, ...], turns: Float) -> None:
    """`turns`: (slices, 2, 3), rows of cosines of the row and the column axis."""
    chords = np.linalg.norm(turns - turns[0], axis=2).max(axis=1)
    degrees = np.rad2deg(2.0 * np.arcsin(np.minimum(chords / 2.0, 1.0)))
    odd = int(np.argmax(degrees))
    if degrees[odd] > SHEAR_TOLERANCE_DEG:
        raise InputError(
            Path(names[odd]),
            f"turned by {degrees[odd]:.3g} degrees against {Path(names[0]).name} of the same series",
            f"slices of one orientation (to {SHEAR_TOLERANCE_DEG:g} degrees)",
            "put each stack of parallel slices into a folder of its own",
        )


def _check_pixels(names: tuple[str, ...], pixels: list[list[float]], n_rows: str, n_columns: str) -> None:
    for name, spacing in zip(names, pixels, strict=True):
        if len(spacing) != 2 or len(pixels[0]) != 2:
            continue  # no CT; ITK then takes 1 mm for all alike
        wide = np.abs(np.subtract(spacing, pixels[0])) * (int(n_rows), int(n_columns))
        if wide.max() > ASIDE_MM:
            raise InputError(
                Path(name),
                f"pixels of {' x '.join(f'{v:g}' for v in spacing)} mm beside "
                f"{' x '.join(f'{v:g}' for v in pixels[0])} mm of {Path(names[0]).name}",
                "one pixel spacing in a series",
                "export the series again",
            )


def _check_lean(folder: Path, names: tuple[str, ...], positions: Float, turn: Float, tilt: str) -> None:
    """`positions`: (slices, 3), `turn`: (2, 3); both LPS."""
    rows, columns = turn
    normal = np.cross(rows, columns)
    steps = positions - positions[0]
    heights = steps @ normal
    aside = np.linalg.norm(steps - heights[:, None] * normal, axis=1)
    allowed = np.maximum(ASIDE_MM, np.tan(np.deg2rad(SHEAR_TOLERANCE_DEG)) * np.abs(heights))
    odd = int(np.argmax(aside - allowed))
    if aside[odd] <= allowed[odd]:
        return
    lean = float(np.rad2deg(np.arctan2(aside[-1], abs(heights[-1]))))
    if aside[-1] > allowed[-1]:
        found = f"its slices lean by {lean:.3g} degrees (a tilted gantry{tilt}): the last lies {aside[-1]:.3g} mm aside"
        expected = f"slices stacked along their normal (to {SHEAR_TOLERANCE_DEG:g} degrees)"
        raise InputError(folder, found, expected, MEND_SHEAR)
    found = f"lies {aside[odd]:.3g} mm beside the stack of the others"
    raise InputError(Path(names[odd]), found, f"slices above each other (to {ASIDE_MM:g} mm)", "export it again")


def _tilt(reader: sitk.ImageSeriesReader) -> str:
    """What the header says of the gantry's tilt."""
    value = reader.GetMetaData(0, TILT).strip() if reader.HasMetaDataKey(0, TILT) else ""
    return f", tag 0018,1120: {value}" if value else ""


def _numbers(reader: sitk.ImageSeriesReader, index: int, tag: str) -> list[float]:
    """A tag's numbers; none where the slice has no such tag, or no number in it."""
    if not reader.HasMetaDataKey(index, tag):
        return []
    try:
        return [float(part) for part in reader.GetMetaData(index, tag).split("\\")]
    except ValueError:
        return []
