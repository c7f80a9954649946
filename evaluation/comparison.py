"""Two runs compared, measure by measure, by size of the tumour, and in the volumes they give."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from bisc.core.errors import InputError
from bisc.evaluation.agreement import Agreement, agreement
from bisc.evaluation.matched import Matched, Row
from bisc.evaluation.paired import Better, PairedDifference, holm, paired_difference


@dataclass(frozen=True)
class Measure:
    """What is compared.

    Attributes:
        name: A column of report.csv, or `volume_error_*_ml`, the size of the error of a volume.
        label: Its words, for a sentence.
        better: Which values are the better ones.
        unit: Of a value, or "".
        digits: Decimals to show.
    """

    name: str
    label: str
    better: Better
    unit: str = ""
    digits: int = 3

    def of(self, row: Row) -> float:
        """The row's value; NaN where it has none."""
        if self.name.startswith("volume_error_"):
            organ = self.name.split("_")[2]
            return abs(row.values[f"volume_{organ}_pred_ml"] - row.values[f"volume_{organ}_ref_ml"])
        return row.values[self.name]


MEASURES: Final = (
    Measure("dice_kidney", "kidney Dice", "higher"),
    Measure("dice_tumor", "tumour Dice", "higher"),
    Measure("dice_composite", "composite Dice", "higher"),
    Measure("dice_kidney_only", "Dice of the kidney without tumour", "higher"),
    Measure("surface_dice_kidney", "kidney surface Dice", "higher"),
    Measure("surface_dice_tumor", "tumour surface Dice", "higher"),
    Measure("hd95_kidney_mm", "kidney HD95", "lower", "mm", 1),
    Measure("hd95_tumor_mm", "tumour HD95", "lower", "mm", 1),
    Measure("volume_error_kidney_ml", "error of the kidney volume", "lower", "ml", 1),
    Measure("volume_error_tumor_ml", "error of the tumour volume", "lower", "ml", 1),
    Measure("tumors_found", "number of tumours found", "higher", "", 2),
    Measure("tumors_false", "number of false tumours", "lower", "", 2),
)
BY_NAME: Final = {measure.name: measure for measure in MEASURES}
PRIMARY: Final = "dice_tumor"
BY_SIZE: Final = ("dice_tumor", "dice_kidney")
"""What is compared within each class of size."""
ORGANS: Final = ("kidney", "tumor")

SIZES: Final = ((0.0, "no tumour"), (4.0, "up to 4 cm"), (7.0, "over 4 to 7 cm"), (math.inf, "over 7 cm"))
"""Classes by the largest diameter in cm that belongs to each: 4 and 7 cm divide T1a, T1b and T2 (TNM, 8th edition)."""


@dataclass(frozen=True)
class MeasureRow:
    """One measure of one pair of runs, over all patients or those of one class of size ("all" or a name of `SIZES`).

    `p_holm` is p adjusted for all measures and pairs of runs compared at once; NaN within classes, where nothing is
    tested.
    """

    a: str
    b: str
    cases: str
    measure: Measure
    result: PairedDifference
    p_holm: float = math.nan


@dataclass(frozen=True)
class VolumeRow:
    """How volumes of one organ agree, in ml, over the patients of whom both runs have a prediction.

    Attributes:
        a, b: The pair of runs.
        organ: "kidney" (with tumour) or "tumor".
        measured, against: Which volumes are compared: a run's name, or "reference". Differences are measured - against.
        n_left_out: Pairs of which a run has no usable prediction (status other than `ok`).
        volumes: Of each patient his case, against's volume and measured's.
        result: Their agreement.
    """

    a: str
    b: str
    organ: str
    measured: str
    against: str
    n_left_out: int
    volumes: tuple[tuple[str, float, float], ...]
    result: Agreement


@dataclass(frozen=True, eq=False)
class ComparedPair:
    """Two runs compared: names, their matched rows, and what came of it."""

    a: str
    b: str
    matched: Matched
    measures: tuple[MeasureRow, ...]
    sizes: tuple[MeasureRow, ...]
    volumes: tuple[VolumeRow, ...]


REFERENCE: Final = "reference"


def compare_pair(a: str, b: str, matched: Matched, seed: int = 0) -> ComparedPair:
    """Compare two runs; p is not adjusted yet (`adjust`).

    Args:
        a: The first run's name.
        b: The second's.
        matched: Their rows, at least one.
        seed: Of the bootstrap's draws.
    """
    rows = matched.rows
    measures = tuple(_measure_row(a, b, "all", measure, list(rows.values()), seed) for measure in MEASURES)
    by_size = {
        name: [pair for pair in rows.values() if size_class(tumor_diameter_cm(pair)) == name] for _, name in SIZES
    }
    sizes = tuple(
        _measure_row(a, b, name, BY_NAME[measure], of_size, seed)
        for measure in BY_SIZE
        for name, of_size in by_size.items()
        if of_size
    )
    return ComparedPair(a, b, matched, measures, sizes, _volumes(a, b, rows))


def adjust(pairs: Sequence[ComparedPair]) -> list[ComparedPair]:
    """Adjust the p of all measures of all pairs of runs together, by Holm."""
    adjusted = iter(holm([row.result.p for pair in pairs for row in pair.measures]))
    return [
        replace(pair, measures=tuple(replace(row, p_holm=next(adjusted)) for row in pair.measures)) for pair in pairs
    ]


def primary_row(pair: ComparedPair, primary: str) -> MeasureRow:
    """The row of the measure that the answer rests on; raises InputError where there is no such measure."""
    for row in pair.measures:
        if row.measure.name == primary:
            return row
    raise InputError("--primary", primary, ", ".join(BY_NAME))


def tumor_diameter_cm(pair: tuple[Row, Row]) -> float:
    """Diameter of the ball of the reference's tumour volume, all tumours of the patient together; 0 without any, NaN
    where the reference could not be read."""
    known = [v for v in (row.values["volume_tumor_ref_ml"] for row in pair) if not math.isnan(v)]
    return (6.0 * known[0] / math.pi) ** (1.0 / 3.0) if known else math.nan


def size_class(diameter_cm: float) -> str:
    """The class of a diameter, a name of `SIZES`; "" of NaN."""
    return next((name for largest, name in SIZES if diameter_cm <= largest), "")


def _measure_row(
    a: str, b: str, cases: str, measure: Measure, rows: Sequence[tuple[Row, Row]], seed: int
) -> MeasureRow:
    of_a, of_b = [measure.of(x) for x, _ in rows], [measure.of(y) for _, y in rows]
    return MeasureRow(a, b, cases, measure, paired_difference(of_a, of_b, measure.better, seed))


def _volumes(a: str, b: str, rows: dict[str, tuple[Row, Row]]) -> tuple[VolumeRow, ...]:
    """A missing prediction measures nothing: its volume of 0 is a score, and no measurement to agree with."""
    usable = {case: both for case, both in rows.items() if all(row.status == "ok" for row in both)}
    found = []
    for organ in ORGANS:
        columns = {REFERENCE: (0, f"volume_{organ}_ref_ml")}
        columns |= {name: (side, f"volume_{organ}_pred_ml") for side, name in enumerate((a, b))}
        for measured, against in ((a, REFERENCE), (b, REFERENCE), (b, a)):
            (i, x), (j, y) = columns[against], columns[measured]
            both = ((case, pair[i].values[x], pair[j].values[y]) for case, pair in usable.items())
            volumes = tuple((case, p, q) for case, p, q in both if not (math.isnan(p) or math.isnan(q)))
            n_left_out = len(rows) - len(volumes)
            found.append(VolumeRow(a, b, organ, measured, against, n_left_out, volumes, _agreement(volumes)))
    growing = {row.organ for row in found if row.result.grows}  # an organ's rows are read side by side: all or none
    return tuple(
        replace(row, result=_agreement(row.volumes, with_ratio=True)) if row.organ in growing else row for row in found
    )


def _agreement(volumes: Sequence[tuple[str, float, float]], with_ratio: bool = False) -> Agreement:
    return agreement([p for _, p, _ in volumes], [q for _, _, q in volumes], with_ratio)
