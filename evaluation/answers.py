"""What a comparison says: in words, as notes on what to mind, and as tables to write."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import pandas as pd

from bisc.evaluation.agreement import Estimate
from bisc.evaluation.comparison import (
    MEASURES,
    ORGANS,
    ComparedPair,
    MeasureRow,
    VolumeRow,
    size_class,
    tumor_diameter_cm,
)
from bisc.evaluation.matched import Row
from bisc.evaluation.paired import DECIMALS, MIN_FOR_INTERVAL

FEW: Final = 20
"""Below so many patients a bootstrap's 95 % interval is too narrow (docs/reference/evaluation.md has the numbers)."""
VOLUMES: Final = tuple(f"volume_{organ}_pred_ml" for organ in ORGANS)
ABSENT: Final = "absent"


def in_words(row: MeasureRow) -> str:
    """Which run is better by how much, "nnunet is better by 0.041 (0.012 to 0.070)", or that none is shown to be."""
    result = row.result
    if not result.n:
        return "no pair has a value"
    if result.n_infinite:
        what = f"{_n(result.n_infinite, 'pair')} infinite, so no mean"
        return f"{what}: {row.b} is better in {result.wins}, worse in {result.losses}"
    gain = result.difference if row.measure.better == "higher" else -result.difference
    if gain == 0.0:
        return "the same in each" if result.ties == result.n else f"none is better on average ({_interval(row)})"
    ahead = row.b if gain > 0 else row.a
    if math.isnan(result.low):
        return f"{_n(result.n, 'patient')}, too few to show anything: {ahead} ahead by {_size(row)}"
    if result.is_shown:
        return f"{ahead} is better by {_size(row)} ({_interval(row)})"
    return f"none shown to be better: {ahead} ahead by {_size(row)} ({_interval(row)})"


def sentence(row: MeasureRow) -> str:
    """The answer, of one measure, as a reader wants it first."""
    result, label, over = row.result, row.measure.label, f"over {_n(row.result.n, 'patient')}"
    if not result.n or result.n_infinite:
        return f"{label[0].upper()}{label[1:]} of {row.a} and {row.b} cannot be compared by its mean: {in_words(row)}."
    if result.ties == result.n:
        return f"{label[0].upper()}{label[1:]} is the same for {row.a} and {row.b} {over}."
    sense = "higher" if result.difference > 0 else "lower"
    by = f"{_whose(row.b)} {label} is {sense} by {_size(row)}"
    if math.isnan(result.low):
        return f"{by} than {_whose(row.a)} {over}, which are too few for an interval: nothing is shown."
    facts = f"(95 % interval {_interval(row)}; {p_words(result.p)})"
    if result.is_shown:
        verdict = "better" if sense == row.measure.better else "worse"
        return f"{by} {facts} {over} than {_whose(row.a)}: {row.b} is {verdict}."
    return (
        f"No difference in {label} between {row.a} and {row.b} is shown {over}: {by} {facts}. "
        "That does not show them to be equal."
    )


def p_words(p: float) -> str:
    """ "p = 0.032"; "p < 0.0001" where it is smaller."""
    return "no p" if math.isnan(p) else "p < 0.0001" if p < 0.0001 else f"p = {p:.2g}"


def notes(pair: ComparedPair, missing_as_worst: bool = False) -> list[str]:
    """What a reader of the comparison has to mind, each one line."""
    a, b, matched = pair.a, pair.b, pair.matched
    rows = matched.rows
    said = []
    if all(_same(x, y) for x, y in rows.values()):
        said.append(f"{a} and {b} hold the same numbers: are they one run?")
    for has, lacks, cases in ((a, b, matched.only_a), (b, a, matched.only_b)):
        if cases:
            what = f"counted with the worst scores for {lacks}" if missing_as_worst else "left out"
            said.append(f"only {has} has {_n(len(cases), 'case')}, {what}: {_some(cases)}")
    if matched.other_fold:
        said.append(f"in other folds in {b} than in {a}, left out: {_some(matched.other_fold)}")
    for name, side, given in ((a, 0, matched.only_b), (b, 1, matched.only_a)):
        failed = [case for case, both in rows.items() if _is_failed(both[side]) and case not in given]
        if failed:
            of = f"{len(failed)} of {_n(len(rows), 'case')}"
            worst = "they count with the worst scores, and with no false tumours"
            said.append(f"{name} has no usable prediction of {of}: {worst}: {_some(failed)}")
    empty = [case for case, both in rows.items() if any(_is_empty(row) for row in both)]
    if empty:
        said.append(f"no value in {a} or {b}, so in no comparison: {_some(empty)}")
    for row in pair.measures:
        if row.result.n_infinite:
            of = f"{row.result.n_infinite} of {_n(row.result.n, 'pair')}"
            said.append(
                f"{row.measure.label}: {of} infinite; they count in median, wins, losses and p, and leave no mean"
            )
    n = len(rows) - len(empty)
    if n < MIN_FOR_INTERVAL:
        said.append(f"{_n(n, 'patient')}: fewer than {MIN_FOR_INTERVAL} show nothing, so no interval is given")
    elif n < FEW:
        said.append(f"{_n(n, 'patient')}: intervals of fewer than {FEW} are too narrow (at 10 they are of 90 %)")
    return said


def measure_table(pairs: Sequence[ComparedPair], primary: str) -> pd.DataFrame:
    """compare.csv: a row a measure and pair of runs."""
    rows = [
        {
            **_head(row),
            "better": row.measure.better,
            "primary": "yes" if row.measure.name == primary else "no",
            **_numbers(row),
            "p": row.result.p,
            "p_method": "exact" if row.result.p_exact else "normal",
            "p_holm": row.p_holm,
            "in_words": in_words(row),
        }
        for pair in pairs
        for row in pair.measures
    ]
    return pd.DataFrame(rows)


def size_table(pairs: Sequence[ComparedPair]) -> pd.DataFrame:
    """compare_sizes.csv: Dice within each class of the reference tumour's size; without p."""
    rows = [
        {**_head(row), "size": row.cases, **_numbers(row), "in_words": in_words(row)}
        for pair in pairs
        for row in pair.sizes
    ]
    return pd.DataFrame(rows)


def volume_table(pairs: Sequence[ComparedPair]) -> pd.DataFrame:
    """compare_volumes.csv: bias and limits of agreement of volumes, each run with the reference and both together."""
    return pd.DataFrame([_volume_row(row) for pair in pairs for row in pair.volumes])


def case_table(pairs: Sequence[ComparedPair]) -> pd.DataFrame:
    """compare_cases.csv: the paired values, a row a case and measure; cases of one run alone have no values."""
    rows: list[dict[str, object]] = []
    names = [*(measure.name for measure in MEASURES), *VOLUMES]
    for pair in pairs:
        for case, (x, y) in pair.matched.rows.items():
            cm = tumor_diameter_cm((x, y))
            fold = x.fold if x.fold == y.fold else None
            head: dict[str, object] = {
                "a": pair.a,
                "b": pair.b,
                "case": case,
                "fold": fold,
                "status_a": x.status,
                "status_b": y.status,
            }
            head |= {"tumor_diameter_cm": cm, "size": size_class(cm)}
            of_a, of_b = _values(x), _values(y)
            rows += [
                {**head, "metric": name, "value_a": p, "value_b": q, "difference": q - p}
                for name, p, q in ((name, of_a[name], of_b[name]) for name in names)
            ]
        unpaired = [(c, "", ABSENT) for c in pair.matched.only_a] + [(c, ABSENT, "") for c in pair.matched.only_b]
        unpaired += [(c, "other fold", "other fold") for c in pair.matched.other_fold]
        rows += [
            {"a": pair.a, "b": pair.b, "case": case, "status_a": of_a, "status_b": of_b}
            for case, of_a, of_b in unpaired
            if case not in pair.matched.rows
        ]
    table: pd.DataFrame = pd.DataFrame(rows)
    table["fold"] = table["fold"].astype("Int64")
    return table


def _head(row: MeasureRow) -> dict[str, object]:
    return {"a": row.a, "b": row.b, "metric": row.measure.name}


def _numbers(row: MeasureRow) -> dict[str, object]:
    r = row.result
    return {
        "n_pairs": r.n_pairs,
        "n": r.n,
        "n_without_value": r.n_without_value,
        "n_infinite": r.n_infinite,
        "mean_a": r.mean_a,
        "mean_b": r.mean_b,
        "difference": r.difference,
        "difference_low": r.low,
        "difference_high": r.high,
        "median_difference": r.median_difference,
        "b_wins": r.wins,
        "ties": r.ties,
        "b_losses": r.losses,
    }


def _volume_row(row: VolumeRow) -> dict[str, object]:
    limits, ratio = row.result.limits, row.result.ratio
    table: dict[str, object] = {
        "a": row.a,
        "b": row.b,
        "organ": row.organ,
        "measured": row.measured,
        "against": row.against,
        "n": limits.n,
        "n_left_out": row.n_left_out,
        "concordance": row.result.concordance,
    }
    for name, one in (("bias_ml", limits.bias), ("lower_ml", limits.lower), ("upper_ml", limits.upper)):
        table |= _three(name, one)
    table |= _three("slope", row.result.slope)
    table |= {"spread_grows": "yes" if row.result.grows else "no", "n_ratio": ratio.n if ratio else None}
    for name in ("bias", "lower", "upper"):
        table |= _three(f"ratio_{name}", getattr(ratio, name) if ratio else Estimate(math.nan, math.nan, math.nan))
    return table


def _three(name: str, one: Estimate) -> dict[str, object]:
    return {name: one.value, f"{name}_low": one.low, f"{name}_high": one.high}


def _values(row: Row) -> dict[str, float]:
    return {measure.name: measure.of(row) for measure in MEASURES} | {name: row.values[name] for name in VOLUMES}


def _same(x: Row, y: Row) -> bool:
    both = zip(x.values.values(), y.values.values(), strict=True)
    return all(p == q or (math.isnan(p) and math.isnan(q)) for p, q in both)


def _is_empty(row: Row) -> bool:
    """Of a case whose reference could not be read."""
    return math.isnan(row.values["dice_kidney"])


def _is_failed(row: Row) -> bool:
    return row.status != "ok" and not _is_empty(row)


def _size(row: MeasureRow) -> str:
    unit = f" {row.measure.unit}" if row.measure.unit else ""
    return f"{abs(row.result.difference):.{_digits(row)}f}{unit}"


def _interval(row: MeasureRow) -> str:
    """In the direction of the difference, so that a positive end is on its side."""
    r, digits = row.result, _digits(row)
    low, high = (r.low, r.high) if r.difference > 0 else (-r.high, -r.low)
    return f"{low + 0.0:.{digits}f} to {high + 0.0:.{digits}f}"


def _digits(row: MeasureRow) -> int:
    """Enough that what is not 0 does not read 0."""
    shown = [abs(v) for v in (row.result.difference, row.result.low, row.result.high) if abs(v) > 10.0**-DECIMALS]
    digits = row.measure.digits
    while digits < DECIMALS and any(value < 0.5 * 10.0**-digits for value in shown):
        digits += 1
    return digits


def _whose(name: str) -> str:
    return f"{name}'" if name.endswith("s") else f"{name}'s"


def _n(n: int, word: str) -> str:
    return f"{n} {word}{'' if n == 1 else 's'}"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
