"""Label maps measured: of predictions, of references, of masks that were edited by hand, of DICOM SEG."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from bisc._version import __version__
from bisc.core.errors import BiscError, InputError
from bisc.core.geometry import Geometry
from bisc.core.labels import MIN_KIDNEY_ML
from bisc.evaluation.pairs import find_label_maps, meaning_beside
from bisc.imageio import files_of, on_grid_of, read_image, read_labels
from bisc.imageio.case import CaseImage, InputCase
from bisc.imageio.formats.dicom.segmentation import is_segmentation, on_frames_of, read_segmentation
from bisc.imageio.inputs import find_inputs
from bisc.imageio.label_names import LabelMeaning
from bisc.imageio.scan import open_scan
from bisc.measurement.measure import measure as measure_segments
from bisc.measurement.measures import CaseMeasures
from bisc.measurement.table import TABLE, put_rows, read_table, rows_of
from bisc.pipeline.meshes import write_meshes
from bisc.pipeline.options import MeshOptions
from bisc.pipeline.workers import workers_that_fit
from bisc.preprocessing.kidneys import body_middle_mm
from bisc.preprocessing.segments import Segment, divide
from bisc.system.cases import process_pool, run_cases
from bisc.system.files import make_output_folder, remove_partial
from bisc.system.paths import exists

Tell = Callable[[str], object]
MASKS: Final = "a label map, a folder of CASE.nii.gz or CASE/segmentation.nii.gz, or DICOM SEG files"
SEG_SUFFIX: Final = ".dcm"
SEG_ENDS: Final = ("_seg", "-seg", ".seg")


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
    """

    case: str
    mask: Path
    image: InputCase | None
    meaning: LabelMeaning | None
    table: Path
    mesh: MeshOptions | None = None

    @property
    def stamp(self) -> str:
        """Changes with the files and with this version."""
        files = [self.mask, *(() if self.image is None else self.image.files or files_of(self.image.path))]
        stats = [(file.stat().st_size, file.stat().st_mtime_ns) for file in files]
        meant = "" if self.meaning is None else self.meaning.key
        return hashlib.blake2b(repr((__version__, stats, meant)).encode(), digest_size=8).hexdigest()


@dataclass(frozen=True)
class Measured:
    """What became of many label maps.

    Attributes:
        cases: Measured now.
        kept: Names of those that an earlier run had measured.
        errors: Of those that could not be.
        table: measures.csv.
    """

    cases: tuple[CaseMeasures, ...]
    kept: tuple[str, ...]
    errors: tuple[BiscError, ...]
    table: Path


def measure_folders(
    masks: Path,
    images: Path | None = None,
    output: Path | None = None,
    *,
    labels: LabelMeaning | None = None,
    mesh: MeshOptions | None = None,
    n_workers: int = 1,
    resume: bool = False,
    tell: Tell = lambda _: None,
) -> Measured:
    """Measure every label map of a path.

    Args:
        masks: `MASKS`.
        images: Their CT, in any form that `bisc_predict` takes, of the same names; one mask and one image need none.
        output: A .csv file or a folder; None: measures.csv in `masks`, here for a single file.
        labels: What the values mean, as the user says; None: as a dataset.json beside them says.
        mesh: Also write the surfaces of kidneys and tumours, beside the table; None: none.
        n_workers: Cases measured at a time; 1 works in this process.
        resume: Keep the rows of cases whose files have not changed.
        tell: Takes a line about what is not used.

    Raises:
        InputError: If nothing can be measured; a single case's fault is in `errors`.
    """
    table = _target(output, masks if masks.is_dir() else Path())
    jobs = find_jobs(masks, images, table, labels, tell)
    make_output_folder(table.parent)
    remove_partial(table.parent)
    stamps = {row["case"]: row["stamp"] for row in read_table(table)}
    kept = [job.case for job in jobs if resume and stamps.get(job.case) == job.stamp]
    jobs = [replace(job, mesh=mesh) for job in jobs if job.case not in kept]
    with process_pool(workers_that_fit((job.mask for job in jobs), min(n_workers, len(jobs)), tell)) as pool:
        done = run_cases(_measure_and_note, jobs, pool, "measuring", name=lambda job: job.case)
    cases = tuple(one.result for one in done if one.result is not None)
    errors = tuple(one.error for one in done if one.error is not None)
    if not table.exists():
        put_rows(table, "", [])
    return Measured(cases, tuple(kept), errors, table)


def measure(mask: str | Path, image: str | Path | None = None) -> CaseMeasures:
    """Measure one mask: kidneys with side, tumours one by one.

        found = bisc.measure("out/case_00000.nii.gz", "case_00000/imaging.nii.gz")
        for structure in found.structures:
            structure.segment.name, structure.measures["volume_ml"].value

    Args:
        mask: A label map, or a DICOM SEG.
        image: The CT that it is of: a file, or a folder with one DICOM study. Without it what only a CT tells is
            withheld.

    Returns:
        What `bisc.measurement.measures.CaseMeasures` describes; docs/reference/measurements.md says what each is.

    Raises:
        InputError: If either cannot be used, or the two lie on different grids.
    """
    jobs = find_jobs(Path(mask), None if image is None else Path(image), Path(TABLE), None)
    if len(jobs) > 1:
        raise InputError(mask, f"holds {len(jobs)} label maps", "one", "bisc_measure takes folders")
    return measure_labels(jobs[0].case, *read_pair(jobs[0])).measures


@dataclass(frozen=True, eq=False)
class MeasuredMap:
    """One label map, divided and measured.

    Attributes:
        measures: All of them.
        numbered: Canonical (z, y, x) segment numbers.
        segments: In their order.
        grid: The map's, or the whole image's where there is one.
    """

    measures: CaseMeasures
    numbered: npt.NDArray[np.uint8]
    segments: Sequence[Segment]
    grid: Geometry


def measure_labels(case: str, labels: CaseImage, image: CaseImage | None = None) -> MeasuredMap:
    """Divide and measure one label map.

    Args:
        case: Its name.
        labels: 0 background, 1 kidney, 2 tumour.
        image: The CT on the same grid; without it what only a CT tells is withheld.

    Raises:
        InputError: If the two lie on different grids.
    """
    if image is not None:
        labels = on_grid_of(image, labels)
    hu, grid = None if image is None else image.volume, labels.volume.geometry
    array = np.ascontiguousarray(labels.volume.array, dtype=np.uint8)
    numbered, segments = divide(array, grid, MIN_KIDNEY_ML, None if hu is None else body_middle_mm(hu))
    return MeasuredMap(measure_segments(case, numbered, segments, grid, hu), numbered, segments, grid)


def find_jobs(
    masks: Path, images: Path | None, table: Path, labels: LabelMeaning | None, tell: Tell = lambda _: None
) -> list[Job]:
    """The label maps of a path, and the image of each.

    Raises:
        InputError: If there is no label map, or none of the images is of one.
    """
    found, passed = _find_masks(masks)
    if not found:
        raise InputError(masks, "holds no label map", MASKS)
    meaning = labels or (None if masks in found.values() and is_segmentation(masks) else meaning_beside(masks))
    pictures: dict[str, InputCase] = {}
    if images is not None:
        pictures = {case.name: case for case in find_inputs(images) if case.fault is None}
        if len(found) == len(pictures) == 1:
            pictures = dict.fromkeys(found, next(iter(pictures.values())))
        if not pictures.keys() & found.keys():
            some = ", ".join(sorted(pictures)[:3]) or "none"
            raise InputError(images, f"no image of these label maps ({some})", f"{', '.join(sorted(found)[:3])}, ...")
        lacking = sorted(found.keys() - pictures.keys())
        if lacking:
            tell(f"without an image, so measured by the mask alone: {', '.join(lacking[:5])} ({len(lacking)} in all)")
    if passed:
        tell(f"no label map by name or layout, so not used: {', '.join(path.name for path in passed[:5])}")
    return [Job(case, found[case], pictures.get(case), meaning, table) for case in sorted(found)]


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
    return found, others


def _seg_case(path: Path) -> str:
    stem = path.name[: -len(SEG_SUFFIX)] if path.name.lower().endswith(SEG_SUFFIX) else path.name
    return next((stem[: -len(end)] for end in SEG_ENDS if stem.lower().endswith(end)), stem)


def read_pair(job: Job) -> tuple[CaseImage, CaseImage | None]:
    """A job's labels and image, on one grid.

    Raises:
        InputError: If either cannot be used, or they do not lie on one grid.
    """
    image = None
    if job.image is not None:
        image = open_scan(job.image).read() if job.image.files else read_image(job.image.path)
    return read_mask(job.mask, image, job.meaning), image


def read_mask(mask: Path, image: CaseImage | None, meaning: LabelMeaning | None = None) -> CaseImage:
    """A label map or a DICOM SEG, on the grid of its image where there is one.

    Raises:
        InputError: If it cannot be used, or does not lie on that grid.
    """
    if is_segmentation(mask):
        labels = read_segmentation(mask)
        return labels if image is None else on_frames_of(image, labels)
    labels = read_labels(mask, meaning)
    return labels if image is None else on_grid_of(image, labels)


def _measure_and_note(job: Job) -> CaseMeasures:
    stamp = job.stamp
    found = measure_labels(job.case, *read_pair(job))
    if job.mesh is not None:
        folder, form, space = job.table.parent, job.mesh.form, job.mesh.space
        write_meshes(folder, job.case, found.numbered, found.segments, found.grid, form, space)
    put_rows(job.table, job.case, rows_of(found.measures, stamp))
    return found.measures


def _target(output: Path | None, default_folder: Path) -> Path:
    """Where measures.csv goes; known and refused before the work begins."""
    if output is None:
        return default_folder / TABLE
    if output.suffix.lower() == ".csv" and not output.is_dir():
        return output
    if output.suffix and not output.is_dir():
        raise InputError(output, f"ends in '{output.suffix}'", "a file ending in .csv, or a folder")
    return output / TABLE
