"""One self-contained `index.html` on a run: pictures first, then summary, charts, tables, and a card for each case."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

from bisc._version import __version__
from bisc.report.chart import Chart, DicePair, dice_chart
from bisc.report.style import KIDNEY_COLOUR, METRIC_NAMES, ORGAN_NAMES, STAGE_NAMES, STATUS_NAMES, TUMOR_COLOUR
from bisc.report.tables import Cell, Scores, Table, format_cell, summary_table
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
class Picture:
    """One case at the top of the page: why it is shown ("Best"), which it is, its picture beside the page, and what to
    say of it."""

    title: str
    case: str
    path: str
    caption: str


@dataclass(frozen=True)
class Page:
    """What the page says, in its order.

    Attributes:
        title: The heading.
        lead: A sentence or two below it.
        facts: Data set, plan, timing.
        cases: The case cards; where they have scores, a summary and a chart of them stand above.
        pictures: What the page opens with.
        tables: Further tables.
        files: Links to files, such as the CSV reports.
    """

    title: str
    lead: str
    facts: Sequence[Fact] = ()
    cases: Sequence[CaseCard] = ()
    pictures: Sequence[Picture] = ()
    tables: Sequence[Table] = ()
    files: Sequence[FileLink] = ()


def write_page(folder: Path, page: Page) -> Path:
    """Write `folder/index.html`; it needs nothing but the files it links to, which must exist by now.

    Returns:
        The page's path.

    Raises:
        ValueError: If a figure or file is missing, or is not a path relative to `folder`.
    """
    for name in (*_images(page), *(link.path for link in page.files)):
        if PurePosixPath(name).is_absolute() or not (folder / name).is_file():
            raise ValueError(f"the page links to {name!r}, which is not a file relative to {folder}")
    path = folder / "index.html"
    write_text(path, page_html(page, folder))
    return path


def page_html(page: Page, folder: Path) -> str:
    """The page as text; `folder` is where it will lie (pictures are looked up there for their size)."""
    anchors = {card.case: f"case-{i + 1}" for i, card in enumerate(page.cases)}
    scored = [card.scores for card in page.cases if card.scores]
    return (
        templates()
        .get_template("page.html.j2")
        .render(
            page=page,
            anchors=anchors,
            summary=summary_table(scored) if scored else None,
            charts=[_chart(page.cases, anchors, organ) for organ in ("kidney", "tumor")],
            measurements=[_measurements(card) for card in page.cases],
            sizes={path: _size(folder / path) for path in _images(page)},
            status_names=STATUS_NAMES,
            colours={"kidney": KIDNEY_COLOUR, "tumor": TUMOR_COLOUR},
            disclaimer=DISCLAIMER,
            version=__version__,
        )
    )


@lru_cache(maxsize=1)
def templates() -> Environment:
    """Whatever a name or an error holds is text on the page, never markup; a name that no one gave is an error."""
    found = Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters["cell"] = format_cell
    return found


def _images(page: Page) -> list[str]:
    return [*(picture.path for picture in page.pictures), *(card.figure for card in page.cases if card.figure)]


def _size(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


def _chart(cards: Sequence[CaseCard], anchors: Mapping[str, str], organ: str) -> Chart:
    pairs = [
        DicePair(card.case, _score(card, "rough", organ), _score(card, "fine", organ), anchors[card.case])
        for card in cards
    ]
    return dice_chart(pairs, organ, f"{ORGAN_NAMES[organ]}: Dice for each case")


def _score(card: CaseCard, stage: str, organ: str) -> float:
    return float(card.scores.get(stage, {}).get(f"dice_{organ}", math.nan))


def _measurements(card: CaseCard) -> Table | None:
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
        return None
    rows: list[list[Cell]] = [
        [STAGE_NAMES[stage], *(_written(name, column[i]) for name, column in shown.items())]
        for i, stage in enumerate(stages)
    ]
    return Table(card.case, ["", *shown], rows)


def _written(name: str, value: float) -> str:
    """Dice with three decimals, volumes with one, so that a column reads straight down."""
    if not math.isfinite(value):
        return "–"
    return f"{value:.3f}" if name.startswith("Dice") else f"{value:.1f}"
