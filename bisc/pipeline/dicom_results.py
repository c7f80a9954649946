"""What a PACS is given of one prediction: SEG, and by option a structured report, a picture, contours.

What needs pydicom or highdicom is imported where it is made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from bisc.core.choices import DICOM_EXTRAS, DicomExtra
from bisc.core.errors import InputError
from bisc.core.geometry import Geometry
from bisc.core.volume import Box
from bisc.evaluation.diameters import axial_diameter_mm, diameter_mm
from bisc.imageio import CaseImage
from bisc.imageio.scan import Scan
from bisc.inference.model import Model
from bisc.preprocessing.segments import Segment, Sizes, divide

if TYPE_CHECKING:
    from bisc.report.dicom.objects import Kind

NO_SOURCE: Final = "is no DICOM series, which a DICOM result must refer to"
NIFTI_ALONE: Final = "its mask is written as NIfTI alone"
DECIMALS: Final = 3


@dataclass(frozen=True)
class DicomOptions:
    """Which objects are written.

    Attributes:
        extras: Beside the SEG.
        labelmap: The SEG's form: one plane of numbers, instead of one of bits for each segment.
        deidentify: Whether they say nothing of whom they are of.
    """

    extras: tuple[DicomExtra, ...] = ()
    labelmap: bool = False
    deidentify: bool = False

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """Every object, the SEG first."""
        return ("seg", *self.extras)


@dataclass(frozen=True, eq=False)
class Divided:
    """A label map divided into kidneys and tumours, and their sizes.

    Attributes:
        numbered: Canonical (z, y, x) segment numbers.
        segments: In their order.
        sizes: By number.
    """

    numbered: npt.NDArray[np.uint8]
    segments: list[Segment]
    sizes: Mapping[int, Sizes]

    def told(self) -> list[dict[str, object]]:
        """For a table: a plain record for each segment."""
        records: list[dict[str, object]] = []
        for one in self.segments:
            of = self.sizes[one.number]
            record: dict[str, object] = {"name": one.name, "side": one.side, "volume_ml": of.volume_ml}
            if of.axial_mm is not None:
                record |= {"axial_mm": of.axial_mm, "diameter_mm": of.diameter_mm}
            records.append(record)
        return records


def divided(labels: npt.NDArray[np.uint8], grid: Geometry, min_kidney_ml: float, middle_mm: float | None) -> Divided:
    """Divide and measure a canonical label map; arguments as of `bisc.preprocessing.segments.divide`."""
    numbered, segments = divide(labels, grid, min_kidney_ml, middle_mm)
    sizes = {}
    for one in segments:
        ml = round(one.volume_ml, DECIMALS)
        if one.organ == "kidney":
            sizes[one.number] = Sizes(ml)
            continue
        own = numbered == one.number
        box = Box.of_mask(own)
        assert box is not None  # no segment is empty
        lengths = (measure(own[box.to_slices()], grid.spacing_mm_zyx) for measure in (axial_diameter_mm, diameter_mm))
        sizes[one.number] = Sizes(ml, *(round(length, DECIMALS) for length in lengths))
    return Divided(numbered, segments, sizes)


def checksum_of(model: Model) -> str:
    """Of all weights and offsets of a model, 16 hexadecimal digits."""
    weights = [(fold.mark, fold.offsets) for fold in (*model.rough, *model.fine)]
    return blake2b(repr(weights).encode(), digest_size=8).hexdigest()


def dicom_paths(out: Path, case: str) -> dict[Kind, Path]:
    """OUT/CASE_seg.dcm, and likewise for the others."""
    kinds: tuple[Kind, ...] = ("seg", *DICOM_EXTRAS)
    return {kind: out / f"{case}_{kind}.dcm" for kind in kinds}


def write_dicom(
    out: Path, case: str, scan: Scan, image: CaseImage, found: Divided, model: Model, options: DicomOptions
) -> list[Path]:
    """Write a case's objects, each whole or not at all; none for a case without a kidney, but for the picture.

    Args:
        out: Their folder.
        case: The case's name.
        scan: The series that was read.
        image: Its voxels and grid.
        found: What was found in it.
        model: What found it.
        options: Which objects.

    Returns:
        The files that were written.

    Raises:
        InputError: If the source is no DICOM, or lacks what an object must refer to.
    """
    if scan.choice is None:
        raise InputError(scan.path, NO_SOURCE, "a DICOM series", NIFTI_ALONE)
    from bisc.report.dicom.objects import make_objects, save_objects
    from bisc.report.dicom.origin import Maker, origin_of

    made = make_objects(
        origin_of(scan.path, scan.choice.stack, options.deidentify),
        image.volume,
        image.native,
        found.numbered,
        found.segments,
        found.sizes,
        Maker(model.plan.dataset, checksum_of(model)),
        options.kinds,
        options.labelmap,
    )
    return save_objects(made, dicom_paths(out, case), options.deidentify)
