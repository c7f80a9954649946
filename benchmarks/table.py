"""A benchmark's results: CSV with every run, Markdown with medians and ratios, and a plot."""

from __future__ import annotations

import math
import platform
from pathlib import Path
from typing import Final

import pandas as pd
import psutil
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

OURS: Final = "bisc"
COLOURS: Final = ("#2f6f9f", "#c8c8c8", "#dcdcdc", "#ececec")


def machine() -> str:
    """What the figures were taken on, in one line."""
    name = next(
        (line.split(":", 1)[1].strip() for line in _lines(Path("/proc/cpuinfo")) if line.startswith("model name")),
        platform.processor(),
    )
    simd = torch.backends.cpu.get_cpu_capability()
    gb = psutil.virtual_memory().total / 2**30
    return f"{name}, {psutil.cpu_count()} cores, {simd}, {gb:.0f} GB, torch {torch.__version__}"


def write(out: Path, name: str, runs: pd.DataFrame, measures: dict[str, str], title: str) -> str:
    """Write `name.csv`, `name.md` and `name.png` under `out`; returns the Markdown.

    Args:
        out: Folder.
        name: Of the files.
        runs: A row per run: `who` and the measures.
        measures: Column -> what it is, with its unit.
        title: Of the plot.
    """
    out.mkdir(parents=True, exist_ok=True)
    runs.to_csv(out / f"{name}.csv", index=False)
    medians = runs.groupby("who", sort=False)[list(measures)].median()
    lines = ["| | " + " | ".join(measures.values()) + " | runs |", "| --- |" + " --- |" * (len(measures) + 1)]
    n_runs = runs["who"].value_counts().to_dict()
    for who, row in medians.iterrows():
        lines.append(f"| {who} | " + " | ".join(map(_shown, row)) + f" | {n_runs[who]} |")
    for who in medians.index.drop(OURS, errors="ignore"):
        ratios = medians.loc[who] / medians.loc[OURS]
        lines.append(f"| {who} / {OURS} | " + " | ".join("–" if math.isnan(v) else f"{v:.1f}" for v in ratios) + " | |")
    text = "\n".join([*lines, "", f"Medians; {machine()}.", ""])
    (out / f"{name}.md").write_text(text)
    _draw(out / f"{name}.png", medians, measures, title)
    return text


def _draw(path: Path, medians: pd.DataFrame, measures: dict[str, str], title: str) -> None:
    figure = Figure(figsize=(2.6 * len(measures) + 1.0, 0.45 * len(medians) + 1.3), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(measures), sharey=True, squeeze=False)[0]
    names = [str(who) for who in medians.index]
    for ax, (column, label) in zip(axes, measures.items(), strict=True):
        values = medians[column]
        bars = ax.barh(names, values, color=[COLOURS[0] if n.startswith(OURS) else COLOURS[1] for n in names])
        ax.bar_label(bars, labels=list(map(_shown, values)), padding=3, fontsize=8)
        ax.set_xlim(0, values.max() * 1.25)
        ax.set_xlabel(label, fontsize=8)
        ax.tick_params(labelsize=8)
        ax.spines[["top", "right"]].set_visible(False)
    axes[0].invert_yaxis()
    figure.suptitle(title, fontsize=10)
    figure.savefig(path, dpi=120)


def _shown(value: float) -> str:
    """Three digits, and of what is large no power of ten; a dash for what was not measured."""
    if math.isnan(value):
        return "–"
    return f"{value:.3g}" if value < 999.5 else f"{value:.0f}"


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []
