"""Label maps measured: of predictions, of references, of masks that were edited by hand, of DICOM SEG."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bisc.core.errors import BiscError, InputError
from bisc.core.geometry import Geometry
from bisc.core.labels import MIN_KIDNEY_ML
from bisc.imageio import on_grid_of
from bisc.imageio.case import CaseImage
from bisc.imageio.label_names import LabelMeaning
from bisc.measurement.measure import measure as measure_segments
from bisc.measurement.measures import CaseMeasures
from bisc.measurement.table import TABLE, put_cases, put_rows, read_table, rows_of
from bisc.pipeline.measure_jobs import Job, find_jobs, read_pair
from bisc.pipeline.meshes import mesh_files, remove_meshes, write_meshes
from bisc.pipeline.older import is_older, older_than
from bisc.pipeline.options import MeshOptions
from bisc.pipeline.parts import Part, stamp_of
from bisc.pipeline.workers import case_workers
from bisc.preprocessing.midline import body_middle_mm, hides_middle
from bisc.preprocessing.segments import Segment, divide
from bisc.system.cases import run_cases
from bisc.system.files import make_output_folder, remove_partial

Tell = Callable[[str], object]


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
    scheduler: str | None = None,
    part: Part | None = None,
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
        scheduler: Of the workers, as for `bisc.pipeline.workers.case_workers`; None: this machine.
        part: One part of the cases; or all parts, measured by other runs, to be joined.
        tell: Takes a line about what is not used.

    Raises:
        InputError: If nothing can be measured; a single case's fault is in `errors`.
        WorkError: If a part that is to be joined is missing, or the scheduler is lost.
    """
    table = _target(output, masks if masks.is_dir() else Path())
    jobs = find_jobs(masks, images, table, labels, tell)
    make_output_folder(table.parent)
    remove_partial(table.parent)
    jobs = [replace(job, mesh=mesh) for job in jobs]
    if part is not None:
        jobs = part.share(jobs, _name)
        asked = {job.case: stamp_of(job.files, job.meaning and job.meaning.key, mesh) for job in jobs}
        if part.number is None:
            return _joined(part, asked, table)
    known: dict[str, list[dict[str, str]]] = {}
    for row in read_table(table):
        known.setdefault(row["case"], []).append(row)
    kept = [job.case for job in jobs if resume and _is_there(job, known.get(job.case, []))]
    skipped = {*kept}
    jobs = [job for job in jobs if job.case not in skipped]
    _tell_older(jobs, tell)
    n_workers, inputs = max(1, min(n_workers, len(jobs))), [masks] if images is None else [masks, images]
    with case_workers((job.mask for job in jobs), n_workers, tell, scheduler, table.parent, inputs) as pool:
        done = run_cases(_measure_and_note, jobs, pool, "measuring", name=_name)
    if not table.exists():
        put_rows(table, "", [])
    cases = tuple(one.result for one in done if one.result is not None)
    faults = {one.job.case: one.error for one in done if one.error is not None}
    _remove_rows(table, faults)
    if masks.is_dir() and part is None:
        _tell_other_rows(table, {*known} - {*kept} - {one.job.case for one in done}, tell)
    if part is not None:
        rows = {name: known[name] for name in kept}
        rows |= {one.job.case: rows_of(one.result, one.job.stamp) for one in done if one.result is not None}
        part.keep(table.parent, table.stem, asked, faults.items(), rows)
    return Measured(cases, tuple(kept), tuple(faults.values()), table)


def _joined(part: Part, asked: Mapping[str, str], table: Path) -> Measured:
    """What the parts measured; their notes have the rows too, should a disk without locks have lost any."""
    joined = part.join(table.parent, table.stem, asked)
    sound = {case.name: case.result for case in joined.cases if not case.told}
    put_cases(table, sound)
    _remove_rows(table, [case.name for case in joined.cases if case.told])
    return Measured((), tuple(sound), tuple(joined.errors), table)


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
    middle_mm, sided = (None, True) if hu is None else (body_middle_mm(hu), not hides_middle(hu))
    numbered, segments = divide(array, grid, MIN_KIDNEY_ML, middle_mm, sided=sided)
    return MeasuredMap(measure_segments(case, numbered, segments, grid, hu), numbered, segments, grid)


def _name(job: Job) -> str:
    return job.case


def _measure_and_note(job: Job) -> CaseMeasures:
    stamp = job.stamp
    found = measure_labels(job.case, *read_pair(job))
    if job.mesh is not None:
        folder, form, space = job.table.parent, job.mesh.form, job.mesh.space
        write_meshes(folder, job.case, found.numbered, found.segments, found.grid, form, space)
    put_rows(job.table, job.case, rows_of(found.measures, stamp))
    return found.measures


def _is_there(job: Job, rows: Sequence[Mapping[str, str]]) -> bool:
    """Whether an earlier run, which left these rows, made all that is asked for, of the same files."""
    if not rows or rows[0]["stamp"] != job.stamp:
        return False
    if job.mesh is None:
        return True
    names = [row["structure"] for row in rows]
    files = mesh_files(job.table.parent, job.case, names, job.mesh.form, job.mesh.space)
    return all(file.exists() and not is_older(file, job.mask) for file in files)


def _tell_older(jobs: Sequence[Job], tell: Tell) -> None:
    """What shows the mask as it was before it was edited lies beside its new numbers."""
    for job in jobs:
        for line in older_than(job.mask, job.case, job.table.parent, with_meshes=job.mesh is None):
            tell(line)


def _tell_other_rows(table: Path, cases: Collection[str], tell: Tell) -> None:
    """Rows of masks that are gone, or lie elsewhere, stay: who counts rows has to know."""
    if cases:
        first, n = min(cases), len(cases)
        rest = f" and {n - 1} more" if n > 1 else ""
        tell(f"{table} also has rows of {first}{rest}, measured before: no mask of that name is here now")


def _remove_rows(table: Path, cases: Collection[str]) -> None:
    """What an older run left of cases that cannot be measured: beside this run's it would be taken for its own."""
    if cases:
        put_cases(table, {case: [] for case in cases})
    for case in cases:
        remove_meshes(table.parent, case)


def _target(output: Path | None, default_folder: Path) -> Path:
    """Where measures.csv goes; known and refused before the work begins."""
    if output is None:
        return default_folder / TABLE
    if output.suffix.lower() == ".csv" and not output.is_dir():
        return output
    if output.suffix and not output.is_dir():
        raise InputError(output, f"ends in '{output.suffix}'", "a file ending in .csv, or a folder")
    return output / TABLE
