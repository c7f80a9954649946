"""Whether the frames of a DICOM series are one straight, even stack; the grid that reproduces the place of each.

A grid has one origin, one spacing and one direction. Where they do not put every frame where its own tags do, the
series is refused: no reader's guess stands in for a tag.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from bisc.core.errors import InputError
from bisc.core.geometry import Float, Triple
from bisc.imageio.formats.dicom.acquisitions import check_not_mixed, cited, tell_acquisitions
from bisc.imageio.formats.dicom.axes import ASIDE_MM, axes_of, check_lean, check_turns
from bisc.imageio.formats.dicom.doubts import tell_doubts
from bisc.imageio.formats.dicom.frames import Frame, named, of_frame
from bisc.imageio.formats.dicom.tags import AGAIN, name_of
from bisc.system.console import notice

OFF_PLACE: Final = 0.2
"""A slice may lie this part of a slice above or below its place in the even stack. Positions written to one decimal are
off by 0.05 mm, 0.15 of a slice of 0.33 mm. A missing slice moves some other of n >= 4 by 0.3 of a slice and more."""
SAME_PLACE: Final = 0.01
"""Slices nearer to each other than this part of the stack's step lie at the same position."""
STEP_DOUBT: Final = 0.2
"""Where the stated distance of slices differs from that of their positions by more than this part, the user is told."""
GAP_DOUBT: Final = 0.5
"""As well where slices leave a gap of more than this part of their thickness: by design, or because some are gone."""
DECIMALS: Final = 9
"""Of a fitted origin and spacing, in mm: without the last bits, which the fit makes up."""


@dataclass(frozen=True)
class Stack:
    """Frames in the order of the array's first axis, and the grid they make.

    Attributes:
        frames: Sorted along the stack's normal.
        spacing_mm_zyx: Of the grid.
        origin_mm_xyz: LPS mm of its first voxel.
        direction: Nine cosines, row-major; columns are the x, y and z index axes.
        drift: How far from orthonormal they are as the files write them; see `Geometry.drift`.
    """

    frames: tuple[Frame, ...]
    spacing_mm_zyx: Triple
    origin_mm_xyz: Triple
    direction: tuple[float, ...]
    drift: float

    @property
    def shape_zyx(self) -> tuple[int, int, int]:
        """Of the array."""
        return (len(self.frames), *self.frames[0].shape_yx)


def stack_of(what: Path, frames: Sequence[Frame]) -> Stack:
    """The stack that `frames` make.

    Args:
        what: The folder or file, named in errors that concern no frame alone.
        frames: All of one series, in any order.

    Raises:
        InputError: Naming the frame or the tags at fault, what they say and what was found.
    """
    for frame in frames:
        _check_placed(frame)
    first = frames[0]
    for frame in frames[1:]:
        if frame.shape_yx != first.shape_yx:
            found = f"its slices differ in size: {_size(frame)} ({named(frame)}) beside {_size(first)}"
            raise InputError(what, found, "slices of one size", "put each stack of slices into a folder of its own")
    check_turns(frames)
    _check_pixels(frames)
    axes = axes_of(first.turn or ())
    normal = axes.normal
    positions: Float = np.array([frame.position_mm_xyz for frame in frames], dtype=np.float64)
    order = np.argsort(positions @ normal, kind="stable")
    frames, positions = [frames[i] for i in order], positions[order]
    if len(frames) == 1:
        step = _thickness(what, frames[0])
    else:
        _check_once(what, frames, positions @ normal)
        check_not_mixed(what, frames)
        check_lean(what, frames, positions, axes)
        step = _even_step(what, frames, positions @ normal)
        tell_acquisitions(what, frames)
    tell_doubts(what, frames, step)
    start = positions[0] if len(frames) == 1 else _start(positions, normal, step)
    assert first.spacing_mm_yx is not None  # every frame is placed
    height, width = first.spacing_mm_yx
    direction = tuple(float(v) for v in axes.matrix.ravel())
    x, y, z = (round(float(v), DECIMALS) for v in start)
    return Stack(tuple(frames), (step, height, width), (x, y, z), direction, axes.drift)


def _check_placed(frame: Frame) -> None:
    """A frame that does not say where it lies, how it is turned and how large its pixels are, is no place at all."""
    if frame.position_mm_xyz is None or frame.turn is None:
        lacking = [name_of(tag) for tag, value in (("ImagePositionPatient", frame.position_mm_xyz),
                   ("ImageOrientationPatient", frame.turn)) if value is None]  # fmt: skip
        found = f"{of_frame(frame)}no position (0020,0032) or orientation (0020,0037): lacks {' and '.join(lacking)}"
        raise InputError(frame.path, found, "a slice that says where it lies", AGAIN)
    if frame.spacing_mm_yx is None:
        found = f"{of_frame(frame)}no {name_of('PixelSpacing')}"
        mend = f"{AGAIN}; {name_of('ImagerPixelSpacing')} is the detector's and would be no mm of the patient"
        raise InputError(frame.path, found, "the pixels' size in the patient", mend)


def _check_pixels(frames: Sequence[Frame]) -> None:
    spacings = np.array([frame.spacing_mm_yx for frame in frames])
    wide = (np.abs(spacings - spacings[0]) * frames[0].shape_yx).max(axis=1)
    odd = int(np.argmax(wide))
    if wide[odd] > ASIDE_MM:
        shown = [" x ".join(f"{v:g}" for v in spacing) for spacing in (spacings[odd], spacings[0])]
        raise InputError(
            frames[odd].path,
            f"{of_frame(frames[odd])}pixels of {shown[0]} mm beside {shown[1]} mm of {named(frames[0])}",
            "one pixel spacing in a series",
            AGAIN,
        )


def _thickness(what: Path, frame: Frame) -> float:
    """One slice alone has neighbours nowhere: its thickness is what the file says."""
    value = frame.thickness_mm or frame.step_mm
    if not value or value < 0:
        found = f"one slice alone, and neither {name_of('SliceThickness')} nor {name_of('SpacingBetweenSlices')}"
        raise InputError(what, found, "a slice whose thickness is known", "give the whole series")
    notice(what, "one slice alone", f"{value:g} mm thick, as its header says")
    return value


def _check_once(what: Path, frames: Sequence[Frame], heights: Float) -> None:
    """Refuse two frames at one place: `heights`, ascending, in mm along the normal."""
    gaps = np.diff(heights)
    whole = heights[-1] - heights[0]
    close = SAME_PLACE * (np.median(gaps[gaps > SAME_PLACE * whole / len(heights)]) if whole > 0 else 1.0)
    twice = int(np.argmax(gaps <= close))
    if gaps[twice] > close:
        return
    one, other = frames[twice], frames[twice + 1]
    n = int(np.count_nonzero(gaps <= close))
    found = f"{named(one)} and {named(other)} lie at the same position{f', and so do {n - 1} others' if n > 1 else ''}"
    if one.instance and one.instance == other.instance and one.path != other.path:
        found = f"a slice is there twice: {found}, under one SOPInstanceUID, and they differ"
        raise InputError(what, found, "one slice at each position", "keep one of the two copies")
    apart = [tag for tag in one.phase.keys() | other.phase.keys() if one.phase.get(tag) != other.phase.get(tag)]
    told = sorted(apart, key=lambda tag: (list(one.phase) + list(other.phase)).index(tag))[:1]
    how = "".join(f"; {name_of(tag)} tells them apart: {cited(tag, [f.phase.get(tag, '') for f in (one, other)])}"
                  for tag in told)  # fmt: skip
    if len(frames) > 2 and whole == 0:
        at = ", ".join(f"{mm:g}" for mm in one.position_mm_xyz or ())
        found = f"all {len(frames)} slices lie at one position, ({at}) mm{how}"
        mend = "export the series again with its positions; no other tag tells where slices lie"
        raise InputError(what, found, f"{name_of('ImagePositionPatient')} of each slice", mend)
    found = f"{'two phases or more in one series' if n > 1 else 'a slice is there twice'}: {found}{how}"
    raise InputError(what, found, "one slice at each position", "put each phase into a folder of its own")


def _even_step(what: Path, frames: Sequence[Frame], heights: Float) -> float:
    """The distance of slices that lie evenly, each within `OFF_PLACE` of its place; `heights` in mm, ascending."""
    n = len(heights)
    step = float(np.polyfit(np.arange(n), heights - heights[0], 1)[0])
    off = np.abs(heights - heights.mean() - step * (np.arange(n) - (n - 1) / 2))
    if off.max() > OFF_PLACE * step:
        gaps = np.diff(heights)
        usual = float(np.median(gaps))
        odd = int(np.argmax(np.abs(gaps - usual)))
        if abs(gaps[odd] - usual) > OFF_PLACE * usual:
            found = f"slices {odd + 1} and {odd + 2} of {n} lie {gaps[odd]:.4g} mm apart, the others {usual:.4g} mm"
        else:
            at = int(np.argmax(off))
            found = f"slice {at + 1} of {n} lies {off[at]:.3g} mm off its place: the gaps drift"
        found += f" ({named(frames[odd])} and {named(frames[odd + 1])})"
        expected = f"evenly spaced slices (each within {OFF_PLACE:g} of a slice of its place)"
        raise InputError(what, found, expected, "export the whole series again")
    stated = frames[0].step_mm
    if stated and abs(stated - step) > STEP_DOUBT * step:
        found = f"its slices' positions lie {step:.4g} mm apart, and {name_of('SpacingBetweenSlices')} says {stated:g}"
        notice(what, found, "taken as the positions say; make sure that no slices were left out")
    elif frames[0].thickness_mm and step > (1 + GAP_DOUBT) * max(frame.thickness_mm or step for frame in frames):
        found = f"its slices lie {step:.4g} mm apart, and {name_of('SliceThickness')} is {frames[0].thickness_mm:g}"
        notice(what, found, "taken as the positions say; make sure that no slices were left out")
    return round(step, DECIMALS)


def _start(positions: Float, normal: Float, step: float) -> Float:
    """Where the first slice of the even stack lies: rounding of single positions averages out."""
    n = len(positions)
    lift = float((positions @ normal).mean()) - step * (n - 1) / 2 - float(positions[0] @ normal)
    return np.asarray(positions[0] + lift * normal)


def _size(frame: Frame) -> str:
    return f"{frame.shape_yx[1]} x {frame.shape_yx[0]}"
