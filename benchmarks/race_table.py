"""What a race shows: a row per contestant and budget, paired differences from nnU-Net's best, Dice against minutes."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.table import machine

MEASURES: Final = {"dice_kidney": "kidney Dice", "dice_tumor": "tumour Dice"}
SURFACE: Final = "surface_dice_tumor"
SMALL_ML: Final = 33.0
"""A ball of 4 cm across, the end of stage T1a."""
N_BOOTSTRAP: Final = 5000
COLOURS: Final = ("#2f6f9f", "#d08a1f", "#7a7a7a", "#9fb8c8", "#b5651d", "#555555")


def table_of(rows: pd.DataFrame) -> str:
    """Markdown: means over test cases and seeds; found and false tumours, and those found in patients with less than
    `SMALL_ML` of tumour; differences from nnU-Net's best contestant (by the mean of both Dice) at the same budget,
    paired by seed and patient, 95 % by bootstrap over patients."""
    head = ["minutes", "contestant", "seeds", "steps", "seconds", *MEASURES.values(), "tumour surface Dice"]
    head += ["found", f"where less than {SMALL_ML:g} ml", "false"]
    head += [f"{name}, less nnU-Net's best" for name in MEASURES.values()]
    lines = ["| " + " | ".join(head) + " |", "| --- " * len(head) + "|"]
    for minutes, budget in rows.groupby("minutes"):
        best = best_of_nnunet(budget)
        for contestant, own in budget.groupby("contestant", sort=False):
            steps = ", ".join(map(str, own.groupby("seed").steps.first()))
            cells = [f"{minutes:g}", str(contestant), str(own.seed.nunique()), steps, f"{own.train_s.mean():.0f}"]
            cells += [f"{own[key].fillna(0).mean():.3f}" for key in (*MEASURES, SURFACE)]
            cells += [found_of(own), found_of(own[own.volume_tumor_ref_ml < SMALL_ML])]
            cells += [f"{own.tumors_false.sum():.0f}"]
            cells += ["" if str(contestant).startswith("nnunet") else difference(own, best, key) for key in MEASURES]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", f"{rows.case.nunique()} test cases; {machine()}.", ""])


def found_of(rows: pd.DataFrame) -> str:
    """Tumours found, of those there are."""
    return f"{rows.tumors_found.sum():.0f} of {rows.tumors_ref.sum():.0f}"


def best_of_nnunet(budget: pd.DataFrame) -> pd.DataFrame | None:
    """The rows of nnU-Net's best contestant at one budget."""
    theirs = budget[budget.contestant.str.startswith("nnunet")]
    if theirs.empty:
        return None
    means = theirs.groupby("contestant")[list(MEASURES)].mean().mean(axis=1)
    return theirs[theirs.contestant == means.idxmax()]


def difference(own: pd.DataFrame, best: pd.DataFrame | None, key: str) -> str:
    """Mean paired difference with its interval; empty without a pair."""
    if best is None:
        return ""
    both = own.merge(best, on=["seed", "case"], suffixes=("", "_best"))
    if both.empty:
        return ""
    gain = (both[key].fillna(0) - both[f"{key}_best"].fillna(0)).groupby(both.case).mean().to_numpy()
    low, high = interval(gain)
    return f"{gain.mean():+.3f} ({low:+.3f} to {high:+.3f})"


def interval(gain: npt.NDArray[np.float64]) -> tuple[float, float]:
    """95 % of the mean of one value a patient, by bootstrap with a fixed seed."""
    means = np.random.default_rng(0).choice(gain, (N_BOOTSTRAP, len(gain))).mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def draw(rows: pd.DataFrame, path: Path) -> None:
    """Mean Dice against minutes, a line per contestant, a dot per seed."""
    figure = Figure(figsize=(9.0, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    for ax, (key, name) in zip(figure.subplots(1, 2), MEASURES.items(), strict=True):
        for colour, (contestant, own) in zip(COLOURS, rows.groupby("contestant", sort=False), strict=False):
            by_seed = own.fillna({key: 0.0}).groupby(["minutes", "seed"])[key].mean().reset_index()
            mean = by_seed.groupby("minutes")[key].mean()
            ax.plot(mean.index, mean.to_numpy(), "-o", color=colour, label=str(contestant))
            ax.plot(by_seed.minutes, by_seed[key], ".", color=colour, alpha=0.5)
        ax.set_xscale("log")
        ax.set_xlabel("minutes of training")
        ax.set_ylabel(name)
        ax.set_ylim(0, 1)
        ax.grid(alpha=0.3)
    figure.axes[0].legend(fontsize=8)
    figure.savefig(path, dpi=120)
