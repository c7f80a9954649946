"""A plot of dots, lines and bands in two axes, in user units of an SVG; templates/plot.svg.j2 draws it.

Drawn by the page itself, a plot has the page's colours, light and dark, and needs no file.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from matplotlib.ticker import LogLocator, MaxNLocator

WIDTH: Final = 340
"""User units; about the pixels of a phone, so that the letters stay readable there."""
HEIGHT: Final = 260
LEFT: Final = 52.0
RIGHT: Final = 12.0
TOP: Final = 10.0
BOTTOM: Final = 44.0


@dataclass(frozen=True)
class Axis:
    """One axis: where it begins and ends, its ticks with their text, and whether it is logarithmic."""

    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    log: bool = False

    def part(self, value: float) -> float:
        """Where a value lies between the ends, 0 to 1; values beyond them lie at them."""
        low, high, at = (math.log(v) if self.log else v for v in (self.low, self.high, max(value, self.low)))
        return min(1.0, (at - low) / (high - low))


def axis(values: Sequence[float], log: bool = False, n_ticks: int = 6) -> Axis:
    """An axis of round ticks around finite values; of a logarithmic one all are above 0."""
    low, high = (min(values), max(values)) if values else (1.0, 2.0) if log else (0.0, 1.0)
    if log:
        low, high = low / 1.15, high * 1.15
        for subs in ((1.0, 2.0, 5.0), (1.0, 3.0), (1.0,)):  # the fewer, the more powers of ten there are
            found = LogLocator(subs=subs, numticks=99).tick_values(low, high)
            ticks = [float(v) for v in found if low <= v <= high]
            if len(ticks) <= n_ticks + 1:
                break
        return Axis(low, high, _ticks(ticks), True)
    if high - low < 1e-9 * max(1.0, abs(high)):
        low, high = low - 0.5 * (abs(low) or 1.0), high + 0.5 * (abs(high) or 1.0)
    margin = 0.04 * (high - low)
    found = MaxNLocator(nbins=n_ticks, steps=[1, 2, 2.5, 5, 10]).tick_values(low - margin, high + margin)
    ticks = [float(v) for v in found if low - margin <= v <= high + margin]
    return Axis(low - margin, high + margin, _ticks(ticks))


def _ticks(values: Sequence[float]) -> tuple[tuple[float, str], ...]:
    step = min(np.diff(values), default=1.0)
    return tuple((float(v), f"{0.0 if abs(v) < 1e-9 * step else v:.6g}") for v in values)


@dataclass(frozen=True)
class Dot:
    """A patient: where he is, what pointing at him says, and the class that gives the colour."""

    x: float
    y: float
    tip: str
    kind: str
    radius: float = 3.5


@dataclass(frozen=True)
class Line:
    """A line between two places, its class and, near its right end, its text."""

    x0: float
    y0: float
    x1: float
    y1: float
    kind: str
    text: str = ""


@dataclass(frozen=True)
class Band:
    """A rectangle between two corners."""

    x0: float
    y0: float
    x1: float
    y1: float
    kind: str


@dataclass(frozen=True)
class Plot:
    """A plot, all places in values of its axes until the template asks `x` and `y` for user units.

    Attributes:
        title: What stands above it.
        aria: What a screen reader says of it.
        note: A line below, or "".
        height: User units.
        left: Where the axis begins.
    """

    title: str
    aria: str
    x_axis: Axis
    y_axis: Axis
    x_label: str
    y_label: str
    dots: tuple[Dot, ...] = ()
    lines: tuple[Line, ...] = ()
    bands: tuple[Band, ...] = ()
    note: str = ""
    height: float = HEIGHT
    left: float = LEFT
    width: int = WIDTH

    @property
    def right(self) -> float:
        """Where the axis ends."""
        return self.width - RIGHT

    @property
    def top(self) -> float:
        """Where the plot begins."""
        return TOP

    @property
    def bottom(self) -> float:
        """Where the plot ends, above its ticks."""
        return self.height - BOTTOM

    def x(self, value: float) -> float:
        """The user units of a value of the x axis."""
        return self.left + (self.right - self.left) * self.x_axis.part(value)

    def y(self, value: float) -> float:
        """The user units of a value of the y axis, which grows upwards."""
        return self.bottom - (self.bottom - self.top) * self.y_axis.part(value)
