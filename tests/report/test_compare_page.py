"""The page of a comparison: the answer first, every plot and table, nothing from outside, nothing unescaped."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bisc.evaluation.aggregate import to_frame
from bisc.evaluation.cases import CaseScores
from bisc.evaluation.comparison import ComparedPair, adjust, compare_pair, primary_row
from bisc.evaluation.matched import Run, match
from bisc.report.compare_page import compare_html
from bisc.report.compare_plots import DISTANCES, SHARES, bland_altman, in_order, scatter, strips
from bisc.report.plot import axis
from tests.support.reports import simulated_run

EVIL = "<script>alert('x')</script> & \"co\""


def compared(a: Sequence[CaseScores], b: Sequence[CaseScores], names: tuple[str, str] = ("a", "b")) -> ComparedPair:
    first, second = (Run(name, Path(name), to_frame(rows)) for name, rows in zip(names, (a, b), strict=True))
    (pair,) = adjust([compare_pair(*names, match(first, second))])
    return pair


@pytest.fixture(scope="module")
def pair() -> ComparedPair:
    return compared(simulated_run(30, 1), simulated_run(30, 2, gain=0.05))


def test_the_answer_stands_first(pair: ComparedPair) -> None:
    text = compare_html([pair], "dice_tumor")
    assert text.index("b's tumour Dice is higher by".replace("'", "&#39;")) < text.index("<table") < text.index("<svg")
    for said in ("a and b compared", "Each case counts as one patient", "up to 4 cm", "tumour Dice (primary)"):
        assert said in text
    assert text.count("not a medical device") == 1
    assert "<h2>Mind</h2>" not in text


def test_every_plot_has_every_patient(pair: ComparedPair) -> None:
    """Four of Dice, two of spreads, six of volumes; each an SVG that parses, inside its own frame."""
    svgs = [ElementTree.fromstring(s) for s in re.findall(r"<svg.*?</svg>", compare_html([pair], "dice_tumor"), re.S)]
    assert [len(list(svg.iter("circle"))) for svg in svgs] == [30] * 4 + [6 * 2 * 30, 2 * 2 * 30] + [30] * 6
    for svg in svgs:
        width, height = (float(v) for v in svg.get("viewBox", "").split()[2:])
        for circle in svg.iter("circle"):
            assert 0.0 < float(circle.get("cx", "")) < width
            assert 0.0 < float(circle.get("cy", "")) < height
        assert all(len(list(circle)) == 1 for circle in svg.iter("circle"))


def test_nothing_comes_from_outside_and_no_name_is_markup() -> None:
    text = compare_html([compared(simulated_run(8, 1), simulated_run(8, 2), (EVIL, "b"))], "dice_tumor")
    assert "<script" not in text
    assert not re.search(r"https?:|//|url\(|@import|<link|<iframe|<img|src=", text)
    assert "8 patients: intervals of fewer than 20" in text


def test_places_by_hand(pair: ComparedPair) -> None:
    """On the diagonal where both are equal; above it where the second is better; a higher value stands higher."""
    plot = scatter(pair, "dice_tumor")
    assert plot.x_axis == plot.y_axis
    for dot in plot.dots:
        off = (plot.x(dot.x) - plot.left) / (plot.right - plot.left) - (plot.bottom - plot.y(dot.y)) / (
            plot.bottom - plot.top
        )
        assert (off < 0.0) == (dot.y > dot.x)
    ordered = in_order(pair, primary_row(pair, "dice_tumor"))
    heights = [dot.y for dot in ordered.dots]
    assert heights == sorted(heights)
    (band,) = ordered.bands
    (mean,) = (line for line in ordered.lines if line.kind == "mean")
    assert band.y0 < mean.y0 < band.y1
    assert mean.y0 == pytest.approx(sum(heights) / 30)


def test_bland_altman_in_ml_and_as_ratios(pair: ComparedPair) -> None:
    """The kidney's spread is even, the tumour's grows: there the lines are factors on a logarithmic axis."""
    for row in pair.volumes:
        plot = bland_altman(row)
        limits = row.result.ratio or row.result.limits
        drawn = [line.y0 for line in plot.lines if line.kind in ("mean", "limit")]
        assert drawn == [limits.bias.value, limits.lower.value, limits.upper.value]
        assert plot.y_axis.log == plot.x_axis.log == (row.organ == "tumor")
        (_, p, q), dot = row.volumes[0], plot.dots[0]
        assert (dot.x, dot.y) == ((p + q) / 2, q / p if row.organ == "tumor" else q - p)
        assert plot.y_label.startswith(f"{row.measured} {'/' if row.organ == 'tumor' else '-'}")


def test_what_cannot_be_drawn_is_said() -> None:
    """Infinite distances; a missed tumour, whose volume of 0 has no ratio."""
    first = simulated_run(30, 1)
    first[0] = replace(first[0], hd95_tumor_mm=math.inf, volume_tumor_pred_ml=0.0)
    pair = compared(first, simulated_run(30, 2))
    plot = strips(pair, DISTANCES, "HD95")
    assert "Not drawn: 1 infinite." in plot.note
    assert len(plot.dots) == 2 * 30 + 2 * 29
    assert "Not drawn" not in strips(pair, SHARES, "Dice").note
    missed = next(row for row in pair.volumes if (row.organ, row.measured) == ("tumor", "a"))
    assert "1 with a volume of 0 has no ratio and is not drawn." in bland_altman(missed).note
    assert len(bland_altman(missed).dots) == 29
    text = compare_html([pair], "hd95_tumor_mm")
    assert "1 pair infinite, so no mean" in text


def test_one_patient_and_no_usable_prediction_are_drawn_too() -> None:
    lone = compared(simulated_run(1, 1), simulated_run(1, 2))
    assert "1 patient, too few to show anything" in compare_html([lone], "dice_tumor")
    lost = [replace(row, status="missing") for row in simulated_run(3, 1)]
    assert "No patient to draw" in compare_html([compared(lost, lost)], "dice_tumor")


def test_axes_have_round_ticks_within_them() -> None:
    assert [text for _, text in axis([0.5, 1.0]).ticks] == ["0.5", "0.6", "0.7", "0.8", "0.9", "1"]
    assert [text for _, text in axis([1.0, 150.0], log=True).ticks] == ["1", "2", "5", "10", "20", "50", "100"]
    assert [text for _, text in axis([0.001, 1000.0], log=True).ticks] == [
        "0.001", "0.01", "0.1", "1", "10", "100", "1000",
    ]  # fmt: skip
    for values in ([3.0, 3.0], [0.0], [], [-5.0, 2.0]):
        ends = axis(values)
        assert ends.low < ends.high
        assert all(ends.low <= value <= ends.high for value, _ in ends.ticks)
        assert all(0.0 <= ends.part(value) <= 1.0 for value in values)
    assert axis([2.0, 2.0], log=True).part(2.0) == pytest.approx(0.5)
