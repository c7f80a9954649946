"""Scans and their masks in, a page each and an index out: for reading, checking and correcting what was segmented."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from bisc.core.choices import Phase
from bisc.core.errors import BiscError, InputError, PassedOver, WorkError, one_line
from bisc.core.flags import Flags
from bisc.imageio import IMAGE_SUFFIXES
from bisc.imageio.case import CaseImage, InputCase
from bisc.imageio.inputs import find_inputs
from bisc.imageio.scan import Scan
from bisc.pipeline.dicom_cases import identifiers_of, nameless, without_places
from bisc.pipeline.mask_scans import row_beside, scan_of_mask
from bisc.pipeline.measure import measure_labels
from bisc.pipeline.measure_jobs import SEG_ENDS, SEG_SUFFIX, fit_to_measure, read_mask, tell_if_edited
from bisc.pipeline.older import tell_older
from bisc.pipeline.options import FAILED, INDEX, SKIPPED, TABLE, PredictionRow
from bisc.pipeline.report_rows import (
    EDITED,
    NO_MASK,
    flags_of,
    is_edited,
    page_path,
    row_in,
    row_of,
    row_without_page,
    with_row,
    without_page,
)
from bisc.pipeline.rows import read_rows
from bisc.report.patient.index import IndexRow, index_page, thumbnail_of
from bisc.report.patient.page import MadePage, PatientPage, case_page
from bisc.system.console import collecting, track
from bisc.system.files import make_output_folder, remove_partial, write_text
from bisc.system.paths import absence

MASKS: Final = ".nii.gz, .nii, .nrrd, .mha or _seg.dcm"
WHOSE: Final = {
    "Patient ID": "PatientID",
    "Accession number": "AccessionNumber",
    "Name": "PatientName",
    "Date of scan": "StudyDate",
}
NO_SCAN: Final = "its scan is not among the inputs"
Complain = Callable[[BiscError], None]


@dataclass(frozen=True)
class ReportOptions:
    """How pages are made.

    Attributes:
        identify: Say whom a DICOM study is of and when it was taken; else nothing of it stands in a page.
        series: SeriesInstanceUID of the series that was predicted.
        phase: The contrast phase likewise.
        provenance: What made the masks, label and value.
    """

    identify: bool = False
    series: str | None = None
    phase: Phase | None = None
    provenance: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class PageJob:
    """One page to make.

    Attributes:
        case: The scan.
        name: Of its mask, and of the page.
        mask: None where there is none.
        second: A second one in another format: nobody knows which is meant.
        row: Of predictions.csv beside the mask, where there is one.
        folder: Where the page goes.
        options: How.
    """

    case: InputCase
    name: str
    mask: Path | None
    second: Path | None
    row: PredictionRow | None
    folder: Path
    options: ReportOptions


@dataclass(frozen=True)
class Run:
    """The pages of a run, where they go, the masks, and the rows of predictions.csv by case."""

    jobs: Sequence[PageJob]
    folder: Path
    masks: Path
    known: Mapping[str, PredictionRow]


def report_cases(
    source: Path, prediction: Path, out: Path | None, options: ReportOptions, complain: Complain
) -> list[IndexRow]:
    """Write OUT/CASE_report.html for every case that has a mask, and OUT/index.html.

    Args:
        source: The scans, as `bisc_predict` takes them.
        prediction: Its output folder, or one mask of the only scan there is.
        out: Where pages are written; None: beside the masks.
        options: How.
        complain: Takes the error of each case that has no page.

    Returns:
        One row per case, in their order; inputs that are no scan are left out.

    Raises:
        InputError: If there is no scan, no mask's path, or more than one scan for one mask.
    """
    run = begin_pages(source, prediction, out, options)
    return end_pages(run, [page_or_fault(job, complain) for job in track(run.jobs, "report")])


def begin_pages(source: Path, prediction: Path, out: Path | None, options: ReportOptions) -> Run:
    """Find scans and masks, and make the folder ready; arguments and errors as of `report_cases`."""
    missing = absence(prediction)
    if missing:
        raise InputError(prediction, missing, "the output folder of bisc_predict, or a mask")
    is_folder = prediction.is_dir()
    cases = [one for one in find_inputs(source, prediction if is_folder else None) if not _passed(one)]
    if not is_folder:
        cases = [one for one in cases if one.path.resolve() != prediction.resolve()]
        if len(cases) != 1:
            raise InputError(source, f"holds {len(cases)} scans", "one, for one mask", "give the folder of the masks")
    folder = out or (prediction if is_folder else prediction.parent)
    make_output_folder(folder)
    remove_partial(folder)
    known = {row.case: row for row in read_rows(prediction / TABLE)} if is_folder else {}
    names = [(case, _name(case, prediction, known)) for case in cases]
    masks = {name: _masks_of(prediction, name) if is_folder else (prediction, None) for _, name in names}
    rows = known if is_folder else {name: row_beside(prediction) for _, name in names}
    jobs = [
        PageJob(replace(case, name=name), name, *masks[name], rows.get(name), folder, options) for case, name in names
    ]
    return Run(jobs, folder, prediction, known)


def end_pages(run: Run, rows: Sequence[IndexRow]) -> list[IndexRow]:
    """Write the index of these rows and of the cases that have no scan; returns them all."""
    listed = {row.case for row in rows}
    others = [row for row in run.known.values() if row.case not in listed and row.status != SKIPPED]
    rows = [*rows, *(_other(row, run) for row in others)]
    write_text(run.folder / INDEX, index_page(rows))
    return rows


def report_case(
    image: CaseImage,
    labels: CaseImage,
    case: str,
    *,
    flags: Flags | None = None,
    identity: Mapping[str, str] | None = None,
    provenance: Mapping[str, str] | None = None,
    remarks: Sequence[str] = (),
    hu: bool = True,
) -> tuple[PatientPage, MadePage]:
    """One patient's page: what it shows, and its HTML (`.html`).

    Args:
        image: The scan.
        labels: Its label map, as of `bisc.pipeline.measure_jobs.read_mask`.
        case: The heading.
        flags: What the mask says of its trustworthiness.
        identity: Whom it is of, label and value; nothing else of the page says so.
        provenance: What made the mask, label and value.
        remarks: What was said of the scan as it was read.
        hu: Whether the scan's HU are fit to be measured by.

    Raises:
        InputError: If the two lie on different grids.
    """
    found = measure_labels(case, labels, image if hu else None)
    page = PatientPage(
        image.volume,
        found.numbered,
        found.segments,
        found.measures,
        flags,
        identity=identity or {},
        provenance=provenance or {},
        remarks=remarks,
    )
    return page, case_page(page)


def _passed(case: InputCase) -> bool:
    return isinstance(case.fault, PassedOver)


def _name(case: InputCase, prediction: Path, known: Mapping[str, PredictionRow]) -> str:
    """Of its mask: the case's, or the one that --deidentify gave it."""
    hidden = nameless(case).name
    return hidden if hidden in known and case.name not in known and prediction.is_dir() else case.name


def _masks_of(folder: Path, name: str) -> tuple[Path | None, Path | None]:
    """CASE.nii.gz, or what an editor saved in its place; else the DICOM SEG. And a second one in another format, which
    may be the edited one; a SEG beside a mask is the same mask."""
    images, objects = (
        [path for path in (folder / f"{name}{end}" for end in ends) if path.is_file()]
        for ends in (IMAGE_SUFFIXES, [f"{end}{SEG_SUFFIX}" for end in SEG_ENDS])
    )
    first, second, *_ = *(images or objects), None, None
    if images and objects:
        tell_if_edited(objects[0], images[0])
    return first, second


def page_or_fault(job: PageJob, complain: Complain) -> IndexRow:
    """Write one page; what is wrong goes to `complain`, and leaves no page."""
    case = job.case
    if job.mask is None and job.row is not None:
        return without_page(job.row, job.folder, "no mask", NO_MASK)
    try:
        if case.fault is not None:
            raise case.fault
        if job.mask is None:
            raise InputError(case.path, f"has no mask {job.name}.nii.gz", MASKS, "predict it first")
        if job.second is not None:
            raise InputError(job.second, f"a second mask of {job.name}, beside {job.mask.name}", "one", "remove one")
        return _written_page(job, job.mask)
    except BiscError as error:
        return page_fault(job, error, complain)
    except Exception as error:  # noqa: BLE001 - one broken case must not end the others
        return page_fault(job, WorkError(one_line(f"{case.path}: {type(error).__name__}: {error}")), complain)


def page_fault(job: PageJob, fault: BiscError, complain: Complain) -> IndexRow:
    """The row of a page that could not be made."""
    complain(fault)
    page_path(job.folder, job.name).unlink(missing_ok=True)  # an older page would be taken for this mask's
    words = without_places(str(fault), job.case)
    return IndexRow(job.name, NO_MASK if job.mask is None else FAILED, reason=words)


def _written_page(job: PageJob, mask: Path) -> IndexRow:
    name, row, options = job.name, job.row, job.options
    with collecting() as said:
        scan = scan_of_mask(mask, job.case, row, options.series, options.phase)
        image = scan.read()
        labels = read_mask(mask, image)
        fits = fit_to_measure(image, labels) is not None
    if not options.identify:
        said = [without_places(words.replace(str(mask), mask.name), job.case) for words in said]
    edited = is_edited(labels, row, mask)
    provenance = {"Mask": mask.name} | ({"Edited": EDITED} if edited else {}) | dict(options.provenance)
    flags, identity = None if edited else flags_of(row), _identity(scan) if options.identify else None
    page, made = report_case(
        image, labels, name, flags=flags, identity=identity, provenance=provenance, remarks=said, hu=fits
    )
    listed = write_page(job.folder, name, page, made, row)
    tell_older(mask, page.measures)
    return listed


def write_page(folder: Path, name: str, page: PatientPage, made: MadePage, row: PredictionRow | None) -> IndexRow:
    """Write FOLDER/NAME_report.html; its row of the index stands in it."""
    target = page_path(folder, name)
    listed = replace(row_of(page, name, row), page=target.name, thumbnail=thumbnail_of(made.picture, name))
    write_text(target, with_row(made.html, listed))
    return listed


def write_index(folder: Path) -> Path:
    """Write FOLDER/index.html of the cases in its predictions.csv and the pages beside it."""
    known = [row for row in read_rows(folder / TABLE) if row.status != SKIPPED]
    rows = [row_in(page_path(folder, row.case)) or row_without_page(row, "no page") for row in known]
    write_text(folder / INDEX, index_page(rows))
    return folder / INDEX


def _identity(scan: Scan) -> dict[str, str]:
    """Who and when, of a DICOM series' first slice."""
    whose = identifiers_of(scan, WHOSE)
    if scan.choice is not None:
        whose["Name"] = whose["Name"].replace("^", " ").strip()
        whose["Series"] = scan.choice.series.label
    return {label: value for label, value in whose.items() if value}


def _other(row: PredictionRow, run: Run) -> IndexRow:
    """Of a case whose scan is not among the inputs: that of its page, unless its mask is newer; nothing is removed."""
    page, (mask, _) = page_path(run.folder, row.case), _masks_of(run.masks, row.case)
    if mask is None:
        return row_without_page(row, NO_SCAN, NO_MASK)
    if page.is_file() and page.stat().st_mtime_ns < mask.stat().st_mtime_ns:
        return row_without_page(row, f"its page is older than its mask, and {NO_SCAN}")
    return row_in(page) or row_without_page(row, NO_SCAN)
