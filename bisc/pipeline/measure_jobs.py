"""Which label maps there are to measure, the image of each, and how both are read."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from bisc._version import __version__
from bisc.core.errors import InputError, PassedOver
from bisc.evaluation.pairs import check_is_case, find_label_maps, meaning_beside
from bisc.imageio import files_of, on_grid_of, read_labels
from bisc.imageio.archive import is_archive
from bisc.imageio.case import CaseImage, InputCase
from bisc.imageio.formats.dicom.segmentation import is_segmentation, on_frames_of, read_segmentation
from bisc.imageio.inputs import find_inputs
from bisc.imageio.label_gaps import tell_of_label_map
from bisc.imageio.label_names import LabelMeaning
from bisc.imageio.plausible import check_kidney_hu
from bisc.imageio.slices import check_scan
from bisc.pipeline.mask_scans import rows_beside, scan_of_mask
from bisc.pipeline.options import MeshOptions, PredictionRow
from bisc.system.console import notice
from bisc.system.paths import exists, spelt_as

Tell = Callable[[str], object]
MASKS: Final = "a label map, a folder of CASE.nii.gz or CASE/segmentation.nii.gz, or DICOM SEG files"
SEG_SUFFIX: Final = ".dcm"
SEG_ENDS: Final = ("_seg", "-seg", ".seg")
WRITTEN_TOGETHER_S: Final = 60.0
"""A prediction's SEG comes this soon behind its label map; one that is newer was edited, as a rule."""


@dataclass(frozen=True)
class Job:
    """One label map to measure.

    Attributes:
        case: Its name.
        mask: A label map, or a DICOM SEG.
        image: Its CT, where it is at hand.
        meaning: Of the label map's values.
        table: Where its rows go.
        mesh: Surfaces to write beside the table; None: none.
        row: What predictions.csv beside the mask says of it.
    """

    case: str
    mask: Path
    image: InputCase | None
    meaning: LabelMeaning | None
    table: Path
    mesh: MeshOptions | None = None
    row: PredictionRow | None = None

    @property
    def files(self) -> list[Path]:
        """The mask's and, where it can be used, the image's."""
        image = self.image
        return [self.mask, *(() if image is None or image.fault else image.files or files_of(image.path))]

    @property
    def stamp(self) -> str:
        """Changes with the files and with this version."""
        stats = [(file.stat().st_size, file.stat().st_mtime_ns) for file in self.files]
        meant = "" if self.meaning is None else self.meaning.key
        if self.image is not None and self.image.fault is not None:
            meant += str(self.image.fault)
        return hashlib.blake2b(repr((__version__, stats, meant)).encode(), digest_size=8).hexdigest()


def find_jobs(
    masks: Path, images: Path | None, table: Path, labels: LabelMeaning | None, tell: Tell = lambda _: None
) -> list[Job]:
    """The label maps of a path, and the image of each: that of its name, or the only one of the only label map. One
    that cannot be used is its case's error.

    Raises:
        InputError: If there is no label map, or none of the images is of one.
    """
    found, passed = _find_masks(masks)
    if not found:
        raise InputError(masks, "holds no label map", MASKS)
    meaning = labels or (None if masks in found.values() and is_segmentation(masks) else meaning_beside(masks))
    pictures: dict[str, InputCase] = {}
    if images is not None:
        if is_archive(images):
            raise InputError(images, "is a .zip", "images, a folder of them, or DICOM studies", "unpack it")
        scans = [case for case in find_inputs(images) if not isinstance(case.fault, PassedOver)]
        spelt = spelt_as(found.keys(), [case.name for case in scans])
        pictures = {spelt[case.name]: case for case in scans}
        if len(found) == len(scans) == 1:
            pictures = dict.fromkeys(found, scans[0])
        if not pictures.keys() & found.keys():
            faults = [case.fault for case in scans if case.fault is not None]
            if faults and len(faults) == len(scans):
                raise faults[0]
            some = ", ".join(sorted(pictures)[:3]) or "none"
            raise InputError(images, f"no image of these label maps ({some})", f"{', '.join(sorted(found)[:3])}, ...")
        lacking = sorted(found.keys() - pictures.keys())
        if lacking:
            tell(f"without an image, so measured by the mask alone: {', '.join(lacking[:5])} ({len(lacking)} in all)")
    if passed:
        tell(f"no label map by name or layout, so not used: {', '.join(path.name for path in passed[:5])}")
    rows = rows_beside(masks) if pictures else {}
    return [Job(case, found[case], pictures.get(case), meaning, table, row=rows.get(case)) for case in sorted(found)]


def _find_masks(masks: Path) -> tuple[dict[str, Path], list[Path]]:
    if not exists(masks):
        raise InputError(masks, "does not exist", MASKS)
    if is_segmentation(masks):
        return {_seg_case(masks): masks}, []
    found, passed = find_label_maps(masks)
    others = []
    for path in passed:
        if not is_segmentation(path):
            others.append(path)
        elif _seg_case(path) not in found:  # beside the label map of its case it is the same mask
            found[_seg_case(path)] = path
        else:
            tell_if_edited(path, found[_seg_case(path)])
    return found, others


def tell_if_edited(seg: Path, mask: Path) -> None:
    """Give notice of a SEG that is no more the same mask as the label map beside it, as times tell."""
    if seg.stat().st_mtime > mask.stat().st_mtime + WRITTEN_TOGETHER_S:
        notice(seg, f"is newer than {mask.name}, which is what is read", "if it was edited, move the other away")


def _seg_case(path: Path) -> str:
    stem = path.name[: -len(SEG_SUFFIX)] if path.name.lower().endswith(SEG_SUFFIX) else path.name
    return next((stem[: -len(end)] for end in SEG_ENDS if stem.lower().endswith(end)), stem)


def read_pair(job: Job) -> tuple[CaseImage, CaseImage | None]:
    """A job's labels and image, on one grid; of a DICOM study the series that the labels are of.

    Raises:
        InputError: If either cannot be used, the labels are of no series of it, or they do not lie on one grid.
    """
    image = None if job.image is None else scan_of_mask(job.mask, job.image, job.row).read()
    labels = read_mask(job.mask, image, job.meaning)
    return labels, None if image is None else fit_to_measure(image, labels)


def fit_to_measure(image: CaseImage, labels: CaseImage) -> CaseImage | None:
    """The image, checked as prediction and planning check it; None, with a notice, where its HU would tell wrong
    things of the kidneys."""
    try:
        check_scan(image)
        foreground = image.volume.array[labels.volume.array > 0]
        if foreground.size:
            check_kidney_hu(image.path, float(np.median(foreground)))
    except InputError as fault:
        done = f"measured by the mask alone; {fault.mend}" if fault.mend else "measured by the mask alone"
        notice(image.path, f"{fault.found}, expected {fault.expected}", done)
        return None
    return image


def read_mask(mask: Path, image: CaseImage | None, meaning: LabelMeaning | None = None) -> CaseImage:
    """A label map or a DICOM SEG, on the grid of its image where there is one.

    Raises:
        InputError: If it cannot be used, or does not lie on that grid.
    """
    if is_segmentation(mask):
        labels = read_segmentation(mask, None if image is None else image.volume.geometry)
        labels = labels if image is None else on_frames_of(image, labels)
    else:
        check_is_case(mask)
        labels = read_labels(mask, meaning)
        labels = labels if image is None else on_grid_of(image, labels)
    tell_of_label_map(labels, with_grid=image is None)
    return labels
