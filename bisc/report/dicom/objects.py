"""All objects of one prediction, made and saved together: they refer to each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Literal, get_args

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from bisc.core.flags import Flags
from bisc.core.volume import NativeGrid, Volume
from bisc.preprocessing.segments import Segment, Sizes
from bisc.report.dicom.capture import page, secondary_capture
from bisc.report.dicom.identity import mark_removed
from bisc.report.dicom.origin import Maker, Origin
from bisc.report.dicom.rtstruct import structure_set
from bisc.report.dicom.seg import seg_uid, segmentation
from bisc.report.dicom.sr import structured_report
from bisc.report.patient.words import checked
from bisc.system.files import atomic_file

Kind = Literal["seg", "sr", "capture", "rtstruct"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)


def make_objects(
    origin: Origin,
    image: Volume,
    native: NativeGrid,
    numbered: npt.NDArray[np.uint8],
    segments: Sequence[Segment],
    sizes: Mapping[int, Sizes],
    maker: Maker,
    kinds: Sequence[Kind],
    labelmap: bool = False,
    flags: Flags | None = None,
) -> dict[Kind, Dataset]:
    """The objects of one mask.

    Args:
        origin: The source series.
        image: Its canonical HU, (z, y, x).
        native: The grid of its stack.
        numbered: Canonical segment numbers.
        segments: What they mean; where there are none, there is nothing but the picture.
        sizes: By segment number.
        maker: Who found them.
        kinds: Which objects.
        labelmap: The SEG's form.
        flags: What all of them say of the mask's trustworthiness; None: nothing.
    """
    stored = np.ascontiguousarray(native.to_stored(numbered))
    uid = seg_uid(origin, stored, maker, labelmap)
    told = checked(flags) if flags else []
    made: dict[Kind, Dataset] = {}
    if segments:
        made["seg"] = segmentation(origin, stored, segments, maker, labelmap, flags.light if flags else "green", told)
        if "sr" in kinds:
            made["sr"] = structured_report(origin, made["seg"], segments, sizes, maker, told)
        if "rtstruct" in kinds:
            made["rtstruct"] = structure_set(origin, stored, segments, maker, uid)
    if "capture" in kinds:
        tumors = [one.number for one in segments if one.organ == "tumor"]
        labels = (numbered > 0).astype(np.uint8) + np.isin(numbered, tumors).astype(np.uint8)
        pixels = page(image, labels, segments, sizes, maker, told)
        made["capture"] = secondary_capture(origin, pixels, maker, uid, told)
    for dataset in made.values():
        origin.put_patient(dataset)
    return {kind: made[kind] for kind in kinds if kind in made}


def save_objects(made: Mapping[Kind, Dataset], paths: Mapping[Kind, Path], deidentified: bool) -> list[Path]:
    """Write each whole or not at all; returns the files.

    Raises:
        InputError: If one cannot be written.
    """
    for kind, dataset in made.items():
        if deidentified:
            mark_removed(dataset)
        with atomic_file(paths[kind]) as scratch:
            dataset.save_as(scratch, enforce_file_format=True)
    return [paths[kind] for kind in made]
