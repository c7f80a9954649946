"""Markdown: what was measured on both sides, the most telling first, and the classifier's verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from benchmarks.realism.auc import patient_auc
from benchmarks.realism.classifier import Verdict
from benchmarks.realism.patches import PLACES

Measured = Mapping[str, Sequence[Mapping[str, float]]]
"""Of each patient, the measurements of each of its slices."""
MIN_PATIENTS = 3


def measurements(real: Measured, simulated: Measured) -> str:
    """One row a measurement: mean over patients, the middle 80 % of patients in brackets, and its AUC alone."""
    rows = []
    names = dict.fromkeys(k for side in (real, simulated) for own in side.values() for m in own for k in m)
    for name in names:
        sides = _values(real, name), _values(simulated, name)
        if min(len(side) for side in sides) < MIN_PATIENTS:
            rows.append((0.0, f"| {name} | {_cell(sides[0])} | {_cell(sides[1])} | too few |"))
            continue
        auc = patient_auc(sides[0], sides[1])
        rows.append((auc.telling, f"| {name} | {_cell(sides[0])} | {_cell(sides[1])} | {auc} |"))
    rows.sort(key=lambda row: -row[0])
    head = f"| measurement | real ({_counts(real)}) | simulated ({_counts(simulated)}) | AUC (95 %) |"
    return "\n".join([head, "| --- | --- | --- | --- |", *(line for _, line in rows)])


def verdicts(found: Mapping[str, Verdict]) -> str:
    """One row a question put to the classifier."""
    lines = [f"| classifier sees | all patches | {' | '.join(PLACES)} |", "| --- " * (2 + len(PLACES)) + "|"]
    for name, verdict in found.items():
        cells = [str(verdict.by_place[p]) if p in verdict.by_place else "none" for p in PLACES]
        lines.append(f"| {name} | {verdict.all} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _values(side: Measured, name: str) -> list[npt.NDArray[np.float64]]:
    """Of each patient that has any."""
    each = [np.array([m[name] for m in own if name in m], float) for own in side.values()]
    return [v for v in each if v.size]


def _counts(side: Measured) -> str:
    return f"{sum(map(len, side.values()))} slices, {len(side)} patients"


def _cell(values: Sequence[npt.NDArray[np.float64]]) -> str:
    """Three digits, and how many patients have it."""
    if not values:
        return "none"
    means = np.array([v.mean() for v in values])
    low, high = np.percentile(means, [10, 90])
    return f"{_short(means.mean())} ({_short(low)} to {_short(high)}; n {len(means)})"


def _short(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 20 else f"{value:.1f}" if abs(value) >= 5 else f"{value:.2f}"
