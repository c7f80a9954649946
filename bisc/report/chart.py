"""An inline SVG of every case's Dice, rough against fine; its colours come from the page's style sheet."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

LABELLED_ROWS: Final = 45
"""With more cases than this their names would be a wall: rows get thin and the names move to tooltips."""
WIDTH: Final = 400
"""User units; about the pixels of a phone, so that the letters stay readable there."""
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
        anchor: The id on the page that a click on the row leads to, or "".
    """

    case: str
    rough: float
    fine: float
    anchor: str = ""


def dice_chart(pairs: Sequence[DicePair], organ: str, title: str) -> str:
    """Rows of a ring (rough) joined to a disc (fine) on one Dice axis, the best fine result at the top.

    Args:
        pairs: One a case; those without any value are left out.
        organ: "kidney" or "tumor", the class that gives the colour.
        title: What a screen reader says.

    Returns:
        An `<svg>` element, or a paragraph that says that there is nothing to draw.
    """
    shown = [p for p in pairs if math.isfinite(p.rough) or math.isfinite(p.fine)]
    if not shown:
        return '<p class="note">No case has a Dice value.</p>'
    shown.sort(key=lambda p: (p.fine if math.isfinite(p.fine) else -1.0, p.case), reverse=True)
    named = len(shown) <= LABELLED_ROWS
    row, radius = (22.0, 5.0) if named else (max(2.8, 600.0 / len(shown)), 2.2)
    left, right, top = (
        (12.0 + LETTER * min(LONGEST_NAME, max(len(p.case) for p in shown)) if named else 12.0),
        14.0,
        8.0,
    )
    low = _axis_start([v for p in shown for v in (p.rough, p.fine) if math.isfinite(v)])
    span = WIDTH - left - right
    bottom = top + row * len(shown)

    def x(dice: float) -> float:
        return left + span * (dice - low) / (1.0 - low)

    parts = [f'<svg viewBox="0 0 {WIDTH} {bottom + 24:.0f}" role="img" aria-label="{escape(title)}">']
    for i in range(6):
        tick = low + (1.0 - low) * i / 5
        parts.append(f'<line class="grid" x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="{top}" y2="{bottom:.1f}"/>')
        parts.append(f'<text x="{x(tick):.1f}" y="{bottom + 16:.1f}" text-anchor="middle">{tick:.2f}</text>')
    for i, pair in enumerate(shown):
        parts.append(_row(pair, organ, top + row * (i + 0.5), x, radius, left if named else None))
    return "".join(parts) + "</svg>"


def _axis_start(values: Sequence[float]) -> float:
    """0, or 0.5 or 0.75 where every value lies above it: five even steps to 1 in each case."""
    return next(start for start in (0.75, 0.5, 0.0) if min(values) >= start or start == 0.0)


def _row(
    pair: DicePair, organ: str, y: float, x: Callable[[float], float], radius: float, name_end: float | None
) -> str:
    tip = f"{pair.case}: rough {_number(pair.rough)}, fine {_number(pair.fine)}"
    parts = [f"<g><title>{escape(tip)}</title>"]
    if name_end is not None:
        name = pair.case if len(pair.case) <= LONGEST_NAME else pair.case[: LONGEST_NAME - 1] + "…"
        parts.append(f'<text x="{name_end - 10:.1f}" y="{y + 4:.1f}" text-anchor="end">{escape(name)}</text>')
    if math.isfinite(pair.rough) and math.isfinite(pair.fine):
        parts.append(
            f'<line class="join {organ}" x1="{x(pair.rough):.1f}" x2="{x(pair.fine):.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'
        )
    if math.isfinite(pair.rough):
        parts.append(f'<circle class="rough" cx="{x(pair.rough):.1f}" cy="{y:.1f}" r="{radius - 0.5:.1f}"/>')
    if math.isfinite(pair.fine):
        parts.append(f'<circle class="{organ}" cx="{x(pair.fine):.1f}" cy="{y:.1f}" r="{radius:.1f}"/>')
    row = "".join(parts) + "</g>"
    return f'<a href="#{escape(pair.anchor)}">{row}</a>' if pair.anchor else row


def _number(value: float) -> str:
    return f"{value:.3f}" if math.isfinite(value) else "n/a"
