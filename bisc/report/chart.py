"""Where each case's Dice stands in a chart of rough against fine; templates/chart.svg.j2 draws it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

LABELLED_ROWS: Final = 45
"""With more cases than this their names would be a wall: rows get thin and the names move to tooltips."""
WIDTH: Final = 400
"""User units; about the pixels of a phone, so that the letters stay readable there."""
TOP: Final = 8.0
RIGHT: Final = 14.0
LONGEST_NAME: Final = 16
LETTER: Final = 8.0
"""User units a letter of a name may take: wide fonts (DejaVu Sans) need all of it."""


@dataclass(frozen=True)
class DicePair:
    """One row: a case's Dice after either stage, 0 to 1; NaN where the reference lacks the organ.

    Attributes:
        case: The case's name.
        rough: Dice of the rough result.
        fine: Dice of the fine result.
        anchor: The id on the page that a click on the row leads to.
    """

    case: str
    rough: float
    fine: float
    anchor: str = ""


@dataclass(frozen=True)
class Row:
    """A ring at `rough_x`, joined to a disc at `fine_x`; None where there is no value."""

    name: str
    tip: str
    anchor: str
    y: float
    rough_x: float | None
    fine_x: float | None


@dataclass(frozen=True)
class Chart:
    """Rows on one Dice axis, the best fine result at the top; all places in user units.

    Attributes:
        organ: "kidney" or "tumor", the class that gives the colour.
        title: What a screen reader says.
        left: Where the axis begins, right of the names.
        bottom: Where the rows end.
        radius: Of a disc.
        ticks: Six places on the axis, with their Dice.
        rows: None where no case has a value.
    """

    organ: str
    title: str
    left: float
    bottom: float
    radius: float
    ticks: tuple[tuple[float, float], ...]
    rows: tuple[Row, ...]
    width: int = WIDTH
    top: float = TOP


def dice_chart(pairs: Sequence[DicePair], organ: str, title: str) -> Chart:
    """The chart of all cases that have a value."""
    shown = [p for p in pairs if math.isfinite(p.rough) or math.isfinite(p.fine)]
    shown.sort(key=lambda p: (p.fine if math.isfinite(p.fine) else -1.0, p.case), reverse=True)
    named = len(shown) <= LABELLED_ROWS
    height, radius = (22.0, 5.0) if named else (max(2.8, 600.0 / len(shown)), 2.2)
    longest = max((len(p.case) for p in shown), default=0)
    left = 12.0 + (LETTER * min(LONGEST_NAME, longest) if named else 0.0)
    low = _axis_start([v for p in shown for v in (p.rough, p.fine) if math.isfinite(v)])

    def x(dice: float) -> float | None:
        return left + (WIDTH - left - RIGHT) * (dice - low) / (1.0 - low) if math.isfinite(dice) else None

    ticks = [low + (1.0 - low) * i / 5 for i in range(6)]
    rows = [
        Row(
            _short(p.case) if named else "",
            f"{p.case}: rough {_number(p.rough)}, fine {_number(p.fine)}",
            p.anchor,
            TOP + height * (i + 0.5),
            x(p.rough),
            x(p.fine),
        )
        for i, p in enumerate(shown)
    ]
    places = tuple((x(tick) or 0.0, tick) for tick in ticks)
    return Chart(organ, title, left, TOP + height * len(shown), radius, places, tuple(rows))


def _axis_start(values: Sequence[float]) -> float:
    """0, or 0.5 or 0.75 where every value lies above it: five even steps to 1 in each case."""
    return next(start for start in (0.75, 0.5, 0.0) if min(values, default=0.0) >= start or start == 0.0)


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"


def _number(value: float) -> str:
    return f"{value:.3f}" if math.isfinite(value) else "n/a"
