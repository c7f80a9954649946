"""The table and the picture of benchmarks.anatomy."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bisc.evaluation.tables import to_markdown
from bisc.report.style import KIDNEY_COLOUR, TUMOR_COLOUR

RULE_NAMES: Final = {"paper": "paper", "before": "before", "ours": "ours"}
COLOURS: Final = {"paper": "#7B8794", "before": TUMOR_COLOUR, "ours": KIDNEY_COLOUR}
INK, FAINT, LINE = "#17202A", "#5B6775", "#DDE3E9"


def summary(frame: pd.DataFrame) -> pd.DataFrame:
    """Sums per degradation and rule, in their order of appearance; `cost` is the mean ratio of a case's ROI voxels to
    those of 'ours' on its clean map."""
    clean = frame[(frame["degradation"] == "clean") & (frame["rule"] == "ours")].set_index("case")["voxels"]
    frame = frame.assign(cost=frame["voxels"] / frame["case"].map(clean), failed=frame["lost"] + frame["cut"])
    groups = frame.groupby(["degradation", "rule"], sort=False)
    sums = groups[["kidneys", "lost", "cut", "failed", "wrong_side"]].sum()
    means = groups[["rois", "cost"]].mean()
    return sums.join(means).reset_index()


def table(frame: pd.DataFrame) -> str:
    """Markdown: a row per degradation, the three rules side by side."""
    sums = summary(frame).set_index(["degradation", "rule"])
    rows = []
    for degradation in dict.fromkeys(frame["degradation"]):
        row = {"rough mask": degradation, "kidneys": str(int(sums.loc[(degradation, "ours"), "kidneys"]))}
        for rule in RULE_NAMES:
            one = sums.loc[(degradation, rule)]
            row[f"{rule}: lost + cut"] = f"{int(one['lost'])} + {int(one['cut'])}"
        for rule in ("before", "ours"):
            row[f"{rule}: wrong side"] = str(int(sums.loc[(degradation, rule), "wrong_side"]))
        row["ours: ROIs"] = f"{sums.loc[(degradation, 'ours'), 'rois']:.2f}"
        for rule in RULE_NAMES:
            row[f"{rule}: cost"] = f"{sums.loc[(degradation, rule), 'cost']:.2f}"
        rows.append(row)
    return to_markdown(pd.DataFrame(rows))


def draw(frame: pd.DataFrame, path: Path) -> None:
    """Share of true kidneys lost or cut, one group of bars a degradation; the mean cost beside it."""
    sums = summary(frame)
    names = list(dict.fromkeys(frame["degradation"]))
    figure = Figure(figsize=(10.0, 0.48 * len(names) + 1.6), dpi=110, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    losses, costs = figure.subplots(1, 2, sharey=True, width_ratios=(2.2, 1.0))
    height = 0.8 / len(RULE_NAMES)
    for k, rule in enumerate(RULE_NAMES):
        own = sums[sums["rule"] == rule].set_index("degradation").loc[names]
        y = np.arange(len(names)) + (k - 1) * height
        share = 100.0 * own["failed"] / own["kidneys"]
        losses.barh(y, share, height * 0.9, color=COLOURS[rule], label=RULE_NAMES[rule])
        for at, value, n in zip(y, share, own["failed"], strict=True):
            losses.text(value + 0.8, at, str(int(n)), va="center", ha="left", fontsize=7.5, color=INK)
        costs.plot(own["cost"], y, "o", markersize=5, color=COLOURS[rule])
    losses.set_yticks(np.arange(len(names)), names, color=INK)
    losses.set_xlim(0, 108)
    losses.set_ylim(len(names) - 0.4, -0.6)
    losses.set_xlabel("true kidneys lost or cut, % (number at the bar)", color=FAINT)
    figure.legend(
        *losses.get_legend_handles_labels(), loc="outside upper center", ncols=3, frameon=False, labelcolor=INK
    )
    costs.axvline(1.0, color=LINE, zorder=0)
    costs.set_xlim(0, None)
    costs.set_xlabel("ROI voxels, clean map = 1", color=FAINT)
    for axes in (losses, costs):
        axes.tick_params(colors=FAINT, length=0)
        axes.grid(axis="x", color=LINE, linewidth=0.8)
        axes.set_axisbelow(True)
        for spine in axes.spines.values():
            spine.set_visible(False)
    losses.tick_params(axis="y", labelcolor=INK)
    figure.savefig(path)
