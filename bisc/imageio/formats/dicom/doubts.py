"""What a straight, even stack's tags say against it: told, and read as its positions and pixels are.

Each is sound now and then (a resampled tilt, a cropped image, thick slices that overlap), so none is a fault.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from bisc.imageio.formats.dicom.elements import shape_of
from bisc.imageio.formats.dicom.frames import Frame
from bisc.imageio.formats.dicom.tags import name_of
from bisc.system.console import notice
from bisc.system.paths import entries_of, unfinished

OVERLAPPING: Final = 5.0
"""Slices are reconstructed at a fifth of their thickness, not closer; in centimetres they seem ten times as close."""
TILTED_DEG: Final = 1.0
CROPPED: Final = 0.05
"""Part of the field of view by which the pixels may span more or less."""


def tell_doubts(what: Path, frames: Sequence[Frame], step_mm: float) -> None:
    """Give notice of what tags say otherwise than the stack is.

    Args:
        what: The folder or file.
        frames: Of a straight, even stack, in its order.
        step_mm: Between its slices.
    """
    first = frames[0]
    if len(frames) > 1:
        thin = min(frame.thickness_mm or 0.0 for frame in frames)
        if thin > OVERLAPPING * step_mm:
            found = f"its slices lie {step_mm:.4g} mm apart, and {name_of('SliceThickness')} is {thin:g}"
            notice(what, found, "taken as the positions say; make sure that they are in mm")
        _tell_of_tilt(what, first)
    _tell_of_field(what, first)
    if first.units:
        found = f"{name_of('RealWorldValueMappingSequence')} makes {first.units} of its values"
        notice(what, found, f"read as HU, as {name_of('RescaleType')} says")


def tell_unfinished(what: Path, files: Sequence[Path]) -> None:
    """Give notice of copies beside the slices of a folder that were not finished, and of hidden files that are named as
    the slices are: one at an end of the stack leaves no gap."""
    shapes = {shape_of(path.name) for path in files}
    for folder in sorted({path.parent for path in files}) if what.is_dir() else ():
        entries = entries_of(folder)
        for path, whole in unfinished(entries).items():
            if path not in files and shape_of(whole.name) in shapes:
                found = f"is a copy of {whole.name} that was not finished"
                notice(path, found, "the slices that are there are read; copy it again, or remove it")
        for path in entries:
            shown = path.with_name(path.name.removeprefix("."))  # macOS's companions, '._NAME', are of no shape
            if path != shown and shown not in entries and shape_of(shown.name) in shapes:
                found = "is hidden, and named as the slices are"
                notice(path, found, "left out; if it is one of them, remove the dot of its name")


def _tell_of_tilt(what: Path, frame: Frame) -> None:
    with suppress(ValueError):
        if abs(float(frame.tilt)) > TILTED_DEG:
            found = f"{name_of('GantryDetectorTilt')} is {float(frame.tilt):g} degrees, and its slices do not lean"
            notice(what, found, "read as they lie; they were resampled, perhaps")


def _tell_of_field(what: Path, frame: Frame) -> None:
    field_mm = frame.field_mm
    if field_mm is None or frame.spacing_mm_yx is None:
        return
    spans = [n * spacing for n, spacing in zip(frame.shape_yx, frame.spacing_mm_yx, strict=True)]
    span = max(spans, key=lambda mm: abs(mm - field_mm))
    if abs(span - field_mm) > CROPPED * field_mm:
        found = f"its pixels span {span:.4g} mm, and {name_of('ReconstructionDiameter')} is {field_mm:g}"
        notice(what, found, "taken as the pixels' spacing says; they were cropped or resized, perhaps")
