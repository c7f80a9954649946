"""The plots of a comparison: each patient under both runs, differences in order, spreads, and Bland and Altman's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from bisc.evaluation.agreement import Estimate
from bisc.evaluation.comparison import BY_NAME, ComparedPair, Measure, MeasureRow, VolumeRow
from bisc.report.chart import LONGEST_NAME
from bisc.report.plot import BOTTOM, TOP, Axis, Band, Dot, Line, Plot, axis
from bisc.report.style import ORGAN_NAMES

SHARES: Final = (
    "dice_kidney",
    "dice_tumor",
    "dice_composite",
    "dice_kidney_only",
    "surface_dice_kidney",
    "surface_dice_tumor",
)
DISTANCES: Final = ("hd95_kidney_mm", "hd95_tumor_mm")
SHORTEST_MM: Final = 1.0
"""Distances are drawn on a logarithmic axis that begins here: what is shorter is far below a voxel's diagonal."""
ROW: Final = 19.0
"""User units a row of a strip plot takes."""

Values = Sequence[tuple[str, float, float]]
"""Case, first run's value, second run's."""


def values_of(pair: ComparedPair, measure: Measure) -> list[tuple[str, float, float]]:
    """Every pair of finite values."""
    both = [(case, measure.of(x), measure.of(y)) for case, (x, y) in pair.matched.rows.items()]
    return [(case, p, q) for case, p, q in both if math.isfinite(p) and math.isfinite(q)]


def scatter(pair: ComparedPair, name: str) -> Plot:
    """One run's Dice against the other's, a dot a patient, with the line of equality."""
    measure = BY_NAME[name]
    values = values_of(pair, measure)
    ends = axis([v for _, p, q in values for v in (p, q)], n_ticks=5)
    return Plot(
        f"{_capital(measure.label)} of each patient",
        f"{measure.label} of {pair.b} against {pair.a}",
        ends,
        ends,
        pair.a,
        pair.b,
        tuple(Dot(p, q, _tip(case, pair, measure, p, q), _organ(name), _radius(len(values))) for case, p, q in values),
        (Line(ends.low, ends.low, ends.high, ends.high, "zero"),),
        note=f"Above the line {pair.b} is better.",
    )


def in_order(pair: ComparedPair, row: MeasureRow) -> Plot:
    """The differences of all patients by size, with their mean and its interval."""
    measure, result = row.measure, row.result
    values = sorted(values_of(pair, measure), key=lambda v: (v[2] - v[1], v[0]))
    differences = [q - p for _, p, q in values]
    ends = axis([0.0, *differences, *(v for v in (result.low, result.high) if math.isfinite(v))])
    x_axis = Axis(0.0, len(values) + 1.0, ())
    stems = [Line(i + 1, 0.0, i + 1, d, f"join {_organ(measure.name)}") for i, d in enumerate(differences)]
    dots = [
        Dot(i + 1, q - p, _tip(case, pair, measure, p, q), _organ(measure.name), _radius(len(values)))
        for i, (case, p, q) in enumerate(values)
    ]
    shown = math.isfinite(result.difference)
    mean = Line(0.0, result.difference, x_axis.high, result.difference, "mean", f"mean {result.difference:+.3g}")
    bands = (Band(0.0, result.low, x_axis.high, result.high, "band"),) if math.isfinite(result.low) else ()
    return Plot(
        f"{_capital(measure.label)}: {pair.b} less {pair.a}",
        f"differences in {measure.label}, {pair.b} less {pair.a}, from the smallest to the largest",
        x_axis,
        ends,
        "patients in order of their difference",
        "",
        tuple(dots),
        (Line(0.0, 0.0, x_axis.high, 0.0, "zero"), *stems, *((mean,) if shown else ())),
        bands,
        note="Dashed: the mean; shaded: its 95 % interval.",
    )


def strips(pair: ComparedPair, names: Sequence[str], title: str) -> Plot:
    """Every patient's value under both runs, a row a measure and run, over a box from quartile to quartile."""
    log = names == DISTANCES
    rows = [values_of(pair, BY_NAME[name]) for name in names]
    if log:
        rows = [[(case, *(max(v, SHORTEST_MM) for v in both)) for case, *both in row] for row in rows]  # type: ignore[misc]
    x_axis = axis([v for row in rows for _, *both in row for v in both] + ([SHORTEST_MM] if log else []), log)
    n = 2 * len(names)
    dots: list[Dot] = []
    lines: list[Line] = []
    bands: list[Band] = []
    for i, (name, row) in enumerate(zip(names, rows, strict=True)):
        for side, kind in enumerate(("a", "b")):
            middle = n - 2 * i - side - (0.42 if side == 0 else 0.58)
            values = [both[side] for _, *both in row]
            if not values:
                continue
            low, half, high = (float(v) for v in np.percentile(values, (25, 50, 75)))
            bands.append(Band(low, middle - 0.36, high, middle + 0.36, f"box {kind}"))
            lines.append(Line(half, middle - 0.36, half, middle + 0.36, f"median {kind}"))
            measure = BY_NAME[name]
            dots += [
                Dot(both[side], middle + _jitter(k), _tip(case, pair, measure, *both), kind, 0.7 * _radius(len(row)))
                for k, (case, *both) in enumerate(row)
            ]
    labels = tuple((n - 2 * i - 1.0, BY_NAME[name].label) for i, name in enumerate(names))
    note = f"Upper row, grey: {pair.a}. Lower row: {pair.b}. Boxes: quartiles and median."
    note += f" What is under {SHORTEST_MM:g} mm stands at {SHORTEST_MM:g}." if log else ""
    n_infinite = sum(row.result.n_infinite for row in pair.measures if row.measure.name in names)
    note += f" Not drawn: {n_infinite} infinite." if n_infinite else ""
    return Plot(
        title,
        f"{title} of {pair.a} and {pair.b}: every patient's value, quartiles and median",
        x_axis,
        Axis(0.0, float(n), tuple((y, _two_words(text)) for y, text in labels)),
        "mm" if log else "",
        "",
        tuple(dots),
        tuple(lines),
        tuple(bands),
        note=note,
        height=TOP + BOTTOM + n * ROW,
        left=138.0,
    )


def bland_altman(row: VolumeRow) -> Plot:
    """Differences of two volumes over their mean, with bias and limits of agreement and the intervals of all three.

    Where the spread grows with the volume: their ratios, both axes logarithmic.
    """
    ratio = row.result.ratio
    drawn = [(case, p, q) for case, p, q in row.volumes if not ratio or min(p, q) > 0.0]
    places = [((p + q) / 2.0, q / p if ratio else q - p, case, p, q) for case, p, q in drawn]
    limits = ratio or row.result.limits
    lines = [("bias", limits.bias), ("lower", limits.lower), ("upper", limits.upper)]
    finite = [(word, one) for word, one in lines if math.isfinite(one.value)]
    reach = [v for _, one in finite for v in (one.value, one.low, one.high) if math.isfinite(v)]
    x_axis = axis([x for x, *_ in places], bool(ratio))
    y_axis = axis([1.0 if ratio else 0.0, *reach, *(y for _, y, *_ in places)], bool(ratio))
    x0, x1 = x_axis.low, x_axis.high
    organ = f"{ORGAN_NAMES[row.organ]} volume"
    note = f"As ratios, since the spread grows with the volume. {_zeros(row)}" if ratio else ""
    return Plot(
        f"{organ}: {row.measured} against {row.against}",
        f"{organ}, Bland-Altman: {row.measured} against {row.against} over the mean of both",
        x_axis,
        y_axis,
        "mean of both, ml",
        f"{_short(row.measured)} {'/' if ratio else '-'} {_short(row.against)}{'' if ratio else ', ml'}",
        tuple(
            Dot(x, y, f"{case}: {row.measured} {q:.1f} ml, {row.against} {p:.1f} ml", row.organ, _radius(len(drawn)))
            for x, y, case, p, q in places
        ),
        (
            Line(x0, 1.0 if ratio else 0.0, x1, 1.0 if ratio else 0.0, "zero"),
            *(Line(x0, one.value, x1, one.value, _kind(word), _written(one, bool(ratio))) for word, one in finite),
        ),
        tuple(Band(x0, one.low, x1, one.high, "band") for _, one in finite if math.isfinite(one.low)),
        note=note.strip(),
    )


def _kind(word: str) -> str:
    return "mean" if word == "bias" else "limit"


def _written(one: Estimate, is_ratio: bool) -> str:
    return f"x {one.value:.2f}" if is_ratio else f"{one.value:+.1f}"


def _zeros(row: VolumeRow) -> str:
    n = row.result.n_zero
    return (
        f"{n} with a volume of 0 {'has' if n == 1 else 'have'} no ratio and {'is' if n == 1 else 'are'} not drawn."
        if n
        else ""
    )


def _tip(case: str, pair: ComparedPair, measure: Measure, p: float, q: float) -> str:
    digits = measure.digits
    return f"{case}: {pair.a} {p:.{digits}f}, {pair.b} {q:.{digits}f}"


def _organ(name: str) -> str:
    return "tumor" if "tumor" in name else "kidney"


def _capital(label: str) -> str:
    return label[0].upper() + label[1:]


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"


def _two_words(label: str) -> str:
    return label.replace("Dice of the kidney without tumour", "Dice of label 1")


def _radius(n: int) -> float:
    """Smaller where there are many, so that they do not become one patch."""
    return 3.5 if n <= 100 else 2.0


def _jitter(k: int) -> float:
    """Even over the row, the same each time: multiples of the golden ratio."""
    return 0.5 * ((k * 0.6180339887) % 1.0 - 0.5)
