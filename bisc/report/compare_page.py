"""One self-contained `compare.html`: the answer in a sentence, what to mind, tables, and plots drawn by the page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bisc._version import __version__
from bisc.evaluation.agreement import Estimate, Limits
from bisc.evaluation.answers import in_words, notes, p_words, sentence
from bisc.evaluation.comparison import ComparedPair, MeasureRow, VolumeRow, primary_row
from bisc.evaluation.paired import DECIMALS, RESAMPLES
from bisc.report.compare_plots import DISTANCES, SHARES, bland_altman, in_order, scatter, strips
from bisc.report.page import DISCLAIMER, templates
from bisc.report.plot import Plot
from bisc.report.style import ORGAN_NAMES
from bisc.report.tables import Table
from bisc.system.files import write_text

MEASURES_NOTE: Final = (
    "Means over the n patients of whom both runs have a value. In brackets the 95 % interval of the mean gain, by "
    f"{RESAMPLES:,} bootstrap draws of patients (BCa). A run is called better where it leaves out 0 and the p of "
    "Wilcoxon's signed-rank test is below 0.05. Only the primary measure, chosen before looking, may be read so by "
    "itself; p (Holm) allows for all {n} comparisons of this page. Median difference: {b} less {a}. Won, tied, lost: "
    "patients, as {b} sees it."
)
SIZES_NOTE: Final = (
    "By the diameter of a ball of the reference's tumour volume (all tumours of a patient together): 4 and 7 cm divide "
    "T1a, T1b and T2. A look at who pays: classes are small, and nothing is adjusted for their number."
)
VOLUMES_NOTE: Final = (
    "Bland and Altman: 95 of 100 differences lie between the limits, were they normal. Slope: by how many ml the "
    "difference rises for each ml of volume. Ratios are given of an organ where the spread grows with the volume "
    "in any of its rows: read them instead of the limits in ml. Concordance: Lin's coefficient, 1 where all agree."
)
CASE_IS_PATIENT: Final = "Each case counts as one patient. Kidney includes its tumour."


@dataclass(frozen=True, eq=False)
class Part:
    """What the page shows of one pair of runs."""

    title: str
    minded: Sequence[str]
    measures: Table
    sizes: Table
    volumes: Table
    dice: Sequence[Plot]
    spreads: Sequence[Plot]
    agreement: Sequence[Plot]


def write_compare_page(path: Path, pairs: Sequence[ComparedPair], primary: str, missing_as_worst: bool) -> Path:
    """Write the page whole or not at all; it needs no other file and no network.

    Args:
        path: The file.
        pairs: What was compared, p adjusted.
        primary: The measure that the answer rests on.
        missing_as_worst: Whether cases that a run lacks were counted.
    """
    write_text(path, compare_html(pairs, primary, missing_as_worst))
    return path


def compare_html(pairs: Sequence[ComparedPair], primary: str, missing_as_worst: bool = False) -> str:
    """The page as text."""
    n = sum(len(pair.measures) for pair in pairs)
    names = [pairs[0].a, *(pair.b for pair in pairs)]
    return (
        templates()
        .get_template("compare.html.j2")
        .render(
            title=f"{', '.join(names[:-1])} and {names[-1]} compared",
            answers=[sentence(primary_row(pair, primary)) for pair in pairs],
            case_is_patient=CASE_IS_PATIENT,
            parts=[_part(pair, primary, missing_as_worst, n) for pair in pairs],
            disclaimer=DISCLAIMER,
            version=__version__,
        )
    )


def _part(pair: ComparedPair, primary: str, missing_as_worst: bool, n_tests: int) -> Part:
    by_name = {row.measure.name: row for row in pair.measures}
    dice = ("dice_tumor", "dice_kidney")
    return Part(
        title=f"{pair.b} against {pair.a}",
        minded=notes(pair, missing_as_worst),
        measures=_measure_table(pair, primary, n_tests),
        sizes=_size_table(pair),
        volumes=_volume_table(pair),
        dice=[plot for name in dice for plot in (scatter(pair, name), in_order(pair, by_name[name]))],
        spreads=[strips(pair, SHARES, "Dice and surface Dice"), strips(pair, DISTANCES, "HD95")],
        agreement=[bland_altman(row) for row in pair.volumes],
    )


def _measure_table(pair: ComparedPair, primary: str, n_tests: int) -> Table:
    columns = ("", "in words", "n", pair.a, pair.b, "median difference", "won, tied, lost", "p", "p (Holm)")
    ordered = sorted(pair.measures, key=lambda row: row.measure.name != primary)
    rows = [
        (
            f"{row.measure.label}{' (primary)' if row.measure.name == primary else ''}",
            in_words(row),
            row.result.n if not row.result.n_without_value else f"{row.result.n} of {row.result.n_pairs}",
            _number(row, row.result.mean_a),
            _number(row, row.result.mean_b),
            _number(row, row.result.median_difference, "+"),
            f"{row.result.wins},\u00a0{row.result.ties},\u00a0{row.result.losses}",
            _p(row.result.p) + ("" if row.result.p_exact else "*"),
            _p(row.p_holm),
        )
        for row in ordered
    ]
    note = MEASURES_NOTE.format(a=pair.a, b=pair.b, n=n_tests)
    normal = " *: normal approximation." if any(not row.result.p_exact for row in pair.measures) else ""
    return Table("Every measure", columns, rows, note + normal)


def _size_table(pair: ComparedPair) -> Table:
    columns = ("", "in words", "n", pair.a, pair.b)
    rows = [
        (
            f"{row.measure.label}, {row.cases}",
            in_words(row),
            row.result.n,
            _number(row, row.result.mean_a),
            _number(row, row.result.mean_b),
        )
        for row in pair.sizes
    ]
    return Table("By the tumour's size", columns, rows, SIZES_NOTE)


def _volume_table(pair: ComparedPair) -> Table:
    columns = ("", "n", "bias, ml", "lower limit, ml", "upper limit, ml", "slope", "ratio, its limits", "concordance")
    rows = [
        (
            f"{ORGAN_NAMES[row.organ]}: {row.measured} - {row.against}",
            row.result.limits.n,
            _ml(row.result.limits.bias),
            _ml(row.result.limits.lower),
            _ml(row.result.limits.upper),
            _estimate(row.result.slope, 3),
            _ratio(row.result.ratio),
            "–" if math.isnan(row.result.concordance) else f"{row.result.concordance:.3f}",
        )
        for row in pair.volumes
    ]
    left_out = _left_out(pair.volumes)
    return Table("Volumes", columns, rows, VOLUMES_NOTE + (f" {left_out}" if left_out else ""))


def _left_out(rows: Sequence[VolumeRow]) -> str:
    n = max((row.n_left_out for row in rows), default=0)
    return f"Left out: {n} without a usable prediction in both runs, since nothing was measured there." if n else ""


def _number(row: MeasureRow, value: float, sign: str = "") -> str:
    """With the measure's digits, and more where they would say 0 of what is not."""
    if not math.isfinite(value):
        return "infinite" if math.isinf(value) else "–"
    digits = row.measure.digits
    while digits < DECIMALS and 0.0 < abs(value) < 0.5 * 10.0**-digits:
        digits += 1
    return f"{value:{sign if value else ''}.{digits}f}"


def _p(p: float) -> str:
    return "–" if math.isnan(p) else p_words(p).removeprefix("p ").removeprefix("= ").replace(" ", "\u00a0")


def _ml(one: Estimate) -> str:
    return _estimate(one, 1)


def _estimate(one: Estimate, digits: int) -> str:
    if math.isnan(one.value):
        return "–"
    interval = "" if math.isnan(one.low) else f" ({one.low:+.{digits}f} to {one.high:+.{digits}f})"
    return f"{one.value:+.{digits}f}{interval}"


def _ratio(ratio: Limits | None) -> str:
    return "–" if ratio is None else f"{ratio.bias.value:.2f} ({ratio.lower.value:.2f} to {ratio.upper.value:.2f})"
