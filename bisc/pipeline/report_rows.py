"""A case's row in the index of a run: of its page, or why there is none; and what its prediction said of itself."""

from __future__ import annotations

import re
from collections.abc import Mapping
from html import escape, unescape
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from bisc.core.flags import Flag, Flags
from bisc.core.labels import TUMOR
from bisc.imageio.case import CaseImage
from bisc.measurement.measures import Measure
from bisc.pipeline.options import FAILED, PredictionRow
from bisc.pipeline.rows import mask_changed
from bisc.preprocessing.segments import Segment
from bisc.report.patient.index import DONE, IndexRow
from bisc.report.patient.key_slices import AXIAL
from bisc.report.patient.page import PatientPage
from bisc.report.patient.words import LIGHTS, title_of, told

NO_MASK: Final = "no_mask"
NO_PAGE: Final = "no_page"
META: Final = "index-row"
ROW_CHARACTERS: Final = 200_000
"""Of a page's beginning, in which its row stands."""
ROUNDED_ML: Final = 0.002
"""Of the volumes in predictions.csv."""
EDITED: Final = "not as it was predicted: its flags are not shown"


def flags_of(row: PredictionRow | None) -> Flags | None:
    """What predictions.csv says of a mask's trustworthiness; None where it says nothing, or of another form."""
    light, words = (str(getattr(row, column, "") or "") for column in ("light", "flags"))
    if light not in LIGHTS or not words:
        return None
    try:
        flags = msgspec.json.decode(words, type=tuple[Flag, ...])
    except msgspec.MsgspecError:
        return None
    return msgspec.convert({"light": light, "risk": getattr(row, "risk", None), "flags": flags}, Flags)


def is_edited(labels: CaseImage, row: PredictionRow | None, mask: Path) -> bool:
    """Whether a mask is not the one that was predicted: its flags are not this one's. By the row's mark of the file;
    where it has none, or of another file of the same mask, by volumes."""
    if row is None or row.kidney_ml is None:
        return False
    if mask.name == f"{row.case}.nii.gz" and mask_changed(row, mask.parent):
        return True
    array, voxel_ml = labels.volume.array, labels.volume.geometry.voxel_volume_ml
    now_ml = [np.count_nonzero(array >= lowest) * voxel_ml for lowest in (1, TUMOR)]
    return not np.allclose(now_ml, [row.kidney_ml, row.tumor_ml or 0.0], rtol=1e-4, atol=ROUNDED_ML)


def with_row(html: str, row: IndexRow) -> str:
    """A page that carries its own row of the index: whoever finds the page can list it."""
    told = escape(msgspec.json.encode(row).decode(), quote=True)
    return html.replace("<title>", f'<meta name="{META}" content="{told}">\n<title>', 1)


def page_path(folder: Path, name: str) -> Path:
    """Where a case's page lies."""
    return folder / f"{name}_report.html"


def row_in(page: Path) -> IndexRow | None:
    """The row that a page carries; None where there is no such page."""
    try:
        with page.open(encoding="utf-8") as file:
            found = re.search(rf'<meta name="{META}" content="([^"]*)">', file.read(ROW_CHARACTERS))
        return msgspec.json.decode(unescape(found[1]), type=IndexRow) if found else None
    except (OSError, UnicodeDecodeError, msgspec.MsgspecError):  # not there, or another's
        return None


def row_of(page: PatientPage, name: str, row: PredictionRow | None) -> IndexRow:
    segments = page.segments
    by_number = {one.segment.number: one.measures for one in page.measures.structures}
    tumors = [one for one in segments if one.organ == "tumor"]
    return IndexRow(
        name,
        _status(page, row),
        page.flags.light if page.flags else None,
        tuple(_told(page, one, by_number[one.number]) for one in tumors),
        sum(one.volume_ml for one in segments),
        sum(one.volume_ml for one in tumors),
        _reason(page, row),
        at_least=(page.measures.at_least("kidney", "tumor"), page.measures.at_least("tumor")),
    )


def _told(page: PatientPage, segment: Segment, measures: Mapping[str, Measure]) -> str:
    """'Tumour 1, left: 34.1 mm'."""
    size = measures.get(AXIAL)
    words = "" if size is None else told(size, page.definitions["tumor"].get(AXIAL))
    return f"{title_of(segment)}: {words}" if words else title_of(segment)


def _status(page: PatientPage, row: PredictionRow | None) -> str:
    """That of predictions.csv, or of a mask that was edited since, or that nobody predicted, as it is now."""
    if row is not None and row.status in DONE and "Edited" not in page.provenance:
        return row.status
    segments = page.segments
    sides = {one.side for one in segments if one.organ == "kidney"}
    if not segments:
        return "no_kidney"
    return "ok" if {"left", "right"} <= sides else "one_kidney"


def _reason(page: PatientPage, row: PredictionRow | None) -> str:
    raised = [flag.words for flag in page.flags.raised] if page.flags else []
    edited = "The mask was edited since." if "Edited" in page.provenance else _nameless(row)
    return " ".join(filter(None, [edited, *raised]))


def _nameless(row: PredictionRow | None) -> str:
    """A row's error without the place where its input lay."""
    if row is None:
        return ""
    return row.error.replace(row.source, row.case) if row.source else row.error


def row_without_page(row: PredictionRow, why: str, status: str = NO_PAGE) -> IndexRow:
    """Of a case that failed, or whose scan or mask is not there."""
    failed = row.status == FAILED
    return IndexRow(
        row.case,
        FAILED if failed else status,
        kidney_ml=row.kidney_ml,
        tumor_ml=row.tumor_ml,
        reason=_nameless(row) if failed else why,
    )


def without_page(row: PredictionRow, folder: Path, why: str, status: str = NO_PAGE) -> IndexRow:
    """An older page would be taken for this run's."""
    page_path(folder, row.case).unlink(missing_ok=True)
    return row_without_page(row, why, status)
