"""DICOM studies on their way through `bisc_predict`: what the table and a PACS are given of the result.

What needs pydicom or highdicom is imported where it is made.
"""

from __future__ import annotations

import json
import re
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from bisc.core.choices import DICOM_EXTRAS
from bisc.core.errors import BiscError, InputError
from bisc.core.flags import Flags
from bisc.core.geometry import Geometry
from bisc.core.volume import Box, Volume
from bisc.evaluation.diameters import axial_diameter_mm, diameter_mm
from bisc.imageio import image_suffix
from bisc.imageio.case import CaseImage, InputCase
from bisc.imageio.scan import Scan
from bisc.inference.cascade import CascadeResult
from bisc.inference.model import Model
from bisc.measurement.sides import sides_of
from bisc.pipeline.options import DicomOptions, PredictionRow, PredictOptions
from bisc.pipeline.segment import Segmentation
from bisc.preprocessing.segments import Segment, Sizes, divide
from bisc.system.console import collected

if TYPE_CHECKING:
    from bisc.report.dicom.objects import Kind

NO_SOURCE: Final = "is no DICOM series, which a DICOM result must refer to"
WRITERS: Final = ("highdicom", "pydicom")
"""What may refuse a source that was read: an exception that comes out of them costs the objects, not the mask."""
SHORT_NAME: Final = 4
"""Files' names of fewer digits alone name no patient."""
DECIMALS: Final = 3
IDENTIFIERS: Final = {
    "patient_id": "PatientID",
    "accession_number": "AccessionNumber",
    "study_uid": "StudyInstanceUID",
    "series_uid": "SeriesInstanceUID",
}
"""Columns of the table, and the tags that they show."""


def kinds_of(options: DicomOptions) -> tuple[Kind, ...]:
    """Every object that is asked for, the SEG first."""
    return ("seg", *options.extras) if options.form != "nifti" else ()


def nameless(case: InputCase) -> InputCase:
    """A DICOM case under a name that only who has it can find; an image file of another format keeps its own. To be
    asked once: the name of a study without a UID is of its name."""
    if not case.study and not case.files and image_suffix(case.path):
        return case
    return replace(case, name=f"study_{_digest(case.study or f'{case.path.absolute()} {case.name}')}")


def without_places(words: str, case: InputCase) -> str:
    """What is said of a case without its files' places and names and its series' descriptions, which may name a
    patient: Siemens' exports do. A file is told by its place among the case's."""
    hidden = {str(path): "another folder" for path in case.others}
    hidden |= {str(path): case.name for path in (case.path, case.origin, *(path.parent for path in case.files)) if path}
    for i, path in enumerate(case.files, 1):
        place = f"file {i} of {len(case.files)}"
        hidden[str(path)] = f"{case.name}/{place}"
        if len(path.name) >= SHORT_NAME or not path.name.isdigit():  # 7 would be any number of the sentence
            hidden[path.name] = place
    if "series" in words:
        hidden |= _series_labels(case)
    for name in sorted(filter(words.__contains__, hidden), key=len, reverse=True):  # whole, not within a word
        words = re.sub(rf"(?<![\w./\\-]){re.escape(name)}(?![\w-])(?!\.\w)", hidden[name], words)
    return words


def _series_labels(case: InputCase) -> dict[str, str]:
    """What messages call the series of a case, and what they are called without descriptions."""
    from bisc.imageio.formats.dicom.about import about
    from bisc.imageio.formats.dicom.tags import read_header

    labels = {}
    for path in case.files:
        with suppress(InputError):
            one = about(path, read_header(path))
            labels[one.label] = " ".join(one.label.split()[:2]).replace("series without", "a series")
    return labels


def results_of(
    out: Path,
    case: InputCase,
    study: Scan | None,
    image: CaseImage,
    found: Segmentation,
    result: CascadeResult,
    model: Model,
    options: PredictOptions,
    complain: Callable[[BiscError], None],
) -> dict[str, str]:
    """Write a case's objects and meshes, and what its row says of them: choice, segments, and the error of what was
    refused."""
    parts = divided(
        image.native.to_canonical(found.labels).array,
        image.volume.geometry,
        result.min_kidney_ml,
        result.middle_mm,
        result.sided,
        image.volume,
    )
    row = {"choice": study.told if study is not None else ""}
    row |= {"segments": json.dumps(parts.told()), "error": found.doubt}
    if options.dicom.identifiers:
        row |= identifiers_of(study)
    if kinds_of(options.dicom):
        try:
            write_dicom(out, case.name, study or Scan(case.path), image, parts, model, options.dicom, found.flags)
        except InputError as error:
            complain(error)
            row["error"] = " | ".join(filter(None, [found.doubt, str(error)]))
    if options.mesh is not None or options.measure or options.report:
        from bisc.pipeline.companions import write_companions

        made_by = {"Model": model.plan.dataset, "Checksum": checksum_of(model), "Decision": options.decision}
        known = PredictionRow(case.name, found.status, error=found.doubt)
        remarks = [without_places(words, case) for words in collected()]
        write_companions(
            out,
            image.volume,
            parts.numbered,
            parts.segments,
            result.native,
            known,
            options,
            found.flags,
            made_by,
            remarks,
        )
    return row


def identifiers_of(study: Scan | None, tags: Mapping[str, str] = IDENTIFIERS) -> dict[str, str]:
    """What a series' first slice says under `tags` (name and tag); nothing of a file of another format."""
    if study is None or study.choice is None:
        return {}
    from bisc.imageio.formats.dicom.tags import read_header, text

    path = study.choice.stack.frames[0].path
    header = read_header(path)
    return {name: text(path, header, tag) for name, tag in tags.items()}


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
            records.append(record | ({"cut": True} if of.cut else {}))
        return records


def divided(
    labels: npt.NDArray[np.uint8],
    grid: Geometry,
    min_kidney_ml: float,
    middle_mm: float | None,
    sided: bool = True,
    image: Volume | None = None,
) -> Divided:
    """Divide and measure a canonical label map; arguments as of `bisc.preprocessing.segments.divide`, and its HU."""
    numbered, segments = divide(labels, grid, min_kidney_ml, middle_mm, sided=sided)
    sides = sides_of(numbered, segments, grid, image)
    sizes = {}
    for one in segments:
        ml, own = round(one.volume_ml, DECIMALS), numbered == one.number
        box = Box.of_mask(own)
        assert box is not None  # no segment is empty
        if one.organ == "kidney":
            sizes[one.number] = Sizes(ml, cut=sides[one.side].cut)
            continue
        own = own[box.to_slices()]
        axial, longest = (
            round(measure(own, grid.spacing_mm_zyx), DECIMALS) for measure in (axial_diameter_mm, diameter_mm)
        )
        sizes[one.number] = Sizes(ml, axial, longest, sides[one.side].is_cut(one))
    return Divided(numbered, segments, sizes)


def checksum_of(model: Model) -> str:
    """Of all weights and offsets of a model, 16 hexadecimal digits."""
    return _digest(repr([(fold.mark, fold.offsets) for fold in (*model.rough, *model.fine)]))


def _digest(text: str) -> str:
    return blake2b(text.encode(), digest_size=8).hexdigest()


def dicom_files(out: Path, case: str, options: DicomOptions) -> dict[Path, bool]:
    """OUT/CASE_seg.dcm, and likewise for the others: whether each is asked for."""
    return {path: kind in kinds_of(options) for kind, path in _paths(out, case).items()}


def result_files(out: Path, case: str) -> list[Path]:
    """Where a case's DICOM objects lie, whichever there are."""
    return [*_paths(out, case).values()]


def _paths(out: Path, case: str) -> dict[Kind, Path]:
    kinds: tuple[Kind, ...] = ("seg", *DICOM_EXTRAS)
    return {kind: out / f"{case}_{kind}.dcm" for kind in kinds}


def write_dicom(
    out: Path,
    case: str,
    scan: Scan,
    image: CaseImage,
    found: Divided,
    model: Model,
    options: DicomOptions,
    flags: Flags,
) -> list[Path]:
    """Write a case's objects, each whole or not at all; none for a case without a kidney, but for the picture. Returns
    the files.

    Args:
        out: Their folder.
        case: The case's name.
        scan: The series that was read.
        image: Its voxels and grid.
        found: What was found in it.
        model: What found it.
        options: Which objects.
        flags: What picture and report say of the mask's trustworthiness.

    Raises:
        InputError: If the source is no DICOM, or lacks or says what an object cannot be made with.
    """
    from bisc.report.dicom.objects import make_objects, save_objects
    from bisc.report.dicom.origin import NIFTI_ALONE, Maker, origin_of

    if scan.choice is None:
        raise InputError(scan.path, NO_SOURCE, "a DICOM series", NIFTI_ALONE)
    try:
        made = make_objects(
            origin_of(scan.path, scan.choice.stack, options.deidentify),
            image.volume,
            image.native,
            found.numbered,
            found.segments,
            found.sizes,
            Maker(model.plan.dataset, checksum_of(model)),
            kinds_of(options),
            options.labelmap,
            flags,
        )
        return save_objects(made, _paths(out, case), options.deidentify)
    except (OSError, MemoryError):
        raise
    except Exception as error:
        by = None if isinstance(error, BiscError) else _writer_of(error)
        if by is None:
            raise
        told = f"no DICOM object can be made of its headers ({by}: {type(error).__name__}: {error})"
        raise InputError(scan.path, told, f"headers that {by} takes", NIFTI_ALONE) from error


def _writer_of(error: Exception) -> str | None:
    """Which of `WRITERS` an exception comes out of; None where it is our own fault."""
    frames = traceback.walk_tb(error.__traceback__)
    packages = (frame.f_globals.get("__name__", "").partition(".")[0] for frame, _ in frames)
    return next((package for package in packages if package in WRITERS), None)
