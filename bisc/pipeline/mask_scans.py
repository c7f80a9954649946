"""Which series of a DICOM study a mask is of: another one's HU must not stand under it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bisc.core.choices import Phase
from bisc.core.errors import InputError
from bisc.core.geometry import Geometry
from bisc.core.volume import NativeGrid
from bisc.evaluation.pairs import case_name
from bisc.imageio import image_suffix, read_header
from bisc.imageio.case import InputCase
from bisc.imageio.formats.dicom.segmentation import is_segmentation, series_of_segmentation
from bisc.imageio.label_headers import names_in_header
from bisc.imageio.scan import Scan, list_series, open_scan, scans_of
from bisc.pipeline.options import TABLE, PredictionRow
from bisc.pipeline.rows import read_rows
from bisc.report.dicom.identity import derived_uid
from bisc.system.console import notice, tell

SERIES: Final = "SeriesInstanceUID"
FRAME: Final = "FrameOfReferenceUID"


def rows_beside(masks: Path) -> dict[str, PredictionRow]:
    """What the predictions.csv in the folder of masks, or beside one mask, says of each case; nothing where there is
    none, or another program's."""
    try:
        return {row.case: row for row in read_rows((masks if masks.is_dir() else masks.absolute().parent) / TABLE)}
    except InputError:
        return {}


def row_beside(mask: Path) -> PredictionRow | None:
    """That of one mask."""
    return rows_beside(mask).get(case_name(mask)) if image_suffix(mask) else None


def scan_of_mask(
    mask: Path, case: InputCase, row: PredictionRow | None, series: str | None = None, phase: Phase | None = None
) -> Scan:
    """The scan that a mask was made of.

    Of a DICOM study that is the series that the mask itself names, where it is a SEG; else the one that the user or the
    mask's row of predictions.csv names. Where nobody does it is the first of those on the mask's grid; if there are
    more a notice says so.

    Args:
        mask: A label map or a DICOM SEG.
        case: Its image, or the study that holds it.
        row: What predictions.csv says of the mask.
        series: SeriesInstanceUID, as the user says.
        phase: The contrast phase, likewise.

    Raises:
        InputError: If the study does not hold that series, or as `bisc.imageio.scan.open_scan`.
    """
    if case.fault is not None or not case.files:
        return open_scan(case, series, phase)
    if is_segmentation(mask):
        named, frame = series_of_segmentation(mask)
        scan = _named(mask, case, named, series) if named else _likely(mask, case, row, series, phase)
        _check_frame(mask, frame, scan)
        return scan
    return _likely(mask, case, row, series, phase)


def _named(mask: Path, case: InputCase, named: Sequence[str], series: str | None) -> Scan:
    """The series that a SEG names; one of ours may name it by the UID that --deidentify gave it."""

    def is_it(uid: str) -> bool:
        return series in (None, uid) and (uid in named or derived_uid("deidentified", SERIES, uid) in named)

    scans = [scan for scan in scans_of(case) if is_it(_uid(scan))]
    if scans:
        return _first(mask, case, scans)
    listed = list_series(case)
    for one in listed:
        if is_it(one.uid):
            return open_scan(case, one.uid)  # it is there, and this says why it cannot be read
    there = f"{case.path} ({'; '.join(f'{one.label}: {one.uid}' for one in listed)})"
    asked = there if series is None else f"--series {series}"
    raise InputError(mask, f"is of series {', '.join(named)}", f"one of {asked}", "give its own image")


def _likely(mask: Path, case: InputCase, row: PredictionRow | None, series: str | None, phase: Phase | None) -> Scan:
    """The series that was asked for; else of those that a row tells of, or of all, the first on the mask's grid."""
    told, uid = (row.choice.partition(";")[0], row.series_uid) if row is not None else ("", "")
    if series is not None:
        if uid not in ("", series):
            raise InputError("--series", f"{series}, and {mask} was predicted of {uid}", "that one", "leave it out")
        return open_scan(case, series, phase)
    scans = scans_of(case, phase)
    if row is not None and (uid or row.choice):
        there = "; ".join(scan.told for scan in scans)
        scans = [scan for scan in scans if _is_of(scan, row)]
        if not scans:
            found = f"was predicted of {told or uid}"
            raise InputError(mask, found, f"it in {case.path} ({there})", "give its own image")
    if not is_segmentation(mask):
        names_in_header(mask)  # says that segments overlap, where the header's grid would have several values a voxel
        grid = read_header(mask).volume.geometry
        scans = [scan for scan in scans if _lies_on(scan, grid)] or scans[:1]  # that it lies on none is told later
    return _first(mask, case, scans)


def _is_of(scan: Scan, row: PredictionRow) -> bool:
    """Whether a row is of this series: by its UID, else by number, description and size; the phase may have been told
    by the HU."""
    if row.series_uid:
        return _uid(scan) == row.series_uid
    return row.choice.startswith(f"{scan.told.rpartition(',')[0]},")


def _lies_on(scan: Scan, grid: Geometry) -> bool:
    return scan.stored is not None and NativeGrid.of(scan.stored.geometry).canonical.is_same_grid(grid)


def _uid(scan: Scan) -> str:
    """Its SeriesInstanceUID."""
    return "" if scan.choice is None else scan.choice.series.about.uid


def _first(mask: Path, case: InputCase, scans: Sequence[Scan]) -> Scan:
    """The first of those that a mask may be of."""
    labels = [scan.choice.series.label for scan in scans if scan.choice is not None]
    if len(scans) > 1:
        found = f"may be of {len(scans)} series of {case.path}: {'; '.join(labels)}"
        notice(mask, found, f"{labels[0]} was taken; if it is of another, give that one alone")
    for note in scans[0].notes:
        tell(note)
    return scans[0]


def _check_frame(mask: Path, frame: str, scan: Scan) -> None:
    """Refuse a SEG in another frame of reference than its series, of which each slice may have its own."""
    from bisc.imageio.formats.dicom import tags

    if not frame or scan.choice is None:
        return
    found = set()
    for path in dict.fromkeys(one.path for one in scan.choice.stack.frames):
        uid = tags.text(path, tags.read_header(path), FRAME)
        if not uid or frame in (uid, derived_uid("deidentified", FRAME, uid)):
            return
        found.add(uid)
    raise InputError(
        mask, f"{FRAME} {frame}", f"that of {scan.path}: {', '.join(sorted(found)[:3])}", "give its own image"
    )
