"""One self-contained `index.html` on a run: facts, summary, charts, tables, and a card for each case."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path, PurePosixPath
from typing import Final
from urllib.parse import quote

from bisc._version import __version__
from bisc.report.chart import DicePair, dice_chart
from bisc.report.style import METRIC_NAMES, STAGE_NAMES, STATUS_NAMES, STYLESHEET
from bisc.report.tables import Cell, Scores, Table, format_cell, summary_table, table_html
from bisc.system.files import write_text

DISCLAIMER: Final = "Research use only; not a medical device."


@dataclass(frozen=True)
class Fact:
    """A label with its value, such as ("Cases", 42)."""

    label: str
    value: Cell


@dataclass(frozen=True)
class FileLink:
    """A file beside the page: its path relative to the page's folder, and what it holds in words."""

    path: str
    what: str


@dataclass(frozen=True)
class CaseCard:
    """One case.

    Attributes:
        case: Its name.
        status: "ok", "one_kidney", "no_kidney" or "failed"; any other text is shown as it is.
        figure: The PNG's path relative to the page's folder, or None.
        scores: Per stage ("rough", "fine") "dice_kidney" and "dice_tumor".
        volumes_ml: Per stage ("rough", "fine", "reference") "kidney" (with tumour) and "tumor" in ml.
        note: A remark, such as the error of a failed case.
    """

    case: str
    status: str = "ok"
    figure: str | None = None
    scores: Scores = field(default_factory=dict)
    volumes_ml: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True)
class Page:
    """What the page says, in its order.

    Attributes:
        title: The heading.
        lead: A sentence or two below it.
        facts: Data set, plan, timing.
        cases: The case cards; where they have scores, a summary and a chart of them stand above.
        tables: Further tables.
        files: Links to files, such as the CSV reports.
        note: A remark below the summary, such as what the data are.
        version: The version in the footer.
    """

    title: str
    lead: str
    facts: Sequence[Fact] = ()
    cases: Sequence[CaseCard] = ()
    tables: Sequence[Table] = ()
    files: Sequence[FileLink] = ()
    note: str = ""
    version: str = __version__


def write_page(folder: Path, page: Page) -> Path:
    """Write `folder/index.html`; it needs nothing but the files it links to, which must exist by now.

    Returns:
        The page's path.

    Raises:
        ValueError: If a figure or file is missing, or is not a path relative to `folder`.
    """
    linked = [card.figure for card in page.cases if card.figure is not None] + [link.path for link in page.files]
    for name in linked:
        if PurePosixPath(name).is_absolute() or not (folder / name).is_file():
            raise ValueError(f"the page links to {name!r}, which is not a file relative to {folder}")
    path = folder / "index.html"
    write_text(path, page_html(page, folder))
    return path


def page_html(page: Page, folder: Path) -> str:
    """The page as text; `folder` is where it will lie (figures are looked up there for their size)."""
    anchors = [f"case-{i + 1}" for i in range(len(page.cases))]
    parts = [
        _head(page),
        _facts(page.facts),
        _results(page, anchors),
        *(f"<section><h2>{escape(t.title)}</h2>{_panel(t)}</section>" for t in page.tables),
        _cases(page.cases, anchors, folder),
        _files(page.files),
        f"</main><footer>{DISCLAIMER} BiSC-UNet {escape(page.version)}</footer></body></html>",
    ]
    return "\n".join(part for part in parts if part) + "\n"


def _head(page: Page) -> str:
    title = escape(page.title)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title>\n<style>{STYLESHEET}</style></head>\n"
        f'<body><main><h1>{title}</h1><p class="lead">{escape(page.lead)}</p>'
    )


def _facts(facts: Sequence[Fact]) -> str:
    if not facts:
        return ""
    items = "".join(f"<div><dt>{escape(f.label)}</dt><dd>{escape(format_cell(f.value))}</dd></div>" for f in facts)
    return f'<dl class="facts panel">{items}</dl>'


def _results(page: Page, anchors: Sequence[str]) -> str:
    """The rough-against-fine summary and the charts; nothing where no case has a score."""
    scored = [card.scores for card in page.cases if card.scores]
    note = f'<p class="note">{escape(page.note)}</p>' if page.note else ""
    if not scored:
        return note
    table = summary_table(scored)
    charts = []
    for organ, name in (("kidney", "Kidney"), ("tumor", "Tumour")):
        dice = f"dice_{organ}"
        pairs = [
            DicePair(card.case, _score(card, "rough", dice), _score(card, "fine", dice), anchor)
            for card, anchor in zip(page.cases, anchors, strict=True)
        ]
        chart = dice_chart(pairs, organ, f"Dice of the {name.lower()} for each case, rough and fine")
        charts.append(f'<figure class="panel"><figcaption>{name}: Dice for each case</figcaption>{chart}</figure>')
    key = '<p class="note">Ring: rough stage. Disc: fine stage. The best case is at the top.</p>'
    return (
        f"<section><h2>{escape(table.title)}</h2>{_panel(table)}{note}"
        f'<div class="charts">{"".join(charts)}</div>{key}</section>'
    )


def _panel(table: Table) -> str:
    note = f'<p class="note">{escape(table.note)}</p>' if table.note else ""
    return f'<div class="panel">{table_html(table)}{note}</div>'


def _cases(cards: Sequence[CaseCard], anchors: Sequence[str], folder: Path) -> str:
    if not cards:
        return ""
    articles = "\n".join(_card(card, anchor, folder) for card, anchor in zip(cards, anchors, strict=True))
    return f'<section><h2>Cases</h2><div class="cases">\n{articles}\n</div></section>'


def _card(card: CaseCard, anchor: str, folder: Path) -> str:
    look = {"ok": "good", "failed": "bad"}.get(card.status, "warn")
    badge = f'<span class="badge {look}">{escape(STATUS_NAMES.get(card.status, card.status))}</span>'
    return (
        f'<article class="case panel" id="{anchor}"><header><h3>{escape(card.case)}</h3>{badge}</header>'
        f"{_figure(card, folder)}{_measurements(card)}"
        + (f'<p class="note">{escape(card.note)}</p>' if card.note else "")
        + "</article>"
    )


def _figure(card: CaseCard, folder: Path) -> str:
    if card.figure is None:
        return ""
    link = escape(quote(card.figure))
    alt = escape(f"{card.case}: CT, rough result, fine result and reference, axial and coronal")
    size = png_size(folder / card.figure)
    known = f'width="{size[0]}" height="{size[1]}"' if size else ""
    return f'<div class="view"><a href="{link}"><img src="{link}" {known} alt="{alt}" loading="lazy"></a></div>'


def _measurements(card: CaseCard) -> str:
    """Dice and volumes, a row a stage; columns without any value are left out."""
    stages = [s for s in STAGE_NAMES if s in card.scores or s in card.volumes_ml]
    values = {
        name: [float(source.get(stage, {}).get(key, math.nan)) for stage in stages]
        for source, keys in (
            (card.scores, ("dice_kidney", "dice_tumor")),
            (card.volumes_ml, ("kidney", "tumor")),
        )
        for key, name in ((key, METRIC_NAMES[key]) for key in keys)
    }
    shown = {name: column for name, column in values.items() if any(map(math.isfinite, column))}
    if not shown:
        return ""
    rows: list[list[Cell]] = [
        [STAGE_NAMES[stage], *(_written(name, column[i]) for name, column in shown.items())]
        for i, stage in enumerate(stages)
    ]
    return table_html(Table(card.case, ["", *shown], rows))


def _written(name: str, value: float) -> str:
    """Dice with three decimals, volumes with one, so that a column reads straight down."""
    if not math.isfinite(value):
        return "–"
    return f"{value:.3f}" if name.startswith("Dice") else f"{value:.1f}"


def _files(links: Sequence[FileLink]) -> str:
    if not links:
        return ""
    items = "".join(
        f'<li><a href="{escape(quote(link.path))}">{escape(link.path)}</a>: {escape(link.what)}</li>' for link in links
    )
    return f'<section><h2>Files</h2><div class="panel"><ul class="files">{items}</ul></div></section>'


def _score(card: CaseCard, stage: str, metric: str) -> float:
    return float(card.scores.get(stage, {}).get(metric, math.nan))


def png_size(path: Path) -> tuple[int, int] | None:
    """Width and height in pixels from a PNG's header; None where the file is no PNG."""
    with path.open("rb") as file:
        head = file.read(24)
    if len(head) < 24 or not head.startswith(b"\x89PNG\r\n\x1a\n"):
        return None
    width, height = struct.unpack(">II", head[16:24])
    return int(width), int(height)
